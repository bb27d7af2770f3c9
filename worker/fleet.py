"""The runs of this worker: as many at once as it has slots, each supervised by a thread of its own."""

from __future__ import annotations

import logging
import threading
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from db import leases
from db.settings import Settings
from engine.errors import StudioError
from worker.attempt import Attempt
from worker.errors import ChildCrashed
from worker.held import Held
from worker.machine import Card
from worker.nursery import Nursery
from worker.timing import Timing

log = logging.getLogger(__name__)


class Fleet:
    """Fills free slots from the queue in the database. Ring as often as you like: `fill` takes what there is."""

    def __init__(self, worker_id: str, nursery: Nursery, held: Held, settings: Settings, timing: Timing,
                 cards: list[Card]) -> None:
        self.worker_id = worker_id
        self.device_class = "cuda" if cards else "cpu"
        self._nursery, self._held, self._settings, self._timing = nursery, held, settings, timing
        #: A slot is a graphics card, or a share of the processor.
        self._slots: list[int | None] = [card.index for card in cards] or [None] * settings.slots
        self._free = list(self._slots)
        self._attempts: dict[str, tuple[Attempt, threading.Thread]] = {}
        self._lock = threading.Lock()
        self._filling = threading.Lock()
        self._closed = False

    @property
    def slots(self) -> int:
        """How many runs fit at once."""
        return len(self._slots)

    @property
    def busy(self) -> int:
        """How many runs there are."""
        return len(self._attempts)

    def fill(self) -> None:
        """Claim runs until no slot is free or no run waits; none before children can start, so that no lease idles."""
        with self._filling:
            while not self._closed and self._nursery.warm and self._free and self._take_one():
                pass

    def look(self, run_id: str) -> None:
        """See now whether a run was asked to stop."""
        with self._lock:
            found = self._attempts.get(run_id)
        if found is not None:
            found[0].look()

    def look_all(self) -> None:
        """See which runs were asked to stop; one question for all of them."""
        if self._attempts:
            for run_id in leases.stop_modes(self.worker_id):
                self.look(run_id)

    def close(self) -> None:
        """Interrupt every run at a checkpoint and wait until all are settled."""
        self._closed = True
        with self._filling, self._lock:
            going = list(self._attempts.values())
        for attempt, _ in going:
            attempt.leave()
        for _, thread in going:
            thread.join(self._timing.shutdown_seconds + 15)

    def _take_one(self) -> bool:
        try:
            claimed = leases.claim(self.worker_id, self.device_class)
        except SQLAlchemyError as error:
            log.warning("No run can be claimed: %s", str(error).splitlines()[0])
            return False
        if claimed is None:
            return False
        attempt = Attempt(claimed, self._nursery, self._settings, self._timing, self._free[0])
        thread = threading.Thread(target=self._supervise, args=(attempt,), name=claimed.run_id, daemon=True)
        with self._lock:
            self._free.remove(attempt.card)
            self._attempts[claimed.run_id] = (attempt, thread)
        log.info("Attempt %d of %s (%s).", claimed.attempts, claimed.run_id, claimed.name)
        thread.start()
        return True

    def _supervise(self, attempt: Attempt) -> None:
        run_id = attempt.claimed.run_id
        try:
            self._begin(attempt)
        except Exception:
            log.exception("Supervising %s failed; its lease runs out.", run_id)
            self._end_child(attempt)
        finally:
            if attempt.settled or not self._closed:
                self._held.remove(attempt)
            with self._lock:
                self._attempts.pop(run_id, None)
                self._free.append(attempt.card)
        if not self._closed:
            self.fill()

    def _begin(self, attempt: Attempt) -> None:
        try:
            attempt.begin()
        except StudioError as error:
            attempt.fail(error)
        except (OSError, EOFError, RuntimeError) as error:
            log.warning("No child could be started for %s: %s", attempt.claimed.run_id, error)
            if self._closed:
                attempt.settled = leases.release(attempt.claimed.run_id, attempt.claimed.token)
            else:
                attempt.fail(ChildCrashed("nursery", code=f"none ({error})"))
        else:
            self._held.add(attempt)
            attempt.run()

    @staticmethod
    def _end_child(attempt: Attempt) -> None:
        child: Any = attempt.child
        if child is not None:
            try:
                child.kill()
            except ValueError:
                log.debug("The child of %s was closed already.", attempt.claimed.run_id)
