"""Datasets: immutable versions of somebody's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from db import rows
from db.base import new_id, now, plain
from db.errors import InUse
from db.session import database, retried
from db.states import ACTIVE
from db.tables import Adapter, Dataset, Run
from db.users import User


@retried
def create(user: User, *, name: str, filename: str = "", bytes: int = 0, sha256: str | None = None,
           original_key: str | None = None, sample: bool = False, eval_of_id: str | None = None,
           id: str | None = None, **values: Any) -> Dataset:
    """Add a dataset in state "uploaded"; `values` sets other columns. `id` may be made beforehand with `new_id()`."""
    name = rows.good_name(name)
    row = Dataset(id=id or new_id(Dataset.prefix), owner_id=user.id, name=name, filename=plain(filename, 400),
                  bytes=bytes, sha256=sha256, original_key=original_key, sample=sample, eval_of_id=eval_of_id,
                  search=rows.searchable(name, filename), **rows.allowed(Dataset, values))
    with database().write() as session:
        if eval_of_id is not None:
            rows.one(session, Dataset, user, eval_of_id)
        rows.add(session, row)
    return row


def get(user: User, id: str) -> Dataset:
    """Return a dataset; raises NotFound."""
    with database().read() as session:
        return rows.one(session, Dataset, user, id)


def find(user: User, *, search: str = "", states: Sequence[str] | None = None, tasks: Sequence[str] | None = None,
         sample: bool | None = None, eval_of_id: str | None = None, limit: int = 100, offset: int = 0) -> list[Dataset]:
    """Return the user's datasets, newest first."""
    conditions = _conditions(user, search, states, tasks, sample, eval_of_id)
    query = select(Dataset).where(*conditions).order_by(Dataset.created_at.desc(), Dataset.id.desc())
    with database().read() as session:
        return list(session.scalars(rows.page(query, limit, offset)))


def count(user: User, *, search: str = "", states: Sequence[str] | None = None, tasks: Sequence[str] | None = None,
          sample: bool | None = None, eval_of_id: str | None = None) -> int:
    """Return how many datasets `find` would list."""
    with database().read() as session:
        return rows.total(session, Dataset, _conditions(user, search, states, tasks, sample, eval_of_id))


@retried
def update(user: User, id: str, **values: Any) -> Dataset:
    """Set columns of a dataset and return it; raises NotFound."""
    values = rows.allowed(Dataset, values) | {"updated_at": now()}
    with database().write() as session:
        return rows.changed(session, Dataset, user, id, values)


@retried
def roles(user: User, id: str, columns: Mapping[str, Any], *, task: str | None = None,
          options: Mapping[str, Any] | None = None) -> Dataset:
    """Confirm which column plays which role, and for which task with which options."""
    values: dict[str, Any] = {"columns": dict(columns), "confirmed": True, "updated_at": now()}
    if task is not None:
        values["task"] = task
    if options is not None:
        values["options"] = dict(options)
    with database().write() as session:
        return rows.changed(session, Dataset, user, id, values)


@retried
def rename(user: User, id: str, name: str) -> Dataset:
    """Give a dataset another name; its id, rows and hash stay."""
    name = rows.good_name(name)
    with database().write() as session:
        filename = rows.one(session, Dataset, user, id, lock=True).filename
        return rows.changed(session, Dataset, user, id, {"name": name, "search": rows.searchable(name, filename)})


@retried
def cancel(user: User, id: str) -> Dataset:
    """Ask the worker to stop ingesting; one that has not begun fails at once."""
    with database().write() as session:
        return rows.cancelled(session, Dataset, user, id, "uploaded", {"state": "failed", "error": CANCELLED})


@retried
def delete(user: User, id: str) -> list[str]:
    """Delete a dataset and return the blob keys nobody needs any more; raises InUse while a run reads it."""
    with database().write() as session:
        row = rows.one(session, Dataset, user, id, lock=True)
        reading = session.scalars(select(Run.name).where(
            or_(Run.dataset_id == id, Run.eval_dataset_id == id), Run.state.in_(ACTIVE)).limit(3)).all()
        if reading:
            raise InUse(id, noun="dataset", name=row.name, users=", ".join(f"run '{name}'" for name in reading))
        # The next version becomes the first, so that the others stay together.
        later = session.scalars(select(Dataset).where(Dataset.version_of_id == id).order_by(Dataset.version)).all()
        for other in later:
            other.version_of_id = later[0].id if other is not later[0] else None
        session.delete(row)
    return [key for key in (row.original_key, row.parquet_key) if key]


def used_by(user: User, *ids: str) -> dict[str, int]:
    """Return how many runs and adapters came from any of these datasets: {"runs": …, "adapters": …}."""
    with database().read() as session:
        return {"runs": rows.total(session, Run, [Run.owner_id == user.id,
                                                  or_(Run.dataset_id.in_(ids), Run.eval_dataset_id.in_(ids))]),
                "adapters": rows.total(session, Adapter, [Adapter.owner_id == user.id, Adapter.dataset_id.in_(ids)])}


CANCELLED = {"kind": "cancelled", "what": "It was cancelled.", "where": "", "try_this": "Start it again."}


def _conditions(user: User, search: str, states: Sequence[str] | None, tasks: Sequence[str] | None,
                sample: bool | None, eval_of_id: str | None) -> list[ColumnElement[bool]]:
    return [Dataset.owner_id == user.id, *rows.matching(search, Dataset.search), *rows.among(Dataset.state, states),
            *rows.among(Dataset.task, tasks), *([] if sample is None else [Dataset.sample == sample]),
            *([] if eval_of_id is None else [Dataset.eval_of_id == eval_of_id])]
