"""Compositions: adapters that become one, and the adapter they became."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from db import adapters, rows
from db.base import new_id, now
from db.session import database, retried
from db.tables import Adapter, Composition, Dataset
from db.users import User
from engine.recipe import Recipe

#: States in which nothing more happens.
ENDED = ("ready", "failed", "cancelled")


@retried
def create(user: User, adapter_ids: Sequence[str], recipe: Recipe, *, name: str = "",
           dataset_id: str | None = None) -> Composition:
    """Queue the combination of the user's adapters, measured on a dataset if one is given; raises NotFound."""
    with database().write() as session:
        parents = [rows.one(session, Adapter, user, id) for id in adapter_ids]
        if dataset_id:
            rows.one(session, Dataset, user, dataset_id)
        usual = f"{' + '.join(parent.name for parent in parents)}, {recipe.way.title}"
        usual = usual if len(usual) <= rows.LONGEST_NAME else f"{len(parents)} adapters, {recipe.way.title}"
        row = Composition(id=new_id(Composition.prefix), owner_id=user.id, name=rows.good_name(name or usual),
                          parents=[{"id": parent.id, "name": parent.name} for parent in parents],
                          recipe=recipe.model_dump(mode="json"), dataset_id=dataset_id)
        rows.add(session, row)
    return row


def get(user: User, id: str) -> Composition:
    """Return a composition; raises NotFound."""
    with database().read() as session:
        return rows.one(session, Composition, user, id)


def find(user: User, *, limit: int = 100, offset: int = 0) -> list[Composition]:
    """Return the user's compositions, newest first."""
    query = select(Composition).where(Composition.owner_id == user.id).order_by(
        Composition.created_at.desc(), Composition.id.desc())
    with database().read() as session:
        return list(session.scalars(rows.page(query, limit, offset)))


@retried
def update(user: User, id: str, **values: Any) -> Composition:
    """Set columns of a composition and return it; raises NotFound."""
    values = rows.allowed(Composition, values) | {"updated_at": now()}
    with database().write() as session:
        return rows.changed(session, Composition, user, id, values)


@retried
def finish(user: User, id: str, result: dict[str, Any], **adapter: Any) -> Composition:
    """Add the adapter that was made, once, and say that the composition is ready; raises NotFound.

    `adapter` holds the columns of its row.
    """
    with database().write() as session:
        row = rows.one(session, Composition, user, id, lock=True)
        if row.adapter_id is not None:
            return row
        made = adapters.insert(session, user, **adapter)
        return rows.changed(session, Composition, user, id, {
            "state": "ready", "progress": 1.0, "cancel": False, "error": None, "live": {}, "result": result,
            "adapter_id": made.id, "updated_at": now()})


@retried
def cancel(user: User, id: str) -> Composition:
    """Ask the worker to stop; a composition that has not begun is cancelled at once."""
    with database().write() as session:
        return rows.cancelled(session, Composition, user, id, "queued", {"state": "cancelled"})


@retried
def delete(user: User, id: str) -> Composition:
    """Delete a composition and return its last row; the adapter it made stays."""
    with database().write() as session:
        return rows.removed(session, Composition, user, id)
