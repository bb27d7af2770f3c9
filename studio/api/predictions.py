"""Predictions: ask a base model and its adapters, and wait for the answer or read it as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field

from db import predictions
from db.users import User
from engine.errors import StudioError
from studio import records, service
from studio.api.deps import Me

router = APIRouter(prefix="/predictions", tags=["predictions"])

#: Silence after which a stream ends.
SILENCE_SECONDS = 120.0


class Asked(service.Question):
    """A question, and how the answer is wanted."""

    stream: bool = Field(False, description="Answer as server-sent events: state, text, answer, done.")
    wait: float = Field(120, ge=0, le=600, description="Seconds to wait for the answer; 0 waits for none.")


@router.post("", response_model=None)
def create(asked: Asked, user: Me) -> Response | dict[str, Any]:
    """Ask; returns the answer (200), the prediction that waits for it (202 with `wait` 0), or a stream of events."""
    question = service.Question.model_validate(asked.model_dump(exclude={"stream", "wait"}))
    row = service.ask(user, question)
    if asked.stream:
        return StreamingResponse(_events(user, row.id), media_type="text/event-stream",
                                 headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    if not asked.wait:
        return JSONResponse(records.prediction(row), 202)
    return records.prediction(service.answer(user, row.id, asked.wait))


@router.get("/{id}")
def get(id: str, user: Me) -> dict[str, Any]:
    """Return a prediction with question and answer."""
    return records.prediction(predictions.get(user, id))


@router.get("/{id}/events", response_model=None)
def events(id: str, user: Me, after: str = Query("0", pattern=r"^\d{1,18}(-\d{1,18})?$")) -> Response:
    """Read a prediction's answer as server-sent events, from after the event with id `after`."""
    predictions.get(user, id)
    return StreamingResponse(_events(user, id, after), media_type="text/event-stream",
                             headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


@router.post("/{id}/stop")
def stop(id: str, user: Me) -> dict[str, Any]:
    """Stop an answer; what was said so far stays."""
    return records.prediction(service.stop_asking(user, id))


def _events(user: User, id: str, after: str = "0") -> Iterator[str]:
    finished = False
    try:
        yield _event("asked", {"id": id}, "0")
        for message in service.stream(user, id, after, SILENCE_SECONDS):
            name = str(message.get("event", "message"))
            finished = name == "done"
            cursor = message.pop("cursor", None)
            yield _event(name, {key: value for key, value in message.items() if key != "event"}, cursor)
    except StudioError as error:
        yield _event("error", error.as_dict())
    finally:
        # Whoever closes the connection does not want the rest.
        if not finished:
            service.stop_asking(user, id)


def _event(name: str, data: dict[str, Any], cursor: Any = None) -> str:
    number = f"id: {cursor}\n" if cursor else ""
    return f"{number}event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
