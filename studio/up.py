"""One command: broker, migrations, worker and web as one process tree that starts and stops together."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from db import migrate
from db.settings import Settings
from studio.daemon import Daemon
from worker import broker, tether
from worker.errors import AddressTaken, AlreadyRunning

LARGEST_LOG = 10_000_000
STOP_SECONDS = 60.0

Say = Callable[[str], None]


class Tree:
    """The processes of one studio on one data folder. Use as a context: leaving it leaves no process behind."""

    def __init__(self, settings: Settings, *, web: Sequence[str] | None = None, say: Say = print) -> None:
        """`web` is the command of the web server; an empty one starts the studio without pages."""
        self.settings, self.say = settings, say
        self.web = [sys.executable, "-m", "studio.web"] if web is None else list(web)
        self.logs = settings.data_dir / "logs"
        self.address = f"http://{_reachable(settings.host)}:{settings.port}"
        self.services: list[Daemon] = []
        self.failed: BaseException | None = None
        self.began = time.monotonic()
        self._broker: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._migrated = threading.Event()
        self._before: set[int] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Tree:
        self.settings.prepare()
        self._stack.enter_context(_locked(self.settings.data_dir, self.address if self.web else "no pages"))
        try:
            if self.web:
                _refuse_taken(self.settings.host, self.settings.port)
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> bool:
        """Whether the pages answer (without pages: whether the database is up to date and the worker is started)."""
        if not self.web:
            return self._migrated.is_set() and self.failed is None
        return _answers(_reachable(self.settings.host), self.settings.port)

    def watch(self) -> None:
        """Keep everything running; call this a few times a second. Raises what the migrations raised."""
        if self.failed is not None:
            raise self.failed
        if self._migrated.is_set() and len(self.services) == bool(self.web):
            self._add("worker", [sys.executable, "-m", "worker"])
        if self._broker is not None and self._broker.poll() is not None:
            self.say(f"The broker ended with code {self._broker.returncode}. Starting it again.")
            self._start_broker()
        for service in self.services:
            service.watch(self.say)
        tether.bury(one.process.pid for one in [*self.services] if one.process is not None)

    def close(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop in order: web and worker (which writes checkpoints), then the broker, then whatever is left."""
        for service in self.services:
            service.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and not hurry() and not all(one.wait(0.05) for one in self.services):
            pass
        for service in self.services:
            service.signal(signal.SIGKILL)
            service.wait(5)
        if self._broker is not None:
            self._broker.terminate()
            try:
                self._broker.wait(5)
            except subprocess.TimeoutExpired:
                self._broker.kill()
                self._broker.wait(5)
            self._broker = None
        for _ in range(3):
            before = self._before
            if before is None or not tether.end_all(one for one in tether.descendants() if one.pid not in before):
                break
        tether.bury(())
        self._stack.close()

    def _start(self) -> None:
        self._before = {one.pid for one in tether.descendants()}
        tether.adopt_orphans()
        self.logs.mkdir(exist_ok=True)
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LARGEST_LOG:
                log.replace(log.with_suffix(".log.1"))
        self._environment = _environment(self.settings)
        if self.web:
            self._add("web", self.web)
        threading.Thread(target=self._migrate, name="migrations", daemon=True).start()
        if self.settings.broker_bundled:
            self._start_broker()

    def _start_broker(self) -> None:
        self._broker = broker.start(self.settings, self.logs / "broker.log",
                                    before_exec=tether.tied_to(os.getpid()))

    def _add(self, name: str, command: list[str]) -> None:
        service = Daemon(name, command, self.logs / f"{name}.log", self._environment)
        self.services.append(service)
        service.start()

    def _migrate(self) -> None:
        try:
            migrate.upgrade(self.settings.database_url)
        except Exception as error:
            self.failed = error
        else:
            self._migrated.set()


def up(settings: Settings, open_browser: bool = False, *, web: Sequence[str] | None = None, say: Say = print) -> int:
    """Run the whole studio until Ctrl-C or SIGTERM; returns the exit code.

    Raises AlreadyRunning, AddressTaken, BrokerMissing, BrokerFailed or what the migrations raise.
    """
    asked = _Asked()
    tree = Tree(settings, web=web, say=say)
    with asked.listening(), tree:
        say("Starting PEFT Studio ...")
        announced = False
        while not asked.once:
            tree.watch()
            if not announced and tree.ready():
                announced = True
                say(f"PEFT Studio is ready: {tree.address} (after {time.monotonic() - tree.began:.1f} s). "
                    "Press Ctrl-C to stop it.")
                if open_browser:
                    webbrowser.open(tree.address)
            time.sleep(0.1 if not announced else 0.3)
        say("Stopping: running trainings write a checkpoint and go on at the next start ...")
        tree.close(hurry=lambda: asked.twice)
    say("Stopped.")
    return 0


class _Asked:
    """Counts the requests to stop: the first stops in order, the second at once."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def once(self) -> bool:
        return self.count > 0

    @property
    def twice(self) -> bool:
        return self.count > 1

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        def heard(_number: int, _frame: FrameType | None) -> None:
            # No more than this: a lock could be one that the main thread holds just now.
            self.count += 1

        asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before: dict[int, Any] = {number: signal.signal(number, heard) for number in asking}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _locked(data_dir: Path, address: str) -> Iterator[None]:
    path = data_dir / "studio.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = json.loads(lock.read() or "{}")
            raise AlreadyRunning(str(data_dir), pid=holder.get("pid", "unknown"),
                                 address=holder.get("address", "unknown address")) from None
        lock.seek(0)
        lock.truncate()
        lock.write(json.dumps({"pid": os.getpid(), "address": address}))
        lock.flush()
        yield
        lock.truncate(0)


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the other processes: ours, and every setting as it is here."""
    ours = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value not in (None, "") and name != "secret_key":
            ours[f"STUDIO_{name.upper()}"] = str(value)
    here = str(Path(__file__).resolve().parents[1])
    return ours | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def _refuse_taken(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise AddressTaken("port", host=host, port=port) from None


def _answers(host: str, port: int) -> bool:
    link = http.client.HTTPConnection(host.strip("[]"), port, timeout=2)
    try:
        link.request("GET", "/readyz")
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()
