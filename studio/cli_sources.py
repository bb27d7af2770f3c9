"""The files and datasets that `peft-studio train` names: added where they are new, found again where they are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.evaluation.report import NEUTRAL
from studio import cli_print as out

if TYPE_CHECKING:
    from db.tables import Dataset
    from db.users import User

Tick = Callable[..., None]


def dataset(user: User, document: dict[str, Any], tick: Tick) -> Dataset:
    """Return the dataset of a spec once it is read; it and the one to evaluate on are added first when they are files.

    Their ids are put in the spec.
    """
    from db import datasets
    from studio import service

    data = document["data"]
    held = Path(str(data["eval"])) if data.get("eval") is not None and not _is_id(str(data["eval"])) else None
    if _is_id(str(data["train"])):
        row, found = datasets.get(user, data["train"]), True
    else:
        # Columns that steps make are not in the file yet.
        columns = {} if data.get("steps") else data.get("columns") or {}
        task, options = document.get("task"), data.get("options") or {}
        known = _same(user, Path(data["train"]), task, columns)
        row = known or service.add_dataset(user, Path(data["train"]), eval_path=held, task=task, columns=columns,
                                           options=options if task else {})
        data["train"], found = row.id, known is not None
    if held is not None and found:
        data["eval"] = _evaluating(user, row, held).id
    elif held is not None:
        del data["eval"]
    others = [datasets.get(user, data["eval"])] if data.get("eval") else datasets.find(user, eval_of_id=row.id)
    if found and others and "eval" not in data:
        out.aside(f"It is evaluated on {others[0].name}, which was added with it; --eval none "
                  "keeps a share of its own rows aside instead.")
    for each in [*others, row]:
        row = _read(user, each, tick)
    return row


def second(user: User, document: dict[str, Any], tick: Tick) -> None:
    """Put the id of the dataset that forgetting is measured on in the spec, added first when it is a file."""
    from studio import service

    wanted, task = str(document["data"].get("forgetting") or NEUTRAL), document["task"]
    if wanted == NEUTRAL or _is_id(wanted):
        return
    row = _same(user, Path(wanted), task, {}) or service.add_dataset(user, Path(wanted), task=task)
    document["data"]["forgetting"] = _read(user, row, tick).id


def _is_id(text: str) -> bool:
    return text.startswith("ds_") and not Path(text).exists()


def _read(user: User, row: Dataset, tick: Tick) -> Dataset:
    """Return a dataset once it is read; raises what it failed with."""
    from db import datasets
    from studio.cli_session import stored, wait

    row = wait(lambda: datasets.get(user, row.id), ("ready", "failed"), f"Reading {row.name}", tick)
    if row.state == "failed":
        raise stored(row.error)
    return row


def _same(user: User, path: Path, task: str | None, columns: dict[str, str]) -> Dataset | None:
    """Return a dataset of the same bytes whose columns are read the same way, so that trying again adds nothing.

    One that brings no rows to evaluate on comes first: nobody has asked for them here.
    """
    from db import datasets

    found = [row for row in _of_bytes(user, path) if row.eval_of_id is None and (not columns or columns == row.columns)
             and (task is None or task == row.task)]
    return min(found, key=lambda row: bool(datasets.find(user, eval_of_id=row.id, limit=1)), default=None)


def _evaluating(user: User, train: Dataset, path: Path) -> Dataset:
    """Return a dataset of these bytes to evaluate on: the one that belongs to `train`, else any, else a new one."""
    from studio import service

    found = _of_bytes(user, path)
    if found:
        return min(found, key=lambda row: (row.eval_of_id != train.id, row.eval_of_id is None))
    return service.add_dataset(user, path, name=f"{path.stem[:180]} (evaluation)", task=train.task,
                               columns=dict(train.columns), options=dict(train.options))


def _of_bytes(user: User, path: Path) -> list[Dataset]:
    """Return the datasets that were read from a file like this one, newest first; raises NoSuchFile."""
    from db import datasets
    from studio.service.datasets import NoSuchFile

    if not path.exists():
        raise NoSuchFile(str(path), path=path)
    if path.is_dir():
        return []
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [row for row in datasets.find(user, states=["ready"], limit=1000) if row.sha256 == digest]
