"""Base models somebody added: where they come from, where they are, what they are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from db import rows
from db.base import new_id, now, plain
from db.datasets import CANCELLED
from db.errors import InUse
from db.session import database, retried
from db.states import ACTIVE
from db.tables import Model, Run
from db.users import User


@retried
def create(user: User, *, ref: str, revision: str | None = None, title: str = "", source: str = "",
           id: str | None = None, **values: Any) -> Model:
    """Add a model in state "queued", or return the one of that ref and revision; one that failed is queued again."""
    ref = plain(ref, 300)
    with database().write() as session:
        same = Model.revision.is_(None) if revision is None else Model.revision == revision
        row = session.scalar(select(Model).where(Model.owner_id == user.id, Model.ref == ref, same).limit(1))
        if row is not None:
            again = {"state": "queued", "progress": 0.0, "error": None, "cancel": False, "updated_at": now()}
            return rows.changed(session, Model, user, row.id, again) if row.state == "failed" else row
        name = rows.good_name(title or ref)
        row = Model(id=id or new_id(Model.prefix), owner_id=user.id, ref=ref, revision=revision, title=name,
                    source=source, search=rows.searchable(name, ref, source), **rows.allowed(Model, values))
        rows.add(session, row)
    return row


def get(user: User, id: str) -> Model:
    """Return a model; raises NotFound."""
    with database().read() as session:
        return rows.one(session, Model, user, id)


def by_ref(user: User, ref: str, revision: str | None = None) -> Model | None:
    """Return the model that a RunSpec means by its id and revision, or None when it was never added."""
    with database().read() as session:
        same = Model.revision.is_(None) if revision is None else Model.revision == revision
        return session.scalar(select(Model).where(Model.owner_id == user.id, Model.ref == ref, same).limit(1))


def find(user: User, *, search: str = "", states: Sequence[str] | None = None, sources: Sequence[str] | None = None,
         limit: int = 100, offset: int = 0) -> list[Model]:
    """Return the user's models, newest first."""
    conditions = [Model.owner_id == user.id, *rows.matching(search, Model.search), *rows.among(Model.state, states),
                  *rows.among(Model.source, sources)]
    query = select(Model).where(*conditions).order_by(Model.created_at.desc(), Model.id.desc())
    with database().read() as session:
        return list(session.scalars(rows.page(query, limit, offset)))


@retried
def update(user: User, id: str, **values: Any) -> Model:
    """Set columns of a model and return it; raises NotFound."""
    values = rows.allowed(Model, values) | {"updated_at": now()}
    with database().write() as session:
        return rows.changed(session, Model, user, id, values)


@retried
def rename(user: User, id: str, title: str) -> Model:
    """Give a model another title; its ref stays."""
    title = rows.good_name(title)
    with database().write() as session:
        row = rows.one(session, Model, user, id, lock=True)
        return rows.changed(session, Model, user, id,
                            {"title": title, "search": rows.searchable(title, row.ref, row.source)})


@retried
def cancel(user: User, id: str) -> Model:
    """Ask the worker to stop fetching or inspecting; one that has not begun fails at once."""
    with database().write() as session:
        return rows.cancelled(session, Model, user, id, "queued", {"state": "failed", "error": CANCELLED})


@retried
def delete(user: User, id: str) -> Model:
    """Forget a model and return its last row; raises InUse while a run trains on it. Files are the caller's matter."""
    with database().write() as session:
        row = rows.one(session, Model, user, id, lock=True)
        training = session.scalars(select(Run.name).where(
            Run.owner_id == user.id, Run.model == row.ref, Run.state.in_(ACTIVE)).limit(3)).all()
        if training:
            raise InUse(id, noun="model", name=row.title, users=", ".join(f"run '{name}'" for name in training))
        session.delete(row)
    return row


def hash_of(files: Mapping[str, Any]) -> str | None:
    """Return one sha256 for a model's files {name: sha256}; None when none are known."""
    if not files:
        return None
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
