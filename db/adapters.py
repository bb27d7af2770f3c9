"""Adapters: published results, with where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db import rows
from db.base import new_id
from db.models import hash_of
from db.session import database, retried
from db.tables import Adapter, Dataset, Model, Run
from db.users import User
from engine import methods


@retried
def publish(user: User, *, name: str, model: str, task: str, method: str, key: str, **values: Any) -> Adapter:
    """Add an adapter that did not come out of a run's journal; `values` sets other columns."""
    with database().write() as session:
        return insert(session, user, name=name, model=model, task=task, method=method, key=key, **values)


def insert(session: Session, user: User, *, name: str, model: str, task: str, method: str, key: str,
           **values: Any) -> Adapter:
    """Add an adapter within a transaction."""
    name = rows.good_name(name)
    row = Adapter(id=new_id(Adapter.prefix), owner_id=user.id, name=name, model=model, task=task, method=method,
                  key=key, search=rows.searchable(name, method, task, model), **rows.allowed(Adapter, values))
    return rows.add(session, row)


def get(user: User, id: str) -> Adapter:
    """Return an adapter; raises NotFound."""
    with database().read() as session:
        return rows.one(session, Adapter, user, id)


def find(user: User, *, search: str = "", tasks: Sequence[str] | None = None, methods: Sequence[str] | None = None,
         models: Sequence[str] | None = None, runs: Sequence[str] | None = None, datasets: Sequence[str] | None = None,
         limit: int = 100, offset: int = 0) -> list[Adapter]:
    """Return the user's adapters, newest first."""
    conditions = _conditions(user, search, tasks, methods, models, runs, datasets)
    query = select(Adapter).where(*conditions).order_by(Adapter.created_at.desc(), Adapter.id.desc())
    with database().read() as session:
        return list(session.scalars(rows.page(query, limit, offset)))


def count(user: User, *, search: str = "", tasks: Sequence[str] | None = None, methods: Sequence[str] | None = None,
          models: Sequence[str] | None = None, runs: Sequence[str] | None = None,
          datasets: Sequence[str] | None = None) -> int:
    """Return how many adapters `find` would list over all pages."""
    with database().read() as session:
        return rows.total(session, Adapter, _conditions(user, search, tasks, methods, models, runs, datasets))


def of_run(user: User, run_id: str) -> Adapter | None:
    """Return the newest adapter that came out of a run, or None."""
    found = find(user, runs=[run_id], limit=1)
    return found[0] if found else None


@retried
def rename(user: User, id: str, name: str) -> Adapter:
    """Give an adapter another name."""
    name = rows.good_name(name)
    with database().write() as session:
        row = rows.one(session, Adapter, user, id, lock=True)
        search = rows.searchable(name, row.method, row.task, row.model)
        return rows.changed(session, Adapter, user, id, {"name": name, "search": search})


@retried
def delete(user: User, id: str) -> list[str]:
    """Delete an adapter with its exports and return the blob keys nobody needs any more."""
    with database().write() as session:
        row = rows.removed(session, Adapter, user, id)
        folder = "/".join(row.key.split("/")[:2])
        others = session.scalar(select(Adapter.id).where(
            Adapter.key.startswith(f"{folder}/", autoescape=True)).limit(1))
        run_gone = folder.startswith("runs/") and session.get(Run, folder.removeprefix("runs/")) is None
        # What was composed has a folder to itself.
        alone = run_gone or folder.startswith("composed/")
    return [folder if alone and others is None else row.key]


def insert_of_run(session: Session, run: Run, result: dict[str, Any], *, saved_at: int | None = None) -> Adapter:
    """Add the adapter of a run that ended, within the journal's transaction. `saved_at`: the step it was stopped at."""
    method = methods.get(run.method)
    artifact = str(result.get("artifact") or method.artifact)
    revision = run.spec.get("model", {}).get("revision")
    same = Model.revision.is_(None) if revision is None else Model.revision == revision
    model = session.scalar(select(Model).where(Model.owner_id == run.owner_id, Model.ref == run.model, same).limit(1))
    dataset = session.get(Dataset, run.dataset_id) if run.dataset_id else None
    name = run.name if saved_at is None else f"{run.name[:rows.LONGEST_NAME - 40]} (stopped at step {saved_at})"
    row = Adapter(
        id=new_id(Adapter.prefix), owner_id=run.owner_id, name=name, run_id=run.id, model=run.model,
        model_revision=revision, model_hash=hash_of(model.files) if model else result.get("model_sha256"),
        dataset_id=run.dataset_id, dataset_sha256=dataset.sha256 if dataset else None, task=run.task, method=run.method,
        artifact=artifact, key=f"runs/{run.id}/attempt-{run.token}/{artifact}",
        bytes=int(result.get("adapter_bytes") or 0), sha256=result.get("adapter_sha256"),
        labels=list(result.get("labels") or []), metrics=dict(result.get("metrics") or {}),
        parameters=dict(result.get("parameters") or {}), parents=[],
        search=rows.searchable(name, run.method, run.task, run.model))
    rows.add(session, row)
    return row


def _conditions(user: User, search: str, tasks: Sequence[str] | None, methods: Sequence[str] | None,
                models: Sequence[str] | None, runs: Sequence[str] | None,
                datasets: Sequence[str] | None) -> list[ColumnElement[bool]]:
    return [Adapter.owner_id == user.id, *rows.matching(search, Adapter.search), *rows.among(Adapter.task, tasks),
            *rows.among(Adapter.method, methods), *rows.among(Adapter.model, models),
            *rows.among(Adapter.run_id, runs), *rows.among(Adapter.dataset_id, datasets)]
