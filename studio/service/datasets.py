"""Adding a dataset from a file, saying which column plays which part, looking at it, deleting it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from db import datasets
from db.base import new_id
from db.blobs import Blobs
from db.errors import Conflict, InUse
from db.settings import settings
from db.tables import Dataset
from db.users import User
from engine.errors import DataError, NotEnough
from studio.service import bundles
from studio.service.roles import check_columns, check_task
from worker import client

if TYPE_CHECKING:
    from engine.data.read import Preview

FOLDER = Path(__file__).resolve().parents[1] / "samples"

#: Datasets written for this project: name -> file, title, task, columns.
SAMPLES: dict[str, dict[str, Any]] = {
    "support_tickets": {"file": "support_tickets.csv", "title": "Support tickets (sample)",
                        "task": "text_classification", "columns": {"text": "text", "label": "intent"}},
    "friendly_chat": {"file": "friendly_chat.jsonl", "title": "Friendly chat (sample)", "task": "causal_lm",
                      "columns": {"messages": "messages"}},
}


class NoSuchFile(DataError):
    """There is no file at '{path}'."""

    kind = "file_missing"
    try_this = "Check the path."


class NoSuchSample(DataError):
    """There is no sample dataset called '{name}'."""

    kind = "sample_unknown"
    try_this = "Choose one of: {known}."


class DatasetNotReady(Conflict):
    """The dataset '{name}' is not ready yet ({state})."""

    kind = "dataset_not_ready"
    try_this = "Wait until it has been read."


class EvaluatesAnother(Conflict):
    """'{name}' is itself a file to evaluate on."""

    kind = "evaluates_another"
    try_this = "Add the file to the dataset it evaluates: {parent}."


class TrainedOn(Conflict):
    """Runs have used the rows of '{name}', so they stay as they are."""

    kind = "dataset_trained_on"
    try_this = "Add the file once more and read that one differently."


def add_dataset(user: User, path: Path, *, name: str = "", filename: str = "", eval_path: Path | None = None,
                eval_filename: str = "", task: str | None = None, columns: Mapping[str, str] | None = None,
                options: Mapping[str, Any] | None = None, header: bool | None = None, part: str = "",
                move: bool = False, sample: bool = False) -> Dataset:
    """Store a file or folder, and one to evaluate on if given, for the worker to read; returns the training dataset.

    `header` says whether the first row of a table holds names, `part` which sheet, file or part is read; None and ""
    leave that to be recognised. A folder or archive with a part to evaluate on brings that dataset with it. `move`
    takes the files away from where they are, as uploads should. Raises NoSuchFile, NotEnough, SpecError, and DataError
    for a folder, or a `header` or `part`, that cannot be read.
    """
    check_task(task, columns or {}, options or {})
    for file in [path, *([eval_path] if eval_path else [])]:
        if not file.exists():
            raise NoSuchFile(str(file), path=file)
    given = {"task": task, "columns": dict(columns or {}), "options": dict(options or {}),
             "confirmed": bool(task and columns)}
    with bundles.files(path, eval_path, part) as found:
        source = bundles.source(found.train, header, part)
        other_source = bundles.source(found.eval, header, "") or found.source
        main = _store(user, found.train, name or _stem(filename or path.name), filename or found.name,
                      move or path.is_dir(), sample=sample, source=source, **given)
        if found.eval is not None:
            other = _store(user, found.eval, _eval_name(main), eval_filename or found.eval.name, move or found.made,
                           eval_of_id=main.id, source=other_source, **given)
            client.inspect_dataset(other.id)
    client.inspect_dataset(main.id)
    return main


def add_eval(user: User, id: str, path: Path, *, filename: str = "", move: bool = False) -> Dataset:
    """Give a dataset a file to evaluate on, in place of any it had, and have the worker read it; returns that one.

    A former one that runs were evaluated on stays, as a dataset of its own. Raises NotFound, NoSuchFile, NotEnough,
    EvaluatesAnother.
    """
    parent = datasets.get(user, id)
    if parent.eval_of_id is not None:
        raise EvaluatesAnother(id, name=parent.name, parent=parent.eval_of_id)
    if not path.exists():
        raise NoSuchFile(str(path), path=path)
    before = datasets.find(user, eval_of_id=id, limit=1000)
    with bundles.files(path, path, "") as found:
        other = _store(user, found.train, _eval_name(parent), filename or found.name, move or path.is_dir(),
                       eval_of_id=id, task=parent.task, columns=dict(parent.columns), options=dict(parent.options),
                       confirmed=parent.confirmed)
    for row in before:
        if datasets.used_by(user, row.id)["runs"]:
            datasets.update(user, row.id, eval_of_id=None)
        else:
            _delete(user, row.id)
    client.inspect_dataset(other.id)
    if before:
        # What was found with the former file holds no longer, whatever comes of this one.
        client.inspect_dataset(id)
    return other


def add_sample(user: User, name: str = "support_tickets") -> Dataset:
    """Return the user's copy of a sample dataset, added on first use."""
    if name not in SAMPLES:
        raise NoSuchSample("sample", name=name, known=", ".join(SAMPLES))
    info = SAMPLES[name]
    for row in datasets.find(user, sample=True, limit=1000):
        if row.filename == info["file"] and row.state != "failed":
            return row
    return add_dataset(user, FOLDER / info["file"], name=info["title"], task=info["task"], columns=info["columns"],
                       sample=True)


def set_roles(user: User, id: str, columns: Mapping[str, str], *, task: str | None = None,
              options: Mapping[str, Any] | None = None) -> Dataset:
    """Confirm which column plays which role and have findings and statistics made anew.

    Raises NotFound, NoSuchRole, NoSuchColumn, RoleMissing, DatasetNotReady, SpecError.
    """
    row = datasets.get(user, id)
    if row.state in ("uploaded", "ingesting") and row.source is None:
        raise DatasetNotReady(id, name=row.name, state=row.state)
    name = task or row.task or "text_classification"
    check_columns(name, columns, _there(user, row))
    check_task(name, columns, options if options is not None else row.options)
    row = datasets.roles(user, id, columns, task=name, options=options)
    if row.state == "failed":
        return retry_dataset(user, id)
    for other in datasets.find(user, eval_of_id=id):
        datasets.roles(user, other.id, columns, task=name, options=options)
        client.inspect_dataset(other.id)
    client.inspect_dataset(id)
    return row


def _there(user: User, row: Dataset) -> list[str] | None:
    """Return the columns that can play a part: those after the steps, or of the file where these cannot be taken."""
    from studio.service import preparation

    if row.state == "ready" and row.steps:
        with suppress(DataError):
            return preparation.columns_after(row, preparation.steps_of(user, row))
    return known_columns(row)


def known_columns(row: Dataset) -> list[str] | None:
    """Return the columns of a dataset: those of its file, and those that reading added; None before it was read."""
    found = (row.source or {}).get("columns") or []
    added = [str(item["where"]) for item in row.findings or [] if str(item.get("kind")).endswith("_added")]
    return [*found, *added] or None


def preview(user: User, id: str, rows: int = 50) -> Preview:
    """Return the first rows of a dataset: of the file as it came, or of what it and its steps of preparation made."""
    from engine.data import read
    from studio.service import preparation

    row = datasets.get(user, id)
    done = row.state == "ready" and bool(row.parquet_key)
    if done and (made := preparation.prepared(user, row, rows)) is not None:
        return made
    key = row.parquet_key if done else row.original_key
    if key is None:
        raise DatasetNotReady(id, name=row.name, state=row.state)
    # What a person has said of the file as it came, such as that it has no header, holds from the start.
    said = None if done or row.source is None else read.Source.model_validate(row.source)
    return read.preview(Blobs().local(key), rows, said)


def retry_dataset(user: User, id: str) -> Dataset:
    """Have a dataset read again that failed or was cancelled; what was uploaded is still there."""
    row = datasets.get(user, id)
    if row.state == "failed":
        row = datasets.update(user, id, state="uploaded", progress=0.0, cancel=False, error=None)
        client.inspect_dataset(id)
    return row


def cancel_dataset(user: User, id: str) -> Dataset:
    """Stop reading a dataset; what was uploaded stays."""
    row = datasets.cancel(user, id)
    client.cancel("dataset", id)
    if row.state == "failed" and row.eval_of_id is not None:
        # No worker had it that could tell the dataset it evaluates.
        client.inspect_dataset(row.eval_of_id)
    return row


def delete_dataset(user: User, id: str) -> None:
    """Delete a dataset, those that only evaluate it, and their files; raises InUse while a run reads it."""
    parent = datasets.get(user, id).eval_of_id
    others = [other.id for other in datasets.find(user, eval_of_id=id)]
    _delete(user, id)
    for other in others:
        # One that another run still reads stays, as a dataset of its own.
        with suppress(InUse):
            _delete(user, other)
    if parent is not None:
        client.inspect_dataset(parent)


def _delete(user: User, id: str) -> None:
    for key in [*datasets.delete(user, id), f"datasets/{id}"]:
        Blobs().delete(key)


def _eval_name(parent: Dataset) -> str:
    return f"{parent.name[:180]} (evaluation)"


def _store(user: User, path: Path, name: str, filename: str, move: bool, **values: Any) -> Dataset:
    size, limit = path.stat().st_size, settings().min_free_bytes
    free = shutil.disk_usage(settings().data_dir).free
    # Reading writes the rows a second time, as parquet; a moved file takes no room of its own.
    if free < size * (1 if move else 2) + limit:
        raise NotEnough(filename, resource="disk space", needed=f"{size * (1 if move else 2) + limit} bytes",
                        available=f"{free} bytes")
    id = new_id(Dataset.prefix)
    key = f"datasets/{id}/original"
    Blobs().put(path, key, move=move)
    try:
        return datasets.create(user, id=id, name=name, filename=PurePosixPath(filename.replace("\\", "/")).name,
                               bytes=size, original_key=key, **values)
    except BaseException:
        Blobs().delete(key)
        raise


def _stem(filename: str) -> str:
    name = PurePosixPath(filename.replace("\\", "/")).name
    for ending in (".gz", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".xlsx", ".conll", ".yml",
                   ".yaml", ".txt", ".zip"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name[:200] or "dataset"
