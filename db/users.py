"""Who owns what. A single-user studio has one user, made on first use."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.base import now, plain
from db.errors import NotFound
from db.session import database, retried
from db.tables import Adapter, Batch, Composition, Dataset, Export, Model, Prediction, Run, UserRow

LOCAL = "us_local"


@dataclass(frozen=True)
class User:
    """The person on whose behalf something is done. `role` is "admin" or "member"."""

    id: str
    name: str
    role: str = "member"


@retried
def local() -> User:
    """Return the user of a studio without accounts: the person this process runs as."""
    with database().read() as session:
        row = session.get(UserRow, LOCAL)
    if row is None:
        with database().write() as session:
            _insert_unless_there(session, {"id": LOCAL, "name": _login(), "role": "admin", "created_at": now()})
            row = session.get_one(UserRow, LOCAL)
    return User(row.id, row.name, row.role)


@retried
def create(name: str, role: str = "member", *, id: str | None = None) -> User:
    """Add a user."""
    from db.base import new_id

    with database().write() as session:
        row = UserRow(id=id or new_id("us"), name=plain(name, 200), role=role)
        session.add(row)
    return User(row.id, row.name, row.role)


def get(id: str) -> User:
    """Return the user of that id; raises NotFound."""
    with database().read() as session:
        row = session.get(UserRow, id)
    if row is None:
        raise NotFound(id, noun="user", id=id)
    return User(row.id, row.name, row.role)


def owner_of(id: str) -> User:
    """Return the owner of any row that belongs to somebody, by the row's id, for the worker; raises NotFound."""
    owned = (Dataset, Model, Run, Adapter, Export, Composition, Batch, Prediction)
    kinds: dict[str, Any] = {kind.prefix: kind for kind in owned}
    kind = kinds.get(id.partition("_")[0])
    if kind is None:
        raise NotFound(id, noun="row", id=id)
    with database().read() as session:
        row = session.scalar(select(UserRow).join(kind, kind.owner_id == UserRow.id).where(kind.id == id))
    if row is None:
        raise NotFound(id, noun=kind.noun, id=id)
    return User(row.id, row.name, row.role)


def _insert_unless_there(session: Session, values: dict[str, Any]) -> None:
    """Insert the user row; another process that starts at the same time may have been faster."""
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert
    session.execute(insert(UserRow).values(values).on_conflict_do_nothing())


def _login() -> str:
    try:
        return plain(getpass.getuser(), 200)
    except (OSError, KeyError):
        return "local"
