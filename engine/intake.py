"""What a run is given: the base model's files and checked rows. Nothing heavy is imported, so a refusal is quick."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from engine import models, preparation
from engine.control import Control
from engine.data import columns as roles
from engine.data import held as parted
from engine.data import profiles, read, split, validate
from engine.data.findings import about_eval
from engine.evaluation import forgetting
from engine.events import RunStarted
from engine.preparation.base import counted
from engine.tasks.base import Task

if TYPE_CHECKING:
    from engine.checkpoint import Checkpoint
    from engine.models import Located
    from engine.train import Attempt


@dataclass(frozen=True)
class Rows:
    """Checked rows to learn from and to evaluate on, the column of each role, and the label names in order.

    `numbers` are the numbers in the file, from 1, of the rows that those to evaluate on were made of.
    `second` is what forgetting is measured on.
    """

    train: pa.Table
    eval: pa.Table
    columns: dict[str, str]
    labels: list[str]
    numbers: Sequence[int] = ()
    second: forgetting.Second | None = None


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
    if attempt.spec.data.forgetting:
        data["forgetting"] = _bytes(attempt.sources.forgetting or attempt.spec.data.forgetting)
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
    held = _held(attempt)
    guessed = {} if data.columns else dict(roles.guess(_head(train, data.steps, seed)).columns)
    columns = dict(data.columns) or task.carried(guessed) or guessed

    def divide(table: pa.Table, later: Sequence[preparation.Step]) -> tuple[pa.Table, pa.Table]:
        label = task.stratify_by(columns)
        return split.split(table, task.eval_fraction, seed, label and preparation.formerly(later, label))

    prepared = preparation.apply(train, data.steps, seed, held=held, divide=divide)
    for sentence in prepared.sentences():
        attempt.log(sentence)
    train, held = prepared.train, prepared.eval
    if not columns:
        validate.raise_first_error(validate.unrecognised(train), attempt.sources.told("train", data.train))
    findings = task.check(train, columns, held)
    for finding in findings:
        part, file = ("eval", data.eval) if about_eval(finding.what) else ("train", data.train)
        validate.raise_first_error([finding], attempt.sources.told(part, file or data.train))
    for finding in findings:
        level = "warning" if finding.level == "warning" else "info"
        attempt.log(f"{finding.what} {finding.try_this}".strip(), level=level)
    places = prepared.eval_rows
    if held is None:
        label = task.stratify_by(columns)
        (train, _), (held, aside) = split.numbered(
            train, lambda table: split.split(table, task.eval_fraction, seed, label))
        places = prepared.rows[aside]
    assert places is not None
    labels = task.label_names(train, columns)
    second = forgetting.second(attempt, task, columns, labels, prepared)
    return Rows(train, held, columns, labels, (places + 1).tolist(), second)


def _held(attempt: Attempt) -> pa.Table | None:
    """Return the rows to evaluate on, of their own file or of the folder or archive to learn from; None without any."""
    sources, data = attempt.sources, attempt.spec.data
    if data.eval:
        return read.read(sources.eval or Path(data.eval))
    with tempfile.TemporaryDirectory(prefix="held-") as folder:
        found = parted.evaluation(sources.train or Path(data.train), Path(folder))
        if found is None:
            return None
        rows = read.read(found.path, found.source)
    attempt.log(f"{counted(rows.num_rows, 'row')} to evaluate on came with those to learn from.")
    return rows


def _head(table: pa.Table, steps: Sequence[preparation.Step], seed: int) -> pa.Table:
    """Return the first rows after the steps, enough to see what the columns hold."""
    table = table.slice(0, profiles.LOOKED_AT) if steps else table
    for taken in preparation.walk(table, steps, seed):
        table = taken.change.table
    return table


def _locate(attempt: Attempt) -> Located:
    model = attempt.spec.model
    if attempt.sources.model is not None:
        return models.locate(str(attempt.sources.model))
    return models.locate(model.id, revision=model.revision, data_dir=attempt.sources.data_dir,
                         cancelled=Control.asked)
