"""Short jobs (ingest, inspect, export, compose, batch, predict): who may begin one, which were dropped. For workers.

A short job has no lease. Its row's `updated_at` moves with its progress; a job that was silent for long may be begun
again by another worker, so what it writes must be the same when it is written twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import and_, or_, select, update

from db.base import now
from db.session import database, retried
from db.tables import Batch, Composition, Dataset, Export, Model, Prediction

Kind = Literal["dataset", "model", "export", "composition", "batch", "prediction"]


@dataclass(frozen=True)
class _Job:
    noun: Kind
    table: type[Dataset] | type[Model] | type[Export] | type[Composition] | type[Batch] | type[Prediction]
    waiting: str
    working: str


_JOBS: dict[str, _Job] = {
    "ds": _Job("dataset", Dataset, "uploaded", "ingesting"),
    "md": _Job("model", Model, "queued", "inspecting"),
    "ex": _Job("export", Export, "queued", "running"),
    "co": _Job("composition", Composition, "queued", "running"),
    "ba": _Job("batch", Batch, "queued", "running"),
    "pr": _Job("prediction", Prediction, "queued", "running")}


@retried
def begin(id: str, silent: float = 120) -> bool:
    """Take a waiting job, or one that was silent for `silent` seconds; False when another has it or it is over."""
    job = _JOBS[id.partition("_")[0]]
    table = job.table
    free = or_(table.state == job.waiting, and_(table.state == job.working, table.updated_at < now() - silent))
    query = update(table).where(table.id == id, free).values(state=job.working, updated_at=now()).returning(table.id)
    with database().write() as session:
        return session.scalar(query) is not None


@retried
def touch(id: str) -> bool:
    """Say that a job is still worked on; False when it is to stop: cancelled, deleted, or no longer this one's."""
    job = _JOBS[id.partition("_")[0]]
    table = job.table
    query = update(table).where(table.id == id, table.state == job.working).values(
        updated_at=now()).returning(table.cancel)
    with database().write() as session:
        return session.scalar(query) is False


def stale(waited: float = 60, silent: float = 120) -> list[tuple[Kind, str]]:
    """Return (noun, id) of jobs that waited longer than `waited` seconds or were silent for `silent`: ring for them."""
    found: list[tuple[Kind, str]] = []
    with database().read() as session:
        for job in _JOBS.values():
            table = job.table
            query = select(table.id).where(or_(
                and_(table.state == job.waiting, table.updated_at < now() - waited),
                and_(table.state == job.working, table.updated_at < now() - silent))).limit(200)
            found.extend((job.noun, id) for id in session.scalars(query))
    return found


@retried
def measure_again(tasks: Sequence[str]) -> int:
    """Put models back in line that were measured before some of these tasks were known; returns how many."""
    with database().write() as session:
        outdated = [row.id for row in session.scalars(select(Model).where(Model.state == "ready"))
                    if row.shape and set(tasks) - set(row.shape.get("tried", ()))]
        # As if they had waited for long, so that the next round takes them up.
        session.execute(update(Model).where(Model.id.in_(outdated)).values(state="queued", updated_at=0.0))
    return len(outdated)
