"""Real processes of the studio to measure: the web server, everything that `up` starts, and what pages send it."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from bench.report import ROOT

T = TypeVar("T")
CONFIG = re.compile(r"window\.gradio_config = (\{.*?\});</script>", re.DOTALL)


@contextmanager
def data_folder() -> Iterator[Path]:
    """Make a data folder that this process and those it starts use; it is removed in the end."""
    from db.settings import settings

    folder = Path(tempfile.mkdtemp(prefix="bench-studio-"))
    before = {name: value for name, value in os.environ.items() if name.startswith("STUDIO_")}
    for name in before:
        del os.environ[name]
    os.environ |= {"STUDIO_DATA_DIR": str(folder), "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    settings.cache_clear()
    try:
        yield folder
    finally:
        os.environ.pop("STUDIO_DATA_DIR", None)
        os.environ |= before
        settings.cache_clear()
        shutil.rmtree(folder, ignore_errors=True)


class Process:
    """A process of the studio with an address; its output goes to a file in the data folder."""

    def __init__(self, folder: Path, module: str, *arguments: str, port: int, **environment: str) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.log = folder / f"bench-{module}.log"
        self.began = time.monotonic()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env=os.environ | {"STUDIO_DATA_DIR": str(folder)} | environment)
        self.pid = self._process.pid

    def answered(self, path: str = "/", seconds: float = 120.0) -> float:
        """Wait until `path` answers and return the seconds since the process was started."""
        with httpx.Client(base_url=self.address, timeout=10) as client:
            def look() -> bool:
                if self._process.poll() is not None:
                    raise RuntimeError(f"it ended: {self.log.read_text(errors='replace')[-2000:]}")
                try:
                    return client.get(path).status_code == 200
                except httpx.TransportError:
                    return False

            until(look, seconds, pause=0.02)
        return time.monotonic() - self.began

    def stop(self) -> None:
        """End the process in good order."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


@contextmanager
def web(folder: Path) -> Iterator[Process]:
    """Run a broker and `python -m studio.web` on a data folder, its tables up to date, until the block ends."""
    from db import migrate
    from db.settings import settings
    from worker import broker

    migrate.upgrade()
    rings = broker.start(settings(), folder / "bench-broker.log")
    port = free_port()
    process = Process(folder, "studio.web", port=port, STUDIO_PORT=str(port))
    try:
        process.answered("/healthz")
        yield process
    finally:
        process.stop()
        rings.terminate()
        rings.wait(10)


@contextmanager
def everything(folder: Path, **environment: str) -> Iterator[Process]:
    """Run `peft-studio up` on a data folder until the block ends; it may not answer yet."""
    port = free_port()
    process = Process(folder, "studio", "up", port=port, STUDIO_PORT=str(port), **environment)
    try:
        yield process
    finally:
        process.stop()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(look: Callable[[], T], seconds: float, pause: float = 0.1) -> T:
    """Return the first true answer of `look`, asked every `pause` seconds; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(pause)
    return answer


class Memory:
    """Watches the memory of a process: what it has now, and the most it had while watched. Bytes."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = 0
        self._over = threading.Event()

    def now(self) -> int:
        """Return the resident memory."""
        return self._status("VmRSS")

    def __enter__(self) -> Memory:
        self._over.clear()
        self.peak = self.now()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def holds(self, library: str) -> bool:
        """Whether a shared library is loaded: a process that has imported torch has libtorch mapped."""
        return library in Path(f"/proc/{self.pid}/maps").read_text()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, self.now())

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+)", text)[1]) * 1024  # type: ignore[index]


class Page:
    """A page as a browser tab has it: its address, its session, and the events it sends."""

    def __init__(self, address: str, path: str) -> None:
        self.client = httpx.Client(base_url=address, timeout=httpx.Timeout(60.0),
                                   headers={"Origin": address, "Referer": address + path})
        answer = self.client.get(path)
        answer.raise_for_status()
        found = CONFIG.search(answer.text)
        if found is None:
            raise RuntimeError(f"{path} holds no page of Gradio's")
        self.config: dict[str, Any] = json.loads(found[1])
        self.hash = secrets.token_hex(6)
        self.bytes = len(answer.content)

    def component(self, elem_id: str) -> int:
        """Return the number of the component with this element id."""
        return next(one["id"] for one in self.config["components"] if one["props"].get("elem_id") == elem_id)

    def triggered(self, event: str, elem_id: str | None = None) -> list[dict[str, Any]]:
        """Return the handlers of an event (tick, load, input, click), of one component or of all."""
        wanted = None if elem_id is None else self.component(elem_id)
        here = {one["id"] for one in self.config["components"]}
        return [one for one in self.config["dependencies"] if any(
            name == event and (source == wanted if wanted is not None else event == "load" or source in here)
            for source, name in one["targets"])]

    def send(self, handler: dict[str, Any], data: list[Any] | None = None) -> list[Any]:
        """Call a handler through the queue and return its outputs; `data` defaults to the components' first values."""
        values = {one["id"]: one["props"].get("value") for one in self.config["components"]}
        given = data if data is not None else [values.get(number) for number in handler["inputs"]]
        body = {"data": given, "fn_index": handler["id"], "session_hash": self.hash, "event_data": None,
                "trigger_id": handler["targets"][0][0]}
        joined = self.client.post("/gradio_api/queue/join", json=body)
        joined.raise_for_status()
        event = joined.json()["event_id"]
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.hash}) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message.get("event_id") == event:
                    if not message["success"]:
                        raise RuntimeError(str(message["output"]))
                    return list(message["output"]["data"])
        raise RuntimeError("the answer ended early")

    def close(self) -> None:
        """Close the tab."""
        self.client.close()
