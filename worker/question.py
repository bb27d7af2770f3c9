"""One question to the playground: what is asked of which model, and the way its answer takes back to the page."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import redis
from sqlalchemy.exc import SQLAlchemyError

from db import adapters, predictions
from db.blobs import Blobs
from db.errors import NotFound
from db.users import owner_of
from engine.errors import SpecError
from worker import answers

log = logging.getLogger(__name__)


class Question:
    """A prediction's row on its way through a child. `client` is the broker's, kept by the stage."""

    def __init__(self, id: str, client: redis.Redis, keep_seconds: float) -> None:
        self.id, self._client, self._keep = id, client, keep_seconds
        self.user = owner_of(id)
        self.row = predictions.get(self.user, id)
        self.answers: list[Any] = []
        self.timings: list[dict[str, Any]] = []
        #: Whether the child has said anything about it, and whether it is settled.
        self.begun = self.over = False

    def player(self) -> dict[str, Any]:
        """Return which model is to be loaded for which task; raises SpecError."""
        request = self.row.request
        chosen = [adapters.get(self.user, one) for one in request.get("adapters") or [] if one]
        model, task = request.get("model"), request.get("task")
        if chosen:
            model, task = model or chosen[0].model, task or chosen[0].task
        if isinstance(model, dict):
            request = request | model
            model = model.get("id")
        if not model or not task:
            raise SpecError("model", problem="the question names no base model and task")
        return {"model": model, "task": task, "revision": request.get("revision"),
                "quantization": request.get("quantization")}

    def message(self, blobs: Blobs) -> dict[str, Any]:
        """Return the question as the child takes it: files as paths; raises NotFound for what is gone."""
        request = self.row.request
        members = []
        for one in request.get("adapters") or [None]:
            folder = str(blobs.local(adapters.get(self.user, one).key)) if one else None
            members.append({"id": one, "folder": folder} if one else None)
        rows = request.get("rows")
        if rows is not None:
            rows = [{role: str(blobs.local(value["key"])) if isinstance(value, dict) else value
                     for role, value in row.items()} for row in rows]
        return {"id": self.id, "adapters": members, "rows": rows, "messages": request.get("messages"),
                "options": request.get("options") or {}}

    def hear(self, message: dict[str, Any]) -> None:
        """Keep what one of the models answered, and pass it on."""
        timing = {"seconds": round(message["seconds"], 4), "tokens": message["tokens"]}
        self.answers.append(message["answer"])
        self.timings.append(timing)
        self.tell("answer", index=message["index"], answer=message["answer"], **timing)

    def tell(self, event: str, **fields: Any) -> None:
        """Send the page a message; without a broker the answer is in the database all the same."""
        with suppress(redis.RedisError):
            answers.add(self._client, self.id, self._keep, event=event, **fields)

    def end(self, state: str, error: dict[str, str] | None = None) -> None:
        """Store the outcome and tell the page, once."""
        if self.over:
            return
        self.over = True
        result = {"answers": self.answers, "timings": self.timings} if self.answers else None
        try:
            predictions.update(self.user, self.id, state=state, result=result, error=error)
        except (SQLAlchemyError, NotFound) as problem:
            log.warning("The answer to %s could not be stored: %s", self.id, str(problem).splitlines()[0])
        with suppress(OSError):
            predictions.drop_files(self.row)
        self.tell("done", state=state, result=result, error=error)
