"""Warm fork server: a child process per run, ready in milliseconds."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from engine.environment import ENVIRONMENT
from worker import child, wire

log = logging.getLogger(__name__)

#: Pause before the fork server is started again when it could not begin.
AGAIN_SECONDS = 5.0

class Child:
    """One process of ours, leader of its own process group, with a pipe for messages."""

    def __init__(self, process: Any, link: Connection) -> None:
        self._process = process
        self._lock = threading.Lock()
        self.link = link
        self.pid: int = process.pid
        self.forced = False
        self._deaf = False

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, or None while it lives."""
        return self._process.exitcode

    @property
    def alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self.exit_code is None

    def put(self, kind: str, **fields: Any) -> bool:
        """Send the child a message; returns False when it is gone."""
        with self._lock:
            return wire.put(self.link, kind, **fields)

    def poll(self, seconds: float) -> wire.Message | None:
        """Return the child's next message, or None after `seconds` or when the child has ended."""
        ready = wait([self._process.sentinel] if self._deaf else [self.link, self._process.sentinel], timeout=seconds)
        message = wire.get(self.link) if self.link in ready else None
        self._deaf = self._deaf or (message is None and self.link in ready)
        return message

    def join(self, seconds: float | None = None) -> bool:
        """Wait until the process has ended; returns whether it has."""
        self._process.join(seconds)
        return not self.alive

    def terminate(self) -> None:
        """Ask the child to end (SIGTERM)."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the child and everything it started (SIGKILL to its process group)."""
        if self.alive:
            self.forced = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self, seconds: float) -> None:
        """Ask the child to end and end it by force after `seconds`."""
        self.terminate()
        if not self.join(seconds):
            self.kill()
            self.join(10)

    def close(self) -> None:
        """Free the pipe and the process handle of an ended child."""
        self.link.close()
        if not self.alive:
            self._process.close()


class Nursery:
    """Starts children from a process that has torch, transformers and peft already imported."""

    def __init__(self, threads: int, environment: Mapping[str, str] | None = None) -> None:
        """`threads` is each child's share of the cores; `environment` is set in the fork server and all children."""
        self.threads = threads
        self.seconds: float | None = None
        # The allocator's part is read by glibc when the program starts; a child can no longer set it.
        self._environment = ENVIRONMENT | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads),
                                         "MKL_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false",
                                         } | dict(environment or {})
        self._context: Any = multiprocessing.get_context("forkserver")
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._warm = threading.Event()
        #: Called once children start at once.
        self.on_warm: Callable[[], None] = lambda: None

    @property
    def warm(self) -> bool:
        """Whether the fork server has finished importing."""
        return self._warm.is_set()

    def start(self) -> None:
        """Start warming in the background."""
        threading.Thread(target=self._warm_up, name="nursery", daemon=True).start()

    def wait_warm(self, seconds: float) -> bool:
        """Wait until children start at once; returns whether they do."""
        return self._warm.wait(seconds)

    def spawn(self, order: dict[str, Any], log_file: Path | None = None, *, threads: int | None = None,
              environment: Mapping[str, str] | None = None) -> Child:
        """Start a child that carries out `order` (see `child.ORDERS`), its output appended to `log_file`."""
        if self._closed:
            raise RuntimeError("the nursery is closed")
        ours, theirs = self._context.Pipe()
        frame = {"log": str(log_file) if log_file else None, "threads": threads or self.threads,
                 "environment": dict(environment or {})}
        process = self._context.Process(target=child.begin, args=(theirs, order, frame), name=order["kind"])
        with self._lock:
            self._set_environment()
            process.start()
        theirs.close()
        started = Child(process, ours)
        with self._lock:
            self._children = {pid: one for pid, one in self._children.items() if _alive(one)}
            self._children[started.pid] = started
        return started

    def close(self) -> None:
        """End the fork server and whatever children are left."""
        self._closed = True
        for one in list(self._children.values()):
            if _alive(one):
                one.kill()
        server: Any = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
        pid = server._forkserver_pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                server._stop()

    def _set_environment(self) -> None:
        # The fork server takes over the environment at its start, and the allocator reads its part of it only then.
        multiprocessing.forkserver.set_forkserver_preload(["worker.warm"])
        before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _warm_up(self) -> None:
        began = time.monotonic()
        while (answer := self._first_word()) is None:
            if self._closed:
                return
            time.sleep(AGAIN_SECONDS)
        self.seconds = time.monotonic() - began
        self._warm.set()
        if answer["missing"]:
            log.warning("The nursery could not import: %s", ", ".join(answer["missing"]))
        log.info("Nursery warm after %.1f s.", self.seconds)
        self.on_warm()

    def _first_word(self) -> wire.Message | None:
        """Start the fork server by asking for a first child, and return what that one says; None if it cannot."""
        try:
            first = self.spawn({"kind": "ping"})
            answer = first.poll(300)
            first.join(10)
            first.close()
        except (OSError, EOFError, RuntimeError) as error:
            if not self._closed:
                log.warning("The nursery did not start: %s", error)
            return None
        return answer


def _alive(one: Child) -> bool:
    try:
        return one.alive
    except ValueError:
        return False
