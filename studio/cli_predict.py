"""`peft-studio predict`: ask adapters and their base model, with rows, images or messages, side by side."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import Refused
from studio import cli_flags, cli_help
from studio import cli_print as out

if TYPE_CHECKING:
    from engine.tasks import Task

Texts = list[str] | None

#: Who speaks in a message that names nobody.
SPEAKERS = ("system", "user", "assistant")

#: Name -> (type and help, default) of the flags that are not made from what a task lets a person choose.
FIXED: dict[str, tuple[Any, Any]] = {
    "text": (Annotated[Texts, typer.Argument(help="Texts to ask about, one a row, or what to say to a chat.")], None),
    "row": (Annotated[Texts, typer.Option(help=(
        "A part of a row, as role=value: text=…, question=…, context=…. One that comes again begins the next row."))],
        None),
    "image": (Annotated[list[Path] | None, typer.Option(help="An image file, one a row. Repeatable.")], None),
    "message": (Annotated[Texts, typer.Option(help=(
        "A turn of a chat: user=…, assistant=…, system=…. Repeatable, in order."))], None),
    "adapter": (Annotated[Texts, typer.Option(help="Adapter to ask, or 'base'. Repeatable.")], None),
    "model": (Annotated[str | None, typer.Option(help="Base model, when no adapter is named.")], None),
    "task": (Annotated[str | None, typer.Option(help="Task, when no adapter is named.")], None),
    "pair": (Annotated[str | None, typer.Option(help="Second text of each row, for tasks about pairs.")], None),
    "system": (Annotated[str | None, typer.Option(help="System message of a chat.")], None),
    "json": (out.Json, False),
}


class NothingAsked(Refused):
    """There is nothing to ask: no text was given."""

    kind = "nothing_asked"
    try_this = "Give a text, and --adapter with an adapter's id, or --model and --task."


class NotAPart(Refused):
    """'{text}' is not of the form {form}."""

    kind = "not_a_part"
    try_this = "{example}"


def add_to(app: typer.Typer) -> None:
    """Add the command with a flag for everything that a task lets a person choose."""
    def predict(**given: Any) -> None:
        _predict(given)

    predict.__doc__ = "Ask adapters and their base model, side by side."
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
                  for name, (kind, default) in [*FIXED.items(), *_choices().items()]]
    predict.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    predict.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("predict")(predict)


@cache
def _choices() -> dict[str, tuple[Any, Any]]:
    """Return the flags for what tasks let a person choose; those of one name are one flag, as wide as the widest."""
    from engine import tasks

    found: dict[str, list[dict[str, Any]]] = {}
    for task in tasks.every().values():
        for name, field in task.asking.model_json_schema().get("properties", {}).items():
            found.setdefault(name, []).append(field)
    return {name: (_flag(fields), None) for name, fields in found.items()}


def _flag(fields: Sequence[dict[str, Any]]) -> Any:
    """Return the option for fields of one name, by their JSON schemas."""
    first = fields[0]
    help = str(first.get("description") or first["title"]).rstrip(".")
    kind: Any = {"integer": int, "number": float}.get(first.get("type", ""))
    if kind is None:
        return Annotated[str | None, typer.Option(help=f"{help}.")]
    lows: list[Any] = [field.get("minimum", field.get("exclusiveMinimum")) for field in fields]
    highs: list[Any] = [field.get("maximum", field.get("exclusiveMaximum")) for field in fields]
    least, most = (None if None in ends else best(ends) for ends, best in ((lows, min), (highs, max)))
    bounded = least is not None or most is not None
    return Annotated[kind | None, cli_help.number(help, least=least, most=most) if bounded
                     else typer.Option(help=f"{help}.")]


def _predict(given: dict[str, Any]) -> None:
    from db import adapters
    from studio import cli_stack, records, service
    from studio.cli_session import me

    if not any(given[name] for name in ("text", "row", "image", "message")):
        raise NothingAsked("text")
    user = me()
    ids = [None if name == "base" else name for name in given["adapter"] or []]
    rows = {id: adapters.get(user, id) for id in ids if id}
    first = next(iter(rows.values()), None)
    question: dict[str, Any] = {"adapters": ids, "model": given["model"], "task": given["task"]}
    question |= _said(first.task if first else given["task"], given)
    row = service.ask(user, question)
    cli_stack.require()
    shown = records.prediction(service.answer(user, row.id, 600))
    out.emit(shown) if given["json"] else _answers(shown, [rows[id].name if id else "base" for id in ids or [None]])


def _said(task: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked: messages for a chat, rows for all else, and what was chosen."""
    from engine import tasks

    if task is None:
        return {"rows": [{"text": text} for text in given["text"] or [""]]}
    kind = tasks.get(task)
    options = {name: _value(kind, name, given[name]) for name in _choices() if given[name] is not None}
    if kind.playground == "chat":
        return {"messages": messages(given["message"] or [], given["text"] or [], given["system"]), "options": options}
    return {"rows": rows_of(kind, given), "options": options}


def messages(turns: Sequence[str], texts: Sequence[str], system: str | None) -> list[dict[str, str]]:
    """Return the turns of `--message` and, last, what was said without naming a speaker; raises NotAPart."""
    made = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        role, sign, content = turn.partition("=")
        if not sign or role not in SPEAKERS:
            raise NotAPart("--message", text=turn[:80], form="speaker=text", example="Write --message user='Hello.'")
        made.append({"role": role, "content": content})
    return [*made, *([{"role": "user", "content": " ".join(texts)}] if texts else [])]


def rows_of(kind: type[Task], given: dict[str, Any]) -> list[dict[str, str]]:
    """Return the rows of texts, of `--row` and of `--image`, in this order; raises NotAPart, ImageTooLarge."""
    from studio.service import asked_rows

    first, second = (next((role.name for role in roles if role.kind != "image"), "text")
                     for roles in (kind.asks, kind.asks[1:]))
    seen = next((role.name for role in kind.asks if role.kind == "image"), "image")
    rows = [{first: text} | ({second: given["pair"]} if given["pair"] else {}) for text in given["text"] or []]
    rows += _parted(given["row"] or [])
    return rows + [{seen: asked_rows.read_image(_there(path))} for path in given["image"] or []]


def _parted(parts: Iterable[str]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for part in parts:
        role, sign, value = part.partition("=")
        if not sign or not role:
            raise NotAPart("--row", text=part[:80], form="role=value", example="Write --row text='Hello.'")
        if not rows or role in rows[-1]:
            rows.append({})
        rows[-1][role] = value
    return rows


def _there(path: Path) -> Path:
    if not path.is_file():
        raise NoSuchImage("--image", path=path)
    return path


class NoSuchImage(Refused):
    """There is no file at '{path}'."""

    kind = "image_missing"
    try_this = "Check the path; it is looked for on this machine."


def _value(kind: type[Task], name: str, value: Any) -> Any:
    info = kind.asking.model_fields.get(name)
    return cli_flags.parse(value, info) if isinstance(value, str) else value


def _answers(shown: dict[str, Any], names: Sequence[str]) -> None:
    """Print what each one said: to rows the answer with the likeliest others, to a chat its text."""
    result = shown.get("result") or {}
    for name, answer in zip(names, result.get("answers", []), strict=False):
        if isinstance(answer, dict):
            out.say(f"{name}: {answer.get('text', '')}")
            continue
        for reply in answer or []:
            out.say(f"{name}: {_line(reply)}")
            if reply.get("note"):
                out.say(f"  {reply['note']}")


def _line(reply: dict[str, Any]) -> str:
    """Return a reply as text: what was said or marked, and the likeliest answers with their shares."""
    from studio.text import percent

    drawing = reply.get("drawing") or {}
    if spans := drawing.get("spans"):
        text = drawing["text"]
        return ", ".join(f"{text[span['start']:span['end']]}" + (f" [{span['label']}]" if span["label"] else "")
                         + (f" {percent(span['score'], 3)}" if span["score"] is not None else "") for span in spans)
    best = sorted((reply.get("scores") or {}).items(), key=lambda item: -item[1])[:3]
    odds = ", ".join(f"{label} {percent(share, 3)}" for label, share in best)
    return f"{reply.get('label')}" + (f"  ({odds})" if odds else "")
