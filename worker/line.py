"""A child's end of the pipe to its worker: progress up, cancel and requests down, and what to do when it breaks."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from worker import wire

#: An orphan that has been told to end gets this long to write its checkpoint.
LAST_SECONDS = 60.0


class Line:
    """Listens in a thread of its own; without a renewal for `orphan_seconds` the child counts as orphaned."""

    def __init__(self, link: Connection, orphan_seconds: float | None) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._stopped: set[str] = set()
        self._orphan_seconds = orphan_seconds
        self._reported = 0.0
        #: What the worker asks of a child that serves requests; None ends it.
        self.requests: queue.SimpleQueue[wire.Message | None] = queue.SimpleQueue()
        #: How a child that lost its worker ends by itself; by default at once.
        self.on_orphaned: Callable[[], None] = _end_group

    def open(self) -> None:
        """Start listening."""
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def put(self, kind: str, **fields: Any) -> bool:
        """Send the worker a message; returns False when it is gone."""
        with self._lock:
            return wire.put(self._link, kind, **fields)

    def progress(self, fraction: float, text: str = "", **facts: Any) -> None:
        """Tell the worker how far along the work is (0 to 1) and what was found, at most five times a second."""
        now = time.monotonic()
        if now - self._reported >= 0.2 or fraction >= 1:
            self._reported = now
            self.put("progress", fraction=round(min(max(float(fraction), 0.0), 1.0), 4), text=text, facts=facts)

    def cancelled(self, id: str | None = None) -> bool:
        """Whether the worker asked to drop the work, or the one request called `id`."""
        return self._cancelled.is_set() or id in self._stopped

    def _listen(self) -> None:
        renewed = time.monotonic()
        while True:
            try:
                heard = self._link.poll(1.0 if self._orphan_seconds is not None else None)
            except OSError:
                heard = True
            message = wire.get(self._link) if heard else {"kind": "silence"}
            if message is None or self._too_long(renewed):
                self._orphaned()
                return
            if message["kind"] == "renewed":
                renewed = time.monotonic()
            elif message["kind"] == "cancel":
                self._cancelled.set()
            elif message["kind"] == "stop":
                self._stopped.add(message["id"])
            elif message["kind"] != "silence":
                self.requests.put(message)

    def _too_long(self, renewed: float) -> bool:
        return self._orphan_seconds is not None and time.monotonic() - renewed > self._orphan_seconds

    def _orphaned(self) -> None:
        self._cancelled.set()
        self.requests.put(None)
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            # Asked again and again: the first time may come before the work listens.
            self.on_orphaned()
            time.sleep(2)
        _end_group()


def _end_group() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)
