"""Who works on which run: claims by one statement, leases by the database's clock, fenced by a token that only grows.

The worker's side; there is no user here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.base import now
from db.session import database, retried
from db.settings import settings
from db.states import HELD, WAITING, State
from db.tables import LogLine, Run, UserRow
from db.users import User

_FREE: dict[str, Any] = {"worker_id": None, "lease_until": None, "eta": None, "stage": ""}
_ANSWER = {"populate_existing": True, "synchronize_session": False}


@dataclass(frozen=True)
class Claimed:
    """A run this worker holds until `lease_until` (database time). Its files go under `runs/<id>/attempt-<token>`."""

    run_id: str
    token: int
    lease_until: float
    owner: User
    name: str
    spec: dict[str, Any]
    attempts: int
    dataset_id: str | None
    eval_dataset_id: str | None
    device_class: str | None


@dataclass(frozen=True)
class Held:
    """A renewed lease, and whether the run's owner asked it to stop ("save" or "discard")."""

    lease_until: float
    stop_mode: str | None


@dataclass(frozen=True)
class Lost:
    """A run that lost its worker, and the state it is in now."""

    run_id: str
    state: State


@retried
def claim(worker_id: str, device_class: str | None = None, *, run_id: str | None = None,
          seconds: float | None = None) -> Claimed | None:
    """Take the longest-waiting run that fits the device (or just `run_id`), or return None when there is none."""
    seconds = settings().lease_seconds if seconds is None else seconds
    free = [Run.state.in_(WAITING), or_(Run.lease_until.is_(None), Run.lease_until < now())]
    fits = [] if device_class is None else [or_(Run.device_class.is_(None), Run.device_class == device_class)]
    this = [] if run_id is None else [Run.id == run_id]
    chosen = select(Run.id).where(*free, *fits, *this).order_by(Run.queued_at, Run.id).limit(1).with_for_update(
        skip_locked=True)
    query = update(Run).where(Run.id == chosen.scalar_subquery(), *free).values(
        state="starting", token=Run.token + 1, attempts=Run.attempts + 1, worker_id=worker_id, journal_seq=-1,
        lease_until=now() + seconds, heartbeat_at=now(), stop_mode=None, stage="", eta=None, error=None).returning(Run)
    with database().write() as session:
        run = session.scalar(query, execution_options=_ANSWER)
        if run is None or run.lease_until is None:
            return None
        owner = session.get_one(UserRow, run.owner_id)
    return Claimed(run.id, run.token, run.lease_until, User(owner.id, owner.name, owner.role), run.name,
                   dict(run.spec), run.attempts, run.dataset_id, run.eval_dataset_id, run.device_class)


@retried
def renew(run_id: str, token: int, *, seconds: float | None = None) -> Held | None:
    """Lengthen a lease; None when it is lost, and the child must stop."""
    seconds = settings().lease_seconds if seconds is None else seconds
    query = update(Run).where(*_held(run_id, token)).values(
        lease_until=now() + seconds, heartbeat_at=now()).returning(Run.lease_until, Run.stop_mode)
    with database().write() as session:
        row = session.execute(query).one_or_none()
    if row is None:
        return None
    until, mode = row
    return Held(until or 0.0, mode)


def stop_modes(worker_id: str) -> dict[str, str]:
    """Return the runs of a worker that were asked to stop: {run id: "save" or "discard"}."""
    query = select(Run.id, Run.stop_mode).where(
        Run.state == "stopping", Run.worker_id == worker_id, Run.stop_mode.is_not(None))
    with database().read() as session:
        return {id: mode for id, mode in session.execute(query) if mode is not None}


@retried
def release(run_id: str, token: int) -> bool:
    """Give a run back unharmed: it waits again, the attempt is not counted. False when the lease was lost already."""
    with database().write() as session:
        stopped = _end(session, [*_held(run_id, token), Run.state == "stopping"], "cancelled")
        if stopped:
            return True
        query = update(Run).where(*_held(run_id, token)).values(
            _FREE | {"state": "queued", "token": Run.token + 1, "attempts": Run.attempts - 1,
                     "rung_at": now()}).returning(Run.id)
        return session.scalar(query) is not None


@retried
def lose(run_id: str, token: int, reason: str = "Its process ended without a word.") -> State | None:
    """Report that a child died without a last event; returns the run's state now, None if the lease was lost."""
    with database().write() as session:
        lost = _lose(session, _held(run_id, token), reason)
    return lost[0].state if lost else None


@retried
def expire() -> list[Lost]:
    """Take every run whose lease has run out away from its worker: interrupted, or failed after the last attempt."""
    overdue = [Run.state.in_(HELD), or_(Run.lease_until.is_(None), Run.lease_until < now())]
    with database().read() as session:
        if session.scalar(select(Run.id).where(*overdue).limit(1)) is None:
            return []
    with database().write() as session:
        return _lose(session, overdue, "Its worker was not heard of in time.")


@retried
def stale_queued(seconds: float | None = None) -> list[str]:
    """Return the runs that have waited `seconds` since a worker was last told; each is returned to one caller only."""
    seconds = settings().reap_seconds if seconds is None else seconds
    old = [Run.state.in_(WAITING), Run.rung_at < now() - seconds]
    with database().read() as session:
        if session.scalar(select(Run.id).where(*old).limit(1)) is None:
            return []
    with database().write() as session:
        return list(session.scalars(update(Run).where(*old).values(rung_at=now()).returning(Run.id)))


def note(session: Session, run: Run, text: str, level: str = "info") -> None:
    """Add a line to a run's log within the caller's transaction, which holds the run's row."""
    query = update(Run).where(Run.id == run.id).values(log_lines=Run.log_lines + 1).returning(Run.log_lines)
    number = session.scalar(query)
    if number is not None:
        at = session.scalar(select(now()))
        session.add(LogLine(run_id=run.id, number=number, at=at, level=level, text=text))
        session.flush()


def _held(run_id: str, token: int) -> list[Any]:
    return [Run.id == run_id, Run.token == token, Run.state.in_(HELD)]


def _end(session: Session, conditions: Sequence[Any], state: State, **values: Any) -> list[Run]:
    """Move the runs to `state`, fence their writers off and set them free."""
    query = update(Run).where(*conditions).values(
        _FREE | {"state": state, "token": Run.token + 1} | values).returning(Run)
    if state in ("failed", "cancelled"):
        query = query.values(finished_at=now())
    return list(session.scalars(query, execution_options=_ANSWER))


def _lose(session: Session, conditions: Sequence[Any], reason: str) -> list[Lost]:
    """Take runs away from their workers, and say why in their logs."""
    most = settings().max_attempts
    cancelled = _end(session, [*conditions, Run.state == "stopping"], "cancelled")
    failed = _end(session, [*conditions, Run.state != "stopping", Run.attempts >= most], "failed", error={
        "kind": "worker_lost", "what": f"The run lost its worker {most} times. {reason}", "where": "worker",
        "try_this": "Look for memory running out on the worker's machine, choose smaller settings, then resume."})
    interrupted = _end(session, [*conditions, Run.state != "stopping"], "interrupted", rung_at=now())
    for run in cancelled:
        note(session, run, f"{reason} The run was to stop anyway, so it is cancelled.", "warning")
    for run in failed:
        note(session, run, f"{reason} That was attempt {run.attempts} of {most}: the run has failed.", "error")
    for run in interrupted:
        note(session, run, f"{reason} The run goes on from its newest checkpoint when a worker is free.", "warning")
    return [Lost(run.id, run.state) for run in [*cancelled, *failed, *interrupted]]  # pyright: ignore[reportArgumentType]
