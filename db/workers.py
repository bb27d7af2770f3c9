"""Workers: who is there to do the work, and with what."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select, update

from db.base import now
from db.session import database, retried
from db.tables import Worker
from db.users import User

#: A worker that has not been heard of for longer counts as gone, in seconds.
GONE_AFTER = 60.0


def find(user: User, within: float | None = GONE_AFTER) -> list[Worker]:
    """Return the workers heard of in the last `within` seconds (None: ever), in order of host and process.

    Workers belong to everybody who may use the studio; `user` is here so that this can change in one place.
    """
    query = select(Worker).order_by(Worker.host, Worker.pid)
    if within is not None:
        query = query.where(Worker.heartbeat_at >= now() - within)
    with database().read() as session:
        return list(session.scalars(query))


@retried
def beat(id: str, *, host: str, pid: int, slots: int, busy: int, device: dict[str, Any],
         versions: dict[str, Any] | None = None) -> None:
    """Say that a worker is alive. `device`: {"class": "cpu"|"cuda", "name", "memory_bytes", "cores"}."""
    values: dict[str, Any] = {"host": host, "pid": pid, "slots": slots, "busy": busy, "device": device,
                              "heartbeat_at": now()}
    if versions is not None:
        values["versions"] = versions
    with database().write() as session:
        known = session.scalar(update(Worker).where(Worker.id == id).values(values).returning(Worker.id))
        if known is None:
            session.add(Worker(id=id, **values))


@retried
def remove(id: str) -> None:
    """Forget a worker that goes away in good order."""
    with database().write() as session:
        session.execute(delete(Worker).where(Worker.id == id))


@retried
def forget(older_than: float = 86_400) -> int:
    """Delete workers not heard of for `older_than` seconds; returns how many."""
    with database().write() as session:
        return len(session.scalars(delete(Worker).where(
            Worker.heartbeat_at < now() - older_than).returning(Worker.id)).all())
