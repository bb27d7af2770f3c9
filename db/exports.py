"""Exports: files made from an adapter, such as a zip, a merged model, or what was found by looking into it."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select

from db import rows
from db.base import new_id, now
from db.session import database, retried
from db.tables import Adapter, Export
from db.users import User


@retried
def create(user: User, adapter_id: str, kind: Literal["merge", "zip", "insight"]) -> Export:
    """Queue an export, or return the one of that adapter and kind that is under way or ready; raises NotFound."""
    with database().write() as session:
        rows.one(session, Adapter, user, adapter_id, lock=True)
        row = session.scalar(select(Export).where(
            Export.owner_id == user.id, Export.adapter_id == adapter_id, Export.kind == kind,
            Export.state.in_(("queued", "running", "ready")), Export.cancel.is_(False)).limit(1))
        if row is None:
            row = Export(id=new_id(Export.prefix), owner_id=user.id, adapter_id=adapter_id, kind=kind)
            rows.add(session, row)
    return row


def get(user: User, id: str) -> Export:
    """Return an export; raises NotFound."""
    with database().read() as session:
        return rows.one(session, Export, user, id)


def find(user: User, *, adapter_id: str | None = None, limit: int = 100, offset: int = 0) -> list[Export]:
    """Return the user's exports, newest first."""
    conditions = [Export.owner_id == user.id, *([] if adapter_id is None else [Export.adapter_id == adapter_id])]
    query = select(Export).where(*conditions).order_by(Export.created_at.desc(), Export.id.desc())
    with database().read() as session:
        return list(session.scalars(rows.page(query, limit, offset)))


@retried
def update(user: User, id: str, **values: Any) -> Export:
    """Set columns of an export and return it; raises NotFound."""
    values = rows.allowed(Export, values) | {"updated_at": now()}
    with database().write() as session:
        return rows.changed(session, Export, user, id, values)


@retried
def cancel(user: User, id: str) -> Export:
    """Ask the worker to stop; an export that has not begun is cancelled at once."""
    with database().write() as session:
        return rows.cancelled(session, Export, user, id, "queued", {"state": "cancelled"})


@retried
def delete(user: User, id: str) -> Export:
    """Delete an export and return its last row, whose file the caller removes."""
    with database().write() as session:
        return rows.removed(session, Export, user, id)
