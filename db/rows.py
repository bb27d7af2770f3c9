"""What the repositories share: one row of an owner, its change, its name, and search."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, false, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.base import Owned, now, plain
from db.errors import BadName, NotFound
from db.tables import Adapter, Batch, Composition, Dataset, Export, Model, Prediction, Run
from db.users import User

_order = threading.Lock()
_last = 0.0

Row = TypeVar("Row", Dataset, Model, Run, Adapter, Batch, Composition, Export, Prediction)

LONGEST_NAME = 200
LONGEST_SEARCH = 300
#: The most rows one page of a list holds.
MOST_ROWS = 1000


def one(session: Session, kind: type[Row], user: User, id: str, *, lock: bool = False) -> Row:
    """Return the user's row of that id, locked until the transaction ends if asked; raises NotFound."""
    query = select(kind).where(kind.id == id, kind.owner_id == user.id)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise missing(kind, id)
    return row


def change(session: Session, kind: type[Row], user: User, id: str, values: dict[str, Any],
           *conditions: ColumnElement[bool]) -> Row | None:
    """Update the user's row where `conditions` hold and return it as it is then; None where they do not hold."""
    query = update(kind).where(kind.id == id, kind.owner_id == user.id, *conditions).values(values).returning(kind)
    return session.scalar(query, execution_options={"populate_existing": True, "synchronize_session": False})


def changed(session: Session, kind: type[Row], user: User, id: str, values: dict[str, Any]) -> Row:
    """Update the user's row and return it as it is then; raises NotFound."""
    row = change(session, kind, user, id, values)
    if row is None:
        raise missing(kind, id)
    return row


def cancelled(session: Session, kind: type[Row], user: User, id: str, waiting: str, ended: dict[str, Any]) -> Row:
    """Ask the worker to stop what it does for a row; one whose state is still `waiting` gets the values `ended`.

    Returns the row as it is then; raises NotFound.
    """
    untaken = change(session, kind, user, id, {"cancel": True, **ended}, kind.state == waiting)
    return untaken or changed(session, kind, user, id, {"cancel": True})


def removed(session: Session, kind: type[Row], user: User, id: str) -> Row:
    """Delete the user's row and return it as it was; raises NotFound."""
    row = one(session, kind, user, id, lock=True)
    session.delete(row)
    session.flush()
    return row


def add(session: Session, row: Row) -> Row:
    """Insert a row, its times set by the database's clock and in the order in which this process made its rows."""
    at = _instant(session.scalar(select(now())) or 0.0)
    for column in ("created_at", "updated_at", "queued_at", "rung_at"):
        if column in row.__table__.columns:
            setattr(row, column, at)
    session.add(row)
    session.flush()
    return row


def missing(kind: type[Owned], id: str) -> NotFound:
    """Return the error for a row that is not there, or is somebody else's."""
    return NotFound(id, noun=kind.noun, id=plain(id, 80))


def allowed(kind: type[Row], values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` if each is a column that may change; raises TypeError for others."""
    fixed = {"id", "owner_id", "created_at", "search"}
    unknown = [key for key in values if key in fixed or key not in kind.__table__.columns]
    if unknown:
        raise TypeError(f"{kind.__name__} has no changeable column {', '.join(unknown)}")
    return {key: plain(value) if isinstance(value, str) else value for key, value in values.items()}


def good_name(name: str) -> str:
    """Return the name as it is stored: one line, spaces tidied; raises BadName."""
    tidy = " ".join(plain(name).split())
    if not tidy:
        raise BadName("name", problem="it is empty")
    if len(tidy) > LONGEST_NAME:
        raise BadName("name", problem=f"it has {len(tidy)} characters")
    return tidy


def searchable(*parts: str | None) -> str:
    """Return the text that a search looks through: lower case, one part a line."""
    return plain("\n".join(part for part in parts if part).lower(), LONGEST_SEARCH)


def matching(search: str, *columns: InstrumentedAttribute[str]) -> list[ColumnElement[bool]]:
    """Return conditions that hold when every word of `search` occurs in one of the columns."""
    words = plain(search, LONGEST_SEARCH).lower().split()
    return [or_(*(column.contains(word, autoescape=True) for column in columns)) for word in words]


def among(column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
          values: Sequence[str] | None) -> list[ColumnElement[bool]]:
    """Return the condition that a column has one of `values`; none for None, never true for no values."""
    if values is None:
        return []
    return [column.in_([plain(value) for value in values])] if values else [false()]


def page(query: Select[Row], limit: int, offset: int) -> Select[Row]:
    """Return the query cut to one page."""
    return query.limit(max(0, min(limit, MOST_ROWS))).offset(max(0, offset))


def total(session: Session, kind: type[Row], conditions: Sequence[ColumnElement[bool]]) -> int:
    """Return how many rows fulfil the conditions."""
    return session.scalar(select(func.count()).select_from(kind).where(*conditions)) or 0


def _instant(clock: float) -> float:
    """Return `clock`, or just after the last instant: SQLite's clock ticks in milliseconds, lists show more."""
    global _last
    with _order:
        # A clock that was set back by more is believed.
        _last = max(clock, _last + 1e-6) if _last - clock < 1 else clock
        return _last
