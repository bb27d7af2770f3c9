"""Reads a child's journal file while it is being written, and ships its events to the database exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from db import journal
from db.errors import LeaseLost
from engine.events import BrokenLine, Event, RunCancelled, RunFailed, RunInterrupted, RunSucceeded, from_line

log = logging.getLogger(__name__)

#: Events held in memory at most; while the database is away the rest waits in the file.
MOST = 2000
ENDINGS = (RunSucceeded, RunCancelled, RunFailed, RunInterrupted)
#: What the database says when it is not there; anything else is about the events themselves.
OUTAGES = (OperationalError, InterfaceError, PoolTimeout)


class Tail:
    """Returns the events appended to a file since the last look; a line still being written waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self, most: int = MOST) -> list[Event]:
        """Return up to `most` new events; a whole but damaged line is passed over with a warning."""
        events: list[Event] = []
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return events
        with file:
            file.seek(self._offset)
            while len(events) < most:
                line = file.readline()
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                try:
                    events.append(from_line(line.decode("utf-8")))
                except (BrokenLine, UnicodeDecodeError, TypeError) as error:
                    log.warning("%s holds a damaged line: %s", self._path, error)
        return events


class Shipper:
    """Moves one attempt's events from its journal file into rows, in order, through database outages."""

    def __init__(self, run_id: str, token: int, path: Path, before_ending: Callable[[Event], None]) -> None:
        """`before_ending` is called before a last event becomes rows: what that row will point at must exist."""
        self.run_id, self.token = run_id, token
        #: Another attempt holds the run, or it was deleted: nothing more can be written.
        self.lost = False
        #: The last event, once it is in the database.
        self.ending: Event | None = None
        self.next_seq = 0
        self._before_ending = before_ending
        self._tail = Tail(path)
        self._waiting: list[Event] = []
        self._down = False

    def ship(self) -> bool:
        """Send what is new; returns whether nothing is left to send, or ever can be."""
        while not self.lost:
            if not self._waiting:
                self._waiting = self._tail.read()
            if not self._waiting:
                return True
            if not self._send():
                return False
        return True

    def end(self, event: Event) -> bool:
        """Send a last event of the worker's own, where the child said none; returns as `ship` does."""
        if not self._waiting:
            self._waiting = [event]
        return self.ship()

    def _send(self) -> bool:
        for event in self._waiting:
            if isinstance(event, ENDINGS):
                self._before_ending(event)
        try:
            journal.ingest(self.run_id, self.token, self._waiting)
        except LeaseLost:
            self.lost = True
            return True
        except OUTAGES as error:
            if not self._down:
                log.warning("The database does not answer; events of %s wait in their file: %s", self.run_id,
                            str(error).splitlines()[0])
            self._down = True
            return False
        except (SQLAlchemyError, ValueError, TypeError):
            if len(self._waiting) > 1:
                return self._one_by_one()
            log.exception("An event of %s could not be stored: %s", self.run_id, type(self._waiting[0]).__name__)
        self._sent()
        return True

    def _one_by_one(self) -> bool:
        """Send the waiting events singly, so that one that cannot be stored does not hold up the others."""
        batch, self._waiting = self._waiting, []
        for index, event in enumerate(batch):
            self._waiting = [event]
            if not self._send():
                self._waiting = batch[index:]
                return False
            if self.lost:
                return True
        return True

    def _sent(self) -> None:
        if self._down:
            log.info("The database answers again.")
        self._down = False
        last = self._waiting[-1]
        self.next_seq = last.seq + 1
        # A child that resumes in place goes on after an interruption: only the very last event counts.
        self.ending = last if isinstance(last, ENDINGS) else None
        self._waiting = []
