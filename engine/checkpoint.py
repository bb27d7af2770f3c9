"""Points a run can go on from: written whole or not at all, checked before they are trusted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from engine.environment import sha256

PREFIX, PARTIAL = "step-", ".tmp-"


@dataclass(frozen=True)
class Checkpoint:
    """What was read back: trained `weights`, `optimizer` moments, `rng` states and the loop's `state`."""

    step: int
    path: Path
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    rng: dict[str, torch.Tensor]
    state: dict[str, Any]


def save(folder: Path, step: int, *, weights: dict[str, torch.Tensor], optimizer: dict[str, torch.Tensor],
         state: dict[str, Any], keep: Sequence[int] = ()) -> tuple[Path, int]:
    """Write a checkpoint under `folder`, keeping the last two and the steps in `keep`; return its path and bytes.

    The files go to `.tmp-…`, are forced to disk, listed with their SHA-256 in manifest.json, and renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{PREFIX}{step:08d}"
    partial = folder / f"{PARTIAL}{final.name}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name, tensors in (("weights", weights), ("optimizer", optimizer), ("rng", rng_state())):
        save_file({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()},
                  partial / f"{name}.safetensors")
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    files = {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in sorted(partial.iterdir())}
    size = sum(path.stat().st_size for path in partial.iterdir())
    (partial / "manifest.json").write_text(json.dumps({"step": step, "files": files}, indent=1), encoding="utf-8")
    for path in (*partial.iterdir(), partial):
        _sync(path)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _sync(folder)
    prune(folder, keep)
    return final, size


def prune(folder: Path, keep: Sequence[int]) -> None:
    """Delete all but the last two checkpoints and those of the steps in `keep`, and what unfinished writes left."""
    done = steps(folder)
    for step in done[:-2]:
        if step not in keep:
            shutil.rmtree(folder / f"{PREFIX}{step:08d}", ignore_errors=True)
    for partial in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint in `folder`, oldest first; valid or not."""
    if not folder.is_dir():
        return []
    names = (path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*"))
    return sorted(int(name) for name in names if name.isdigit())


def newest(folders: Sequence[Path], fingerprint: str, rejected: Callable[[Path, str], None]) -> Checkpoint | None:
    """Return the newest valid checkpoint of the run `fingerprint` in `folders`; `rejected` hears about each bad one."""
    found = sorted(((step, folder) for folder in folders for step in steps(folder)), key=lambda item: -item[0])
    for step, folder in found:
        path = folder / f"{PREFIX}{step:08d}"
        problem = problem_of(path)
        if problem:
            rejected(path, problem)
            continue
        checkpoint = load(path)
        if checkpoint.state.get("fingerprint") != fingerprint:
            rejected(path, "it belongs to other settings")
            continue
        return checkpoint
    return None


def find(folders: Sequence[Path], step: int) -> Checkpoint | None:
    """Return the valid checkpoint of exactly `step`, or None."""
    for folder in folders:
        path = folder / f"{PREFIX}{step:08d}"
        if path.is_dir() and not problem_of(path):
            return load(path)
    return None


def problem_of(path: Path) -> str:
    """Return what is wrong with the checkpoint at `path`, or an empty string."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, facts in manifest["files"].items():
            if (path / name).stat().st_size != facts["bytes"] or sha256(path / name) != facts["sha256"]:
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it is incomplete ({type(error).__name__})"
    return ""


def load(path: Path) -> Checkpoint:
    """Read the checkpoint at `path`."""
    parts = {name: load_file(path / f"{name}.safetensors") for name in ("weights", "optimizer", "rng")}
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return Checkpoint(step=state["step"], path=path, state=state, **parts)


def rng_state() -> dict[str, torch.Tensor]:
    """Return torch's random states (CPU and every CUDA device) as byte tensors."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states |= {f"cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_rng(states: dict[str, torch.Tensor]) -> None:
    """Set torch's random states to what `rng_state` returned."""
    torch.set_rng_state(states["cpu"])
    for name, state in states.items():
        if name.startswith("cuda.") and int(name[5:]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(name[5:]))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
