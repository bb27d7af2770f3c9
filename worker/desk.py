"""Light work, a child each: reading datasets, measuring models, making exports, combining adapters."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from sqlalchemy.exc import SQLAlchemyError

from db import light
from db.errors import NotFound
from db.users import User, owner_of
from engine.errors import Cancelled, StudioError
from worker.errors import ChildCrashed, killed_by
from worker.nursery import Child, Nursery

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
#: How often progress becomes visible, and a cancel noticed.
TOUCH_SECONDS = 0.7
CANCEL_GRACE = 5.0


class Errand:
    """One piece of light work on one row. A subclass says what the child is told and what of its answer is kept."""

    noun: ClassVar[str]
    repository: ClassVar[ModuleType]
    #: The state of a row that waits for this errand, and of one whose errand was dropped by a person.
    waiting: ClassVar[str]
    dropped: ClassVar[str] = "failed"

    def __init__(self, id: str, **extra: Any) -> None:
        self.id, self.extra = id, extra
        self.user: User = owner_of(id)
        self.row: Any = None

    def take(self) -> bool:
        """Mark the row as being worked on; False when somebody else has it or it is no longer waiting."""
        if not light.begin(self.id):
            return False
        self.row = self.update(progress=0.0, error=None)
        return True

    def order(self) -> dict[str, Any]:
        """Return what the child is told; raises StudioError when the work cannot begin."""
        raise NotImplementedError

    def keep(self, result: dict[str, Any]) -> None:
        """Store what the child found."""
        raise NotImplementedError

    def advance(self, fraction: float, heard: dict[str, Any]) -> None:
        """Store how far the work is; `heard` is the child's whole message, with its `text` and `facts`."""
        self.update(progress=fraction)

    def fail(self, error: dict[str, str], cancelled: bool) -> None:
        """Store why there is no result."""
        self.update(state=self.dropped if cancelled else "failed", error=error, cancel=False)

    def cancelled(self) -> bool:
        """Whether the person changed their mind or deleted the row."""
        return not light.touch(self.id)

    def put_back(self) -> None:
        """Let the row wait again, for the next worker."""
        self.update(state=self.waiting, progress=0.0)

    def update(self, **values: Any) -> Any:
        """Change the row and return it."""
        return self.repository.update(self.user, self.id, **values)


class Desk:
    """Does errands, a few at a time."""

    def __init__(self, nursery: Nursery, places: int, log_file: Path) -> None:
        self._nursery, self._log_file = nursery, log_file
        self._pool = ThreadPoolExecutor(places, thread_name_prefix="desk")
        self._known: set[str] = set()
        self._once_more: dict[str, tuple[type[Errand], dict[str, Any]]] = {}
        self._children: dict[str, Child] = {}
        self._lock = threading.Lock()
        self._closed = False

    def take(self, kind: type[Errand], id: str, **extra: Any) -> None:
        """Put an errand in line; one that is being done is looked at once more afterwards, for its row has changed."""
        with self._lock:
            if self._closed:
                return
            if id in self._known:
                self._once_more[id] = (kind, extra)
                return
            self._known.add(id)
        self._pool.submit(self._run, kind, id, extra)

    def offer(self, kind: type[Errand], id: str) -> None:
        """Put an errand in line unless it is there already."""
        if id not in self._known:
            self.take(kind, id)

    def close(self) -> None:
        """Drop everything; what was being done is waiting again afterwards."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children.values()):
            child.kill()
        self._pool.shutdown(wait=True)

    def _run(self, kind: type[Errand], id: str, extra: dict[str, Any]) -> None:
        try:
            errand = kind(id, **extra)
            if not self._closed and errand.take():
                self._carry_out(errand)
        except NotFound:
            log.info("%s %s is gone.", kind.noun, id)
        except SQLAlchemyError as error:
            log.warning("%s %s waits for the database: %s", kind.noun, id, str(error).splitlines()[0])
        except Exception:
            log.exception("%s %s", kind.noun, id)
        finally:
            with self._lock:
                self._known.discard(id)
                wanted = self._once_more.pop(id, None)
            if wanted is not None:
                self.take(wanted[0], id, **wanted[1])

    def _carry_out(self, errand: Errand) -> None:
        try:
            child = self._nursery.spawn(errand.order(), self._log_file)
        except StudioError as error:
            errand.fail(error.as_dict(), cancelled=False)
            return
        self._children[errand.id] = child
        try:
            answer = self._follow(errand, child)
        finally:
            child.end(CANCEL_GRACE)
            self._children.pop(errand.id, None)
            child.close()
        if self._closed and answer.get("kind") not in ("result", "error"):
            errand.put_back()
        elif answer["kind"] == "result":
            errand.keep(answer["result"])
        else:
            errand.fail(answer["error"], cancelled=answer["error"]["kind"] == "cancelled")

    def _follow(self, errand: Errand, child: Child) -> dict[str, Any]:
        """Pass progress on until the child has answered or ended; returns its result or an error."""
        touched, heard, told, cancelled_at = time.monotonic(), {"fraction": 0.0}, {"fraction": 0.0}, None
        while True:
            message = child.poll(LOOK_SECONDS)
            moment = time.monotonic()
            if message is not None and message["kind"] in ("result", "error"):
                return message
            if message is None and not child.alive:
                break
            if message is not None and message["kind"] == "progress":
                heard = message
            if cancelled_at is None and moment - touched > TOUCH_SECONDS:
                touched = moment
                if errand.cancelled():
                    cancelled_at = moment
                    child.put("cancel")
                elif heard != told:
                    told = heard
                    errand.advance(heard["fraction"], heard)
            if cancelled_at is not None and moment - cancelled_at > CANCEL_GRACE:
                child.kill()
        if cancelled_at is not None:
            return {"kind": "error", "error": Cancelled(errand.id).as_dict()}
        return {"kind": "error", "error": _why(child).as_dict()} if not self._closed else {"kind": "closed"}


def _why(child: Child) -> StudioError:
    code = child.exit_code or 0
    again = "Try again; if it ends again, free memory or use a smaller file or model."
    if code < 0:
        return killed_by(-code, child.forced, try_this=again)
    return ChildCrashed(code=code, try_this=again)
