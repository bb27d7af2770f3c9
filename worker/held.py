"""Which attempts this worker process has, in a file that outlives it: its successor tidies up after a crash at once."""

from __future__ import annotations

import fcntl
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from db import leases
from worker.attempt import Attempt
from worker.journal import Shipper

log = logging.getLogger(__name__)


class Held:
    """The list of attempts in `<folder>/<worker id>.json`, locked for as long as this process lives."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._path = folder, folder / f"{worker_id}.json"
        self._attempts: dict[str, dict[str, Any]] = {}
        self._guard = threading.Lock()
        self._file = self._path.open("w+", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._write()

    def add(self, attempt: Attempt) -> None:
        """Remember an attempt and its child."""
        child = attempt.child
        with self._guard:
            self._attempts[attempt.claimed.run_id] = {
                "run_id": attempt.claimed.run_id, "token": attempt.claimed.token, "folder": str(attempt.folder),
                "pid": child.pid if child else 0, "born": born(child.pid) if child else 0.0}
            self._write()

    def remove(self, attempt: Attempt) -> None:
        """Forget a settled attempt."""
        with self._guard:
            self._attempts.pop(attempt.claimed.run_id, None)
            self._write()

    def close(self) -> None:
        """Remove the file, unless it holds attempts of which the database could not be told."""
        if not self._attempts:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def left_behind(self) -> Iterator[dict[str, Any]]:
        """Yield the attempts of workers of this machine that are gone; their files are removed."""
        for path in sorted(self._folder.glob("*.json")):
            if path == self._path:
                continue
            try:
                with path.open("r+", encoding="utf-8") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield from json.loads(file.read() or "[]")
                    path.unlink(missing_ok=True)
            except (OSError, ValueError):
                continue

    def _write(self) -> None:
        self._file.seek(0)
        self._file.write(json.dumps(list(self._attempts.values())))
        self._file.truncate()
        self._file.flush()


def born(pid: int) -> float:
    """Return when a process started (Unix time), 0 when it is gone: tells it from a later one with the same number."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def recover(entry: dict[str, Any], seconds: float) -> None:
    """Settle an attempt whose worker crashed: wait for its child's checkpoint, ship its events, free its run."""
    if entry["pid"] and born(entry["pid"]) == entry["born"]:
        try:
            child = psutil.Process(entry["pid"])
            # It has noticed already that its worker is gone, and is writing a checkpoint.
            psutil.wait_procs([child], timeout=seconds)
            if child.is_running():
                child.kill()
                child.wait(10)
        except psutil.Error:
            pass
    shipper = Shipper(entry["run_id"], entry["token"], Path(entry["folder"]) / "events.jsonl", lambda event: None)
    shipper.ship()
    if not shipper.lost and shipper.ending is None:
        leases.lose(entry["run_id"], entry["token"], "Its worker ended unexpectedly.")
    log.info("Recovered %s, which a worker that is gone had left behind.", entry["run_id"])
