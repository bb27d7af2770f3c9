"""Predictions: ask a base model and its adapters, and wait for the answer or read it as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field, ValidationError

from db import predictions
from db.settings import settings
from db.users import User
from engine.errors import StudioError
from studio import records, service
from studio.api import upload
from studio.api.deps import Me
from studio.api.errors import BadRequest
from studio.service import asked_rows

router = APIRouter(prefix="/predictions", tags=["predictions"])

#: Silence after which a stream ends.
SILENCE_SECONDS = 120.0
#: Largest form: all images of a question, and the question.
FORM_BYTES = asked_rows.IMAGES_BYTES + 2**20


class Asked(service.Question):
    """A question, and how the answer is wanted."""

    stream: bool = Field(False, description="Answer as server-sent events: state, text, replies, answer, done.")
    wait: float = Field(120, ge=0, le=600, description="Seconds to wait for the answer; 0 waits for none.")


FORM = {"required": True, "content": {"multipart/form-data": {"schema": {
    "type": "object", "required": ["question"], "properties": {
        "question": {"type": "string", "description": "JSON, a question without what comes as files."},
        "image": {"type": "string", "format": "binary", "description": (
            "An image, under the name of its role; each further one belongs to the next row.")}}}}}}


@router.post("", response_model=None)
def create(asked: Asked, user: Me) -> Response | dict[str, Any]:
    """Ask; returns the answer (200), the prediction that waits for it (202 with `wait` 0), or a stream of events."""
    return _answer(user, asked)


@router.post("/files", response_model=None, openapi_extra={"requestBody": FORM})
async def create_with_files(request: Request, user: Me) -> Response | dict[str, Any]:
    """Ask about images sent as files of a form; answers as asking with JSON does, where images are base64."""
    form = await upload.receive(request, settings().data_dir / "uploads", FORM_BYTES)
    try:
        document = await run_in_threadpool(_with_files, form)
    finally:
        await run_in_threadpool(form.discard)
    try:
        asked = Asked.model_validate(document)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    return await run_in_threadpool(_answer, user, asked)


def _answer(user: User, asked: Asked) -> Response | dict[str, Any]:
    question = service.Question.model_validate(asked.model_dump(exclude={"stream", "wait"}))
    row = service.ask(user, question)
    if asked.stream:
        return StreamingResponse(_events(user, row.id), media_type="text/event-stream",
                                 headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    if not asked.wait:
        return JSONResponse(records.prediction(row), 202)
    return records.prediction(service.answer(user, row.id, asked.wait))


def _with_files(form: upload.Form) -> dict[str, Any]:
    """Return the question of a form with its files put into rows: the first of a role into the first row, and so on."""
    text = form.fields.get("question", "{}")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BadRequest("question", problem=f"the field 'question' is not JSON ({error})") from None
    given = document.get("rows") or [] if isinstance(document, dict) else None
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise BadRequest("question", problem="the field 'question' is not a question with a list of rows")
    count = max([len(given), *(len(parts) for parts in form.files.values())])
    rows = [dict(row) for row in given] + [{} for _ in range(count - len(given))]
    for role, parts in form.files.items():
        for row, part in zip(rows, parts, strict=False):
            row[role] = asked_rows.read_image(part.path, str(part.filename)) if part.path else ""
    return document | {"rows": rows}


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
