"""What a run is given: the base model's files and checked rows. Nothing heavy is imported, so a refusal is quick."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import models
from engine.control import Control
from engine.data import columns as roles
from engine.data import read, split, validate
from engine.events import RunStarted
from engine.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.checkpoint import Checkpoint
    from engine.models import Located
    from engine.train import Attempt


@dataclass(frozen=True)
class Rows:
    """Checked rows to learn from and to evaluate on, the column of each role, and the label names in order."""

    train: pa.Table
    eval: pa.Table
    columns: dict[str, str]
    labels: list[str]


def gather(attempt: Attempt) -> None:
    """Announce the run, then find out what it goes on from, its rows and its model; raises StudioError.

    The rows come first: they are here, where the model may have to be fetched.
    """
    task = attempt.spec.make_task()
    _start(attempt)
    with attempt.stage("prepare", "Reading and checking the data"):
        attempt.rows = _rows(attempt, task)
    with attempt.stage("load", "Finding the base model"):
        attempt.located = _locate(attempt)


def folders(attempt: Attempt) -> Sequence[Path]:
    """Return the folders that may hold checkpoints of this run, its own first."""
    return [attempt.out / "checkpoints", *attempt.checkpoint_dirs]


def fingerprint(attempt: Attempt) -> str:
    """Return what must be equal for a checkpoint to belong to this run: its settings and the sizes of its files."""
    settings = attempt.spec.model_dump(mode="json")
    data = settings["data"] | {"train": _bytes(attempt.sources.train or attempt.spec.data.train),
                               "eval": _bytes(attempt.sources.eval or attempt.spec.data.eval)}
    return hashlib.sha256(json.dumps(settings | {"data": data}, sort_keys=True).encode()).hexdigest()


def _bytes(path: Path | str | None) -> int | None:
    if path and Path(path).is_dir():
        return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
    return Path(path).stat().st_size if path and Path(path).is_file() else None


def _start(attempt: Attempt) -> None:
    """Announce the run, and the newest valid checkpoint it goes on from."""
    attempt.fingerprint = fingerprint(attempt)
    if attempt.resume:
        attempt.found = _newest(attempt)
    elif attempt.rank == 0:
        shutil.rmtree(attempt.out / "checkpoints", ignore_errors=True)
    attempt.journal.write(RunStarted(attempt.found.step if attempt.found else None))


def _newest(attempt: Attempt) -> Checkpoint | None:
    """Return the checkpoint to go on from; reading one takes torch, looking whether there is any does not."""
    if not any(folder.is_dir() and any(folder.iterdir()) for folder in folders(attempt)):
        return None
    from engine import checkpoint

    return checkpoint.newest(folders(attempt), attempt.fingerprint, lambda path, problem: attempt.log(
        f"Checkpoint {path.name} was skipped: {problem}.", level="warning"))


def _rows(attempt: Attempt, task: Task) -> Rows:
    """Return the rows of the spec's files, a share of them kept aside where no file to evaluate on is given."""
    data, seed = attempt.spec.data, attempt.spec.training.seed
    train = read.read(attempt.sources.train or Path(data.train))
    held = read.read(attempt.sources.eval or Path(data.eval)) if data.eval else None
    columns = dict(data.columns) or dict(roles.guess(train).columns)
    if not columns:
        validate.raise_first_error(validate.unrecognised(train))
    findings = task.check(train, columns, held)
    validate.raise_first_error(findings)
    for finding in findings:
        level = "warning" if finding.level == "warning" else "info"
        attempt.log(f"{finding.what} {finding.try_this}".strip(), level=level)
    if held is None:
        train, held = split.split(train, task.eval_fraction, seed, task.stratify_by(columns))
    return Rows(train, held, columns, task.label_names(train, columns))


def _locate(attempt: Attempt) -> Located:
    model = attempt.spec.model
    if attempt.sources.model is not None:
        return models.locate(str(attempt.sources.model))
    return models.locate(model.id, revision=model.revision, data_dir=attempt.sources.data_dir,
                         cancelled=Control.asked)
