"""Frozen blocks at the bottom are computed once for all epochs, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file

from engine import events as happened
from engine import hidden
from engine.train import Control, run

pytestmark = pytest.mark.shared

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "head": ("texts", {"name": "head"}), "top of an encoder": ("texts", {"name": "lora", "layers": 1}),
    "top of a decoder": ("talks", {"name": "lora", "layers": 2})}


@pytest.fixture(params=CASES)
def plan(request: pytest.FixtureRequest, shared: Path, tmp_path: Path) -> Any:
    kind, method = CASES[request.param]
    data = toys.texts(tmp_path) if kind == "texts" else toys.talks(tmp_path)
    return toys.spec(shared, data, method, epochs=3, precision="fp32")


def tensors(out: Path) -> dict[str, torch.Tensor]:
    return load_file(next(path for name in ("adapter", "model") for path in (out / name).glob("*.safetensors")))


def told(out: Path) -> bool:
    return any("computed once" in event.text for event in toys.events(out) if isinstance(event, happened.Logged))


def test_kept_hidden_states_give_the_same_adapter_and_scores(
        plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = run(plan, tmp_path / "kept")
    monkeypatch.setattr(hidden, "SHARE", 0.0)
    anew = run(plan, tmp_path / "anew")
    assert told(tmp_path / "kept") and not told(tmp_path / "anew")
    first, second = tensors(tmp_path / "kept"), tensors(tmp_path / "anew")
    assert all(torch.allclose(first[name], second[name], atol=2e-4) for name in second)
    assert kept["metrics"]["loss"] == pytest.approx(anew["metrics"]["loss"], rel=1e-3)


def test_a_resumed_run_with_kept_hidden_states_ends_with_the_same_bytes(plan: Any, tmp_path: Path) -> None:
    run(plan, tmp_path / "whole")

    def listen(event: happened.Event) -> None:
        if isinstance(event, happened.CheckpointSaved):
            Control.request("interrupt")

    assert run(plan, tmp_path / "parts", on_event=listen)["state"] == "interrupted"
    assert run(plan, tmp_path / "parts")["state"] == "succeeded"
    assert toys.weights(tmp_path / "parts") == toys.weights(tmp_path / "whole")


def test_nothing_is_kept_where_all_blocks_learn_or_one_pass_is_all(shared: Path, tmp_path: Path) -> None:
    data = toys.texts(tmp_path)
    run(toys.spec(shared, data, {"name": "lora"}), tmp_path / "all")
    run(toys.spec(shared, data, {"name": "head"}, epochs=1), tmp_path / "once")
    assert not told(tmp_path / "all") and not told(tmp_path / "once")
