"""Asking a base model and its adapters, side by side: replies to rows, or an answer to messages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from db import adapters, models, predictions
from db.errors import Conflict, NotFound
from db.tables import Adapter, Prediction
from db.users import User
from engine import complaints, tasks
from engine.errors import Refused, SpecError
from engine.tasks.base import Task
from studio.service import asked_rows, holding
from studio.service.holding import Holding
from studio.service.waiting import settled
from worker import client

#: States in which nothing more will be said.
OVER = ("ready", "failed", "cancelled")
#: How long to listen before looking at the row again, and for the rest of a question that is over.
LOOK_SECONDS, OVER_SECONDS = 3.0, 0.2


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=200_000)


class Question(BaseModel):
    """What is asked of whom. `adapters` are ids; null stands for the base model itself. Either `rows` or `messages`."""

    model_config = ConfigDict(extra="forbid")

    adapters: list[str | None] = Field(default_factory=list, max_length=4)
    model: str | None = Field(None, description="Base model; taken from the adapters when there are any.")
    revision: str | None = None
    quantization: Holding | None = Field("auto", description=(
        "How the base model is held: as the adapters learned on it (auto), in full (none), or in few bits."))
    task: str | None = Field(None, description="Taken from the adapters when there are any.")
    rows: list[dict[str, str | list[str]]] | None = Field(None, max_length=1000, description=(
        "Rows to answer, such as {text} or {question, context}; an image is the base64 of a file, or a data URI."))
    messages: list[Message] | None = Field(None, max_length=1000, description="A chat to answer.")
    options: dict[str, Any] = Field(default_factory=dict, description="How it is answered, by task.",
                                    json_schema_extra=lambda schema: schema.update(_option_schemas()))

    @model_validator(mode="after")
    def _one_kind_of_question(self) -> Question:
        if (self.rows is None) == (self.messages is None):
            raise ValueError("ask with either rows or messages")
        if self.rows is not None and not self.rows:
            raise ValueError("there is no row to ask about: 'rows' is an empty list")
        if self.messages is not None and (not self.messages or self.messages[-1].role == "assistant"):
            raise ValueError("messages must end with what the user says")
        return self


class DifferentBases(Refused):
    """The adapters {first} and {other} belong to different base models or tasks."""

    kind = "different_bases"
    try_this = "Ask adapters of one base model and one task together."


class NobodyAsked(Refused):
    """Neither a base model nor an adapter is named."""

    kind = "nobody_asked"
    try_this = "Name an adapter, or a base model and its task."


class NotPlayable(Refused):
    """Adapters for {task} cannot be asked here yet."""

    kind = "task_not_playable"
    try_this = "See its predictions on the run's page, or download it: its README.md shows how to ask it."


class WrongQuestion(Refused):
    """The task {task} is asked with {wanted}."""

    kind = "wrong_question"
    try_this = "Send {wanted} instead."


class NothingSaid(Refused):
    """The last message is empty."""

    kind = "message_empty"
    try_this = "Write what the model is to answer."


class NotAnswered(Conflict):
    """There was no answer within {seconds} seconds ({state})."""

    kind = "not_answered"
    status = 504
    try_this = "Ask again: the model may be loaded by then. Is a worker running?"


def ask(user: User, question: Question | dict[str, Any]) -> Prediction:
    """Queue a question and tell the worker; read the answer with `answer` or `stream`.

    Raises NotFound (also for a base model that was never added), DifferentBases, NobodyAsked, WrongQuestion,
    RowInvalid, NothingSaid, NotPlayable, NoQuantizer, SpecError, BrokenImage, ImageTooLarge.
    """
    asked = question if isinstance(question, Question) else _question(question)
    chosen = [adapters.get(user, id) for id in asked.adapters if id is not None]
    for row in chosen[1:]:
        if (row.model, row.model_revision, row.task) != (chosen[0].model, chosen[0].model_revision, chosen[0].task):
            raise DifferentBases("adapters", first=chosen[0].name, other=row.name)
    model = chosen[0].model if chosen else asked.model
    task = chosen[0].task if chosen else asked.task
    if not model or not task:
        raise NobodyAsked("adapters")
    kind = tasks.get(task)
    said = _said(asked, kind)
    held = _held(user, chosen, asked.quantization or "none")
    if not chosen:
        added(user, model, asked.revision)
    predictions.give_up()
    row = predictions.create(user, {
        "model": model, "revision": chosen[0].model_revision if chosen else asked.revision,
        "quantization": held, "task": task, "adapters": asked.adapters or [None], **said})
    client.ask(row.id)
    return row


def _held(user: User, chosen: Sequence[Adapter], wanted: Holding) -> str | None:
    return holding.held(user, chosen)[0] if wanted == "auto" else holding.wanted(user, chosen, wanted)


def _said(asked: Question, kind: type[Task]) -> dict[str, Any]:
    """Return what is asked in the words of the worker; a question without words is refused, as on the page."""
    if not kind.playground:
        raise NotPlayable("task", task=kind.card.title.lower())
    wanted = "messages" if kind.playground == "chat" else "rows"
    if getattr(asked, wanted) is None:
        raise WrongQuestion(wanted, task=kind.model_fields["name"].default, wanted=wanted)
    options = chosen_options(kind, asked.options)
    if asked.messages is not None:
        if not asked.messages[-1].content.strip():
            raise NothingSaid("messages")
        return {"messages": [message.model_dump() for message in asked.messages], "options": options}
    checked = asked_rows.checked(kind, asked.rows or [])
    return asked_rows.stored(checked) | {"options": options}


def chosen_options(kind: type[Task], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of asking a model of this task; raises SpecError.

    What is not given has its default in a chat; elsewhere it is as the run had it that a model comes from.
    """
    try:
        return kind.asking.model_validate(given).model_dump(mode="json", exclude_unset=kind.playground != "chat")
    except ValidationError as error:
        found = complaints.first(error, kind.asking)
        where = ".".join(["options", *(str(part) for part in found.place)])
        known = ", ".join(kind.asking.model_fields)
        unknown = found.kind == "extra_forbidden"
        problem = f"'{found.place[-1]}' is no option of {kind.card.title.lower()}" if unknown else f"{found.problem}."
        hint = f"Use one of: {known}." if known else "Leave options out: this task has none."
        raise SpecError(where, problem=problem, **({"try_this": hint} if unknown else {})) from None


def _option_schemas() -> dict[str, Any]:
    """Return what the OpenAPI document says of options: those of each task."""
    kinds = [task.asking for task in tasks.every().values() if task.playground and task.asking.model_fields]
    none = {"title": "None", "type": "object", "maxProperties": 0}
    return {"anyOf": [*(kind.model_json_schema() for kind in dict.fromkeys(kinds)), none]}


def added(user: User, ref: str, revision: str | None) -> None:
    """Check that a base model is one of the user's: its id would open any model of this machine."""
    row = models.by_ref(user, ref, revision)
    if row is None:
        raise NotFound("model", noun="model", id=ref[:80], try_this="Add the base model first.")
    if row.state == "failed":
        raise told(row.error)


def answer(user: User, id: str, seconds: float = 120) -> Prediction:
    """Wait for a prediction and return it once it is ready; raises what the worker reported, NotAnswered, NotFound."""
    row = settled(lambda: predictions.get(user, id), OVER, seconds)
    if row.state not in OVER:
        raise NotAnswered(id, seconds=f"{seconds:g}", state=row.state)
    if row.state == "failed":
        raise told(row.error)
    return row


def stream(user: User, id: str, after: str = "0", timeout: float = 120) -> Iterator[dict[str, Any]]:
    """Yield what happens to a prediction as `worker.client.stream` tells it, until `timeout` seconds of silence.

    `done` comes also when nobody says so: for a question that was cancelled in the queue, or an old one. Raises
    NotFound at once, and BrokerUnreachable.
    """
    predictions.get(user, id)
    return _events(user, id, after, timeout)


def _events(user: User, id: str, after: str, timeout: float) -> Iterator[dict[str, Any]]:
    quiet_until = time.monotonic() + timeout
    while time.monotonic() < quiet_until:
        # Read before listening: what is said from here on is heard, what was said before is kept.
        row = predictions.get(user, id)
        over = row.state in OVER
        for message in client.stream(id, after, OVER_SECONDS if over else LOOK_SECONDS):
            after, quiet_until = message["cursor"], time.monotonic() + timeout
            yield message
            if message["event"] == "done":
                return
        if over:
            yield {"event": "done", "cursor": after, "state": row.state, "result": row.result, "error": row.error}
            return


def stop_asking(user: User, id: str) -> Prediction:
    """Stop an answer; what was said so far stays. Raises NotFound."""
    predictions.get(user, id)
    client.stop_asking(id)
    row = predictions.get(user, id)
    if row.state in OVER:
        predictions.drop_files(row)
    return row


class Reported(Refused):
    """{what}"""

    try_this = "{advice}"


def told(error: dict[str, Any] | None) -> Refused:
    """Return a stored {kind, what, where, try_this} as an error to raise."""
    parts = error or {"kind": "unexpected", "what": "It failed without saying why.", "try_this": "Look at the log."}
    raised = Reported(str(parts.get("where") or ""), what=parts.get("what"), advice=parts.get("try_this") or "")
    raised.kind = str(parts.get("kind") or "failed")  # pyright: ignore[reportAttributeAccessIssue]
    return raised


def _question(document: dict[str, Any]) -> Question:
    try:
        return Question.model_validate(document)
    except ValidationError as error:
        found = complaints.first(error, Question)
        raise SpecError(found.where or "question", problem=f"{found.problem}.") from None
