"""The parts of this worker process, where its Celery jobs find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.desk import Desk
    from worker.fleet import Fleet
    from worker.stage import Stage


@dataclass(frozen=True)
class Station:
    """Runs are the fleet's, short work the desk's, questions to models the stage's."""

    fleet: Fleet
    desk: Desk
    stage: Stage


_here: list[Station] = []


def current() -> Station:
    """Return this process's station; raises RuntimeError outside a worker."""
    if not _here:
        raise RuntimeError("this process is not a worker")
    return _here[-1]


def open_here(station: Station) -> None:
    """Make `station` this process's."""
    _here[:] = [station]
