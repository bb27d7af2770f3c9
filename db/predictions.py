"""Predictions: questions to the playground. Tokens travel through the broker; the row holds question and answer."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import select
from sqlalchemy import update as sql_update
from sqlalchemy.sql.dml import ReturningUpdate

from db import rows
from db.base import new_id, now
from db.blobs import Blobs
from db.errors import Unanswered
from db.session import database, retried
from db.tables import Prediction
from db.users import User

#: Seconds after which a question that nobody took is given up.
ABANDONED = 3600.0


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


def give_up() -> int:
    """End questions that no worker has taken for long, whoever asked, and delete their files; returns how many.

    Nobody waits for these answers any more. Workers and whoever asks the next question see to it.
    """
    error = Unanswered(minutes=ABANDONED / 60).as_dict()
    old = Prediction.created_at < now() - ABANDONED
    query = sql_update(Prediction).where(Prediction.state == "queued", old).values(
        state="failed", error=error, updated_at=now()).returning(Prediction)
    given_up = _ended(query)
    for row in given_up:
        drop_files(row)
    return len(given_up)


@retried
def _ended(query: ReturningUpdate[Prediction]) -> list[Prediction]:
    with database().write() as session:
        return list(session.scalars(query))


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
