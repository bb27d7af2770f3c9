"""Batches: a file of rows to be predicted, or an adapter to be evaluated on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select

from db import rows
from db.base import new_id, now
from db.session import database, retried
from db.tables import Adapter, Batch, Dataset
from db.users import User

#: States in which nothing more happens.
ENDED = ("ready", "failed", "cancelled")


@retried
def create(user: User, kind: str, *, adapter_id: str | None = None, dataset_id: str | None = None, model: str = "",
           task: str = "", **values: Any) -> Batch:
    """Queue a batch for an adapter, or for a base `model` and `task` without one; raises NotFound.

    `values` sets other columns; `id` may be given where files were stored under it before.
    """
    made = values.pop("id", None) or new_id(Batch.prefix)
    with database().write() as session:
        adapter = rows.one(session, Adapter, user, adapter_id) if adapter_id else None
        dataset = rows.one(session, Dataset, user, dataset_id) if dataset_id else None
        if adapter is not None:
            values |= {"adapter_name": adapter.name, "adapter_sha256": adapter.sha256}
            model, task = adapter.model, adapter.task
        if dataset is not None:
            values |= {"dataset_sha256": dataset.sha256, "filename": values.get("filename") or dataset.name}
        row = Batch(id=made, owner_id=user.id, kind=kind, adapter_id=adapter_id, dataset_id=dataset_id,
                    model=model, task=task, **rows.allowed(Batch, values))
        rows.add(session, row)
    return row


def get(user: User, id: str) -> Batch:
    """Return a batch; raises NotFound."""
    with database().read() as session:
        return rows.one(session, Batch, user, id)


def find(user: User, *, kinds: Sequence[str] | None = None, adapters: Sequence[str] | None = None,
         datasets: Sequence[str] | None = None, states: Sequence[str] | None = None, limit: int = 100,
         offset: int = 0) -> list[Batch]:
    """Return the user's batches, newest first."""
    query = select(Batch).where(*_conditions(user, kinds, adapters, datasets, states)).order_by(
        Batch.created_at.desc(), Batch.id.desc())
    with database().read() as session:
        return list(session.scalars(rows.page(query, limit, offset)))


def count(user: User, *, kinds: Sequence[str] | None = None, adapters: Sequence[str] | None = None,
          datasets: Sequence[str] | None = None, states: Sequence[str] | None = None) -> int:
    """Return how many batches `find` would list over all pages."""
    with database().read() as session:
        return rows.total(session, Batch, _conditions(user, kinds, adapters, datasets, states))


@retried
def update(user: User, id: str, **values: Any) -> Batch:
    """Set columns of a batch and return it; raises NotFound."""
    values = rows.allowed(Batch, values) | {"updated_at": now()}
    with database().write() as session:
        return rows.changed(session, Batch, user, id, values)


@retried
def cancel(user: User, id: str) -> Batch:
    """Ask the worker to stop; a batch that has not begun is cancelled at once."""
    with database().write() as session:
        return rows.cancelled(session, Batch, user, id, "queued", {"state": "cancelled"})


@retried
def delete(user: User, id: str) -> list[str]:
    """Delete a batch and return the blob keys nobody needs any more."""
    with database().write() as session:
        row = rows.removed(session, Batch, user, id)
    return [key for key in (row.original_key, row.result_key) if key]


def _conditions(user: User, kinds: Sequence[str] | None, adapters: Sequence[str] | None,
                datasets: Sequence[str] | None, states: Sequence[str] | None) -> list[ColumnElement[bool]]:
    return [Batch.owner_id == user.id, *rows.among(Batch.kind, kinds), *rows.among(Batch.adapter_id, adapters),
            *rows.among(Batch.dataset_id, datasets), *rows.among(Batch.state, states)]
