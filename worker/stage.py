"""The playground's models: one child per base model, kept warm, its adapters attached as they are asked for."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from db import light
from db.blobs import Blobs
from db.settings import Settings
from engine.errors import Cancelled, NotEnough, StudioError
from worker import answers
from worker.errors import ChildCrashed, killed_by
from worker.nursery import Child, Nursery
from worker.question import Question
from worker.timing import Timing

log = logging.getLogger(__name__)

#: Below this share of free memory unused models go, and no further one is loaded.
SPARE_MEMORY = 0.12
TOUCH_SECONDS = 0.5


class Host:
    """One base model in a child of its own; questions are answered one after the other."""

    def __init__(self, name: str, order: dict[str, Any], nursery: Nursery, blobs: Blobs, log_file: Path) -> None:
        self.name, self.used = name, time.monotonic()
        self.bytes = 0
        self._order, self._nursery, self._blobs, self._log_file = order, nursery, blobs, log_file
        self._questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._child: Child | None = None
        self.ended = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether no question is open."""
        return self._waiting == 0

    def ask(self, asked: Question) -> bool:
        """Put a question in line; False when this host has ended."""
        with self._lock:
            if self.ended:
                return False
            self._waiting += 1
            self._questions.put(asked)
        return True

    def close(self, wait: bool = True) -> None:
        """Free the model; open questions fail."""
        with self._lock:
            self.ended = True
        self._questions.put(None)
        child = self._child
        if child is not None:
            with suppress(ValueError):
                child.kill()
        if wait:
            self._thread.join(10)

    def _serve(self) -> None:
        while (asked := self._questions.get()) is not None:
            error: dict[str, str] | None = None
            try:
                warm = self._child is not None
                error = self._load(asked) or self._answer(asked)
                if error is not None and warm and not asked.begun:
                    # It had died while nobody asked, which shows only now.
                    self._drop_child()
                    error = self._load(asked) or self._answer(asked)
            except StudioError as problem:
                asked.end("failed", problem.as_dict())
            except Exception as problem:
                log.exception("Answering %s", asked.id)
                error = ChildCrashed(code=f"none ({type(problem).__name__})").as_dict()
            if error is not None:
                # The next question starts another child.
                self._drop_child()
                asked.end("failed", error)
            self.used = time.monotonic()
            self._waiting -= 1
        self._drop_child()
        while not self._questions.empty():
            left = self._questions.get()
            if left is not None:
                left.end("failed", Cancelled(self.name).as_dict())

    def _drop_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end(2)
            child.close()

    def _load(self, asked: Question) -> dict[str, str] | None:
        """Start the child if there is none; returns why that did not work."""
        if self._child is not None and self._child.alive:
            return None
        self._drop_child()
        asked.tell("state", state="loading", text="Loading the model")
        self._child = self._nursery.spawn(self._order, self._log_file)
        while True:
            message = self._child.poll(TOUCH_SECONDS)
            if message is None and not self._child.alive:
                return self._why()
            if message is not None and message["kind"] == "loaded":
                self.bytes = message["bytes"]
                return None
            if message is not None and message["kind"] == "error":
                return message["error"]
            if message is not None and message["kind"] == "progress":
                asked.tell("state", state="loading", text=message["text"], fraction=message["fraction"])
            if not asked.over and message is None and not light.touch(asked.id):
                # The model goes on loading: whoever asked once is likely to ask again.
                asked.end("cancelled")

    def _answer(self, asked: Question) -> dict[str, str] | None:
        """Pass words on until the question is answered; returns why the child can answer no more."""
        child = self._child
        if asked.over or child is None:
            return None
        if not light.touch(asked.id):
            # It was cancelled while others were answered: nothing of it is said.
            asked.end("cancelled")
            return None
        child.put("ask", **asked.message(self._blobs))
        asked.tell("state", state="answering", text="")
        touched, stopped = time.monotonic(), False
        while True:
            message = child.poll(0.2)
            if message is None and not child.alive:
                return self._why()
            if not stopped and time.monotonic() - touched > TOUCH_SECONDS:
                touched = time.monotonic()
                if not light.touch(asked.id):
                    stopped = True
                    child.put("stop", id=asked.id)
            if message is not None and message.get("id") == asked.id and self._pass_on(asked, message):
                return None

    def _pass_on(self, asked: Question, message: dict[str, Any]) -> bool:
        """Hand one message of the child to the page; returns whether it was the last."""
        kind = message["kind"]
        self.bytes = message.get("bytes", self.bytes)
        asked.begun = True
        if kind == "text":
            asked.tell("text", index=message["index"], text=message["text"])
        elif kind == "replies":
            asked.tell("replies", index=message["index"], replies=message["replies"])
        elif kind == "answer":
            asked.hear(message)
        elif kind == "failed":
            asked.end("failed", message["error"])
        elif kind == "finished":
            asked.end("cancelled" if message["cancelled"] else "ready")
        return kind in ("failed", "finished")

    def _why(self) -> dict[str, str]:
        child = self._child
        code = (child.exit_code or 0) if child is not None else 0
        again = "Ask again; if it ends again, choose a smaller base model or free memory."
        return (killed_by(-code, try_this=again) if code < 0 else ChildCrashed(code=code, try_this=again)).as_dict()


class Stage:
    """Finds or loads the model for each question, and frees those nobody uses."""

    def __init__(self, nursery: Nursery, settings: Settings, timing: Timing) -> None:
        self._nursery, self._settings, self._timing = nursery, settings, timing
        self._blobs = Blobs(settings.blob_url)
        self._client = answers.connect()
        self._hosts: dict[str, Host] = {}
        self._open: dict[str, Question] = {}
        self._lock = threading.Lock()
        self._closed = False

    def ask(self, prediction_id: str) -> None:
        """Have a question answered, if nobody else does already."""
        self._open = {id: asked for id, asked in self._open.items() if not asked.over}
        if self._closed or prediction_id in self._open or not light.begin(prediction_id):
            return
        asked = self._open[prediction_id] = Question(prediction_id, self._client, self._timing.answer_seconds)
        try:
            player = asked.player()
            while not self._host(player).ask(asked):
                pass
        except StudioError as error:
            asked.end("failed", error.as_dict())

    def tidy(self) -> None:
        """Free models that were not used for long, or at once when memory is short; keep waiting questions alive."""
        for asked in list(self._open.values()):
            if not asked.over:
                light.touch(asked.id)
        short = _free_share() < SPARE_MEMORY
        with self._lock:
            for name, host in list(self._hosts.items()):
                unused = time.monotonic() - host.used > self._timing.player_idle_seconds
                if host.ended or (host.idle and (unused or short)):
                    self._hosts.pop(name)
                    host.close(wait=False)

    def close(self) -> None:
        """Free all models."""
        self._closed = True
        with self._lock:
            hosts, self._hosts = list(self._hosts.values()), {}
        for host in hosts:
            host.close()
        self._client.close()

    def _host(self, player: dict[str, Any]) -> Host:
        name = json.dumps(player, sort_keys=True)
        with self._lock:
            host = self._hosts.get(name)
            if host is not None and not host.ended:
                return host
            self._hosts.pop(name, None)
            self._make_room()
            order = player | {"kind": "play", "data_dir": str(self._settings.data_dir)}
            host = Host(name, order, self._nursery, self._blobs, self._settings.data_dir / "logs" / "playground.log")
            self._hosts[name] = host
        return host

    def _make_room(self) -> None:
        """Free the models unused for longest until one more fits; raises NotEnough when all are busy."""
        idle = sorted((host for host in self._hosts.values() if host.idle), key=lambda host: host.used)
        while len(self._hosts) >= self._timing.players or (idle and _free_share() < SPARE_MEMORY):
            if not idle:
                break
            host = idle.pop(0)
            self._hosts.pop(host.name)
            host.close()
        if _free_share() < SPARE_MEMORY / 2:
            available = psutil.virtual_memory().available
            raise NotEnough("playground", resource="memory", needed="more", available=f"{available / 2**30:.1f} GB")


def _free_share() -> float:
    memory = psutil.virtual_memory()
    return memory.available / memory.total
