"""Runs: start, list, stop, resume. Their curves and logs are in `metrics` and `logs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select

from db import rows
from db.base import new_id, now
from db.errors import NotResumable, RunActive, RunEnded
from db.logs import read as log
from db.metrics import curves
from db.metrics import points as metrics
from db.session import database, retried
from db.states import ACTIVE, ENDED, HELD, RESUMABLE, STATES, State, StopMode
from db.tables import Adapter, Dataset, Run
from db.users import User
from engine.spec import RunSpec

__all__ = ["ACTIVE", "ENDED", "HELD", "STATES", "State", "StopMode", "ask_stop", "count", "counts", "create", "curves",
           "delete", "duplicate_spec", "find", "get", "latest", "log", "metrics", "rename", "resume"]

_ORDERS = {"newest": (Run.created_at.desc(), Run.id.desc()), "oldest": (Run.created_at, Run.id),
           "name": (func.lower(Run.name), Run.id)}


@retried
def create(user: User, spec: RunSpec, *, name: str = "", dataset_id: str | None = None,
           eval_dataset_id: str | None = None, device_class: str | None = None, id: str | None = None) -> Run:
    """Queue a run of `spec`. `dataset_id` must be the user's; `device_class` None lets any worker take it."""
    task = spec.make_task()
    with database().write() as session:
        dataset = rows.one(session, Dataset, user, dataset_id) if dataset_id else None
        held = rows.one(session, Dataset, user, eval_dataset_id) if eval_dataset_id else None
        names = {part: {"name": one.name, "file": one.filename or ""}
                 for part, one in (("train", dataset), ("eval", held)) if one is not None}
        trained_on = dataset.name if dataset else spec.model.id
        name = rows.good_name(name or f"{trained_on[:rows.LONGEST_NAME - 40]}, {spec.method.name}")
        id = id or new_id(Run.prefix)
        row = Run(id=id, owner_id=user.id, name=name, task=spec.task, method=spec.method.name, model=spec.model.id,
                  dataset_id=dataset_id, eval_dataset_id=eval_dataset_id, device_class=device_class,
                  spec=spec.model_dump(mode="json"), data_names=names, metric_name=task.metric,
                  metric_greater=task.greater_is_better,
                  search=_searchable(name, spec.method.name, spec.model.id, spec.task, id))
        rows.add(session, row)
    return row


def get(user: User, id: str) -> Run:
    """Return a run; raises NotFound."""
    with database().read() as session:
        return rows.one(session, Run, user, id)


def latest(user: User, ids: Sequence[str]) -> list[Run]:
    """Return several runs in the order of `ids`, for comparing; raises NotFound for the first that is not there."""
    with database().read() as session:
        found = {row.id: row for row in session.scalars(select(Run).where(Run.owner_id == user.id, Run.id.in_(ids)))}
    for id in ids:
        if id not in found:
            raise rows.missing(Run, id)
    return [found[id] for id in ids]


def find(user: User, *, search: str = "", states: Sequence[str] | None = None, methods: Sequence[str] | None = None,
         tasks: Sequence[str] | None = None, models: Sequence[str] | None = None, datasets: Sequence[str] | None = None,
         limit: int = 50, offset: int = 0, order: str = "newest") -> list[Run]:
    """Return one page of the user's runs.

    Every word of `search` must occur in the name, method, model, task, state, id or dataset name. A filter of None
    lets all through. `order`: newest, oldest, name.
    """
    conditions = _conditions(user, search, states, methods, tasks, models, datasets)
    query = select(Run).where(*conditions).order_by(*_ORDERS[order])
    with database().read() as session:
        return list(session.scalars(rows.page(query, limit, offset)))


def count(user: User, *, search: str = "", states: Sequence[str] | None = None, methods: Sequence[str] | None = None,
          tasks: Sequence[str] | None = None, models: Sequence[str] | None = None,
          datasets: Sequence[str] | None = None) -> int:
    """Return how many runs `find` would list over all pages."""
    with database().read() as session:
        return rows.total(session, Run, _conditions(user, search, states, methods, tasks, models, datasets))


def counts(user: User) -> dict[str, int]:
    """Return the number of runs in each state, zeros included."""
    query = select(Run.state, func.count()).where(Run.owner_id == user.id).group_by(Run.state)
    with database().read() as session:
        return dict.fromkeys(STATES, 0) | dict(session.execute(query).all())


def totals() -> dict[str, int]:
    """Return the number of everybody's runs in each state, zeros included; figures for whoever keeps the studio up."""
    query = select(Run.state, func.count()).group_by(Run.state)
    with database().read() as session:
        return dict.fromkeys(STATES, 0) | dict(session.execute(query).all())


def duplicate_spec(user: User, id: str) -> dict[str, Any]:
    """Return the document that started a run, to edit and start again."""
    return dict(get(user, id).spec)


@retried
def ask_stop(user: User, id: str, mode: StopMode = "save") -> Run:
    """Ask a run to stop, keeping its adapter ("save") or not ("discard"); a waiting run is cancelled at once.

    Asking again may change the mode. Raises RunEnded when it is over.
    """
    if mode not in ("save", "discard"):
        raise ValueError(f"a run stops with save or discard, not {mode}")
    with database().write() as session:
        row = rows.one(session, Run, user, id, lock=True)
        if row.state in ENDED:
            raise RunEnded(id, name=row.name, state=row.state)
        if row.state in HELD:
            return rows.changed(session, Run, user, id, {"state": "stopping", "stop_mode": mode})
        return rows.changed(session, Run, user, id, {"state": "cancelled", "stop_mode": mode, "finished_at": now(),
                                                     "eta": None, "stage": ""})


@retried
def resume(user: User, id: str) -> Run:
    """Put a cancelled, failed or interrupted run back into the queue; it goes on from its newest checkpoint."""
    with database().write() as session:
        row = rows.one(session, Run, user, id, lock=True)
        if row.state not in RESUMABLE:
            raise NotResumable(id, name=row.name, state=row.state)
        return rows.changed(session, Run, user, id, {
            "state": "queued", "attempts": 0, "stop_mode": None, "error": None, "finished_at": None, "stage": "",
            "lease_until": None, "worker_id": None, "queued_at": now(), "rung_at": now(), "token": Run.token + 1})


@retried
def rename(user: User, id: str, name: str) -> Run:
    """Give a run another name."""
    name = rows.good_name(name)
    with database().write() as session:
        row = rows.one(session, Run, user, id, lock=True)
        search = _searchable(name, row.method, row.model, row.task, id)
        return rows.changed(session, Run, user, id, {"name": name, "search": search})


@retried
def delete(user: User, id: str) -> list[str]:
    """Delete a run with its metrics and log, and return the blob keys nobody needs any more; raises RunActive.

    Its adapters stay, so their files do too; then only the checkpoints are returned.
    """
    with database().write() as session:
        row = rows.one(session, Run, user, id, lock=True)
        if row.state in ACTIVE:
            raise RunActive(id, name=row.name, state=row.state)
        kept = session.scalar(select(Adapter.id).where(Adapter.run_id == id).limit(1))
        session.delete(row)
    folder = f"runs/{id}"
    return [f"{folder}/attempt-{token}/checkpoints" for token in range(1, row.token + 1)] if kept else [folder]


def _searchable(name: str, method: str, model: str, task: str, id: str) -> str:
    return rows.searchable(id, method, task, name, model)


def _conditions(user: User, search: str, states: Sequence[str] | None, methods: Sequence[str] | None,
                tasks: Sequence[str] | None, models: Sequence[str] | None,
                datasets: Sequence[str] | None) -> list[ColumnElement[bool]]:
    words = [word | Run.dataset_id.in_(select(Dataset.id).where(Dataset.owner_id == user.id, in_dataset))
             for word, in_dataset in zip(rows.matching(search, Run.search, Run.state),
                                         rows.matching(search, Dataset.search), strict=True)]
    return [Run.owner_id == user.id, *words, *rows.among(Run.state, states), *rows.among(Run.method, methods),
            *rows.among(Run.task, tasks), *rows.among(Run.model, models), *rows.among(Run.dataset_id, datasets)]
