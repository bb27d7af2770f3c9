"""Predictions: questions to the playground. Tokens travel through the broker; the row holds question and answer."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import select

from db import rows
from db.base import new_id, now
from db.blobs import Blobs
from db.session import database, retried
from db.tables import Prediction
from db.users import User


@retried
def create(user: User, request: dict[str, Any]) -> Prediction:
    """Queue a question."""
    row = Prediction(id=new_id(Prediction.prefix), owner_id=user.id, request=request)
    with database().write() as session:
        rows.add(session, row)
    return row


def get(user: User, id: str) -> Prediction:
    """Return a prediction; raises NotFound."""
    with database().read() as session:
        return rows.one(session, Prediction, user, id)


def find(user: User, *, limit: int = 50, offset: int = 0) -> list[Prediction]:
    """Return the user's predictions, newest first."""
    query = select(Prediction).where(Prediction.owner_id == user.id).order_by(
        Prediction.created_at.desc(), Prediction.id.desc())
    with database().read() as session:
        return list(session.scalars(rows.page(query, limit, offset)))


@retried
def update(user: User, id: str, **values: Any) -> Prediction:
    """Set columns of a prediction and return it; raises NotFound."""
    values = rows.allowed(Prediction, values) | {"updated_at": now()}
    with database().write() as session:
        return rows.changed(session, Prediction, user, id, values)


@retried
def cancel(user: User, id: str) -> Prediction:
    """Ask the worker to stop answering; a question that nobody has taken is cancelled at once."""
    with database().write() as session:
        return rows.cancelled(session, Prediction, user, id, "queued", {"state": "cancelled"})


def drop_files(row: Prediction) -> None:
    """Delete the files that came with a question; a worker needs them once."""
    if folder := row.request.get("files"):
        Blobs().delete(folder)


@retried
def delete(user: User, id: str) -> Prediction:
    """Delete a prediction and return its last row."""
    with database().write() as session:
        return rows.removed(session, Prediction, user, id)


@retried
def forget(user: User, older_than: float) -> int:
    """Delete the user's finished predictions older than `older_than` seconds; returns how many."""
    with database().write() as session:
        gone = session.scalars(sql_delete(Prediction).where(
            Prediction.owner_id == user.id, Prediction.state.in_(("ready", "failed", "cancelled")),
            Prediction.updated_at < now() - older_than).returning(Prediction.id)).all()
    return len(gone)
