"""What a run has said."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from db import rows
from db.session import database
from db.tables import LogLine, Run
from db.users import User


class Line(NamedTuple):
    """One line; `number` counts from 1 over all attempts and is the cursor, `at` is Unix time."""

    number: int
    at: float
    level: str
    text: str


def read(user: User, run_id: str, after: int = 0, limit: int = 1000) -> list[Line]:
    """Return the lines of a run with a number above `after`, oldest first; raises NotFound."""
    query = select(LogLine.number, LogLine.at, LogLine.level, LogLine.text).where(
        LogLine.run_id == run_id, LogLine.number > after).order_by(LogLine.number).limit(limit)
    with database().read() as session:
        rows.one(session, Run, user, run_id)
        return [Line(*row) for row in session.execute(query)]


def tail(user: User, run_id: str, limit: int = 200) -> list[Line]:
    """Return the last lines of a run, oldest first; raises NotFound."""
    query = select(LogLine.number, LogLine.at, LogLine.level, LogLine.text).where(
        LogLine.run_id == run_id).order_by(LogLine.number.desc()).limit(limit)
    with database().read() as session:
        rows.one(session, Run, user, run_id)
        return [Line(*row) for row in session.execute(query)][::-1]
