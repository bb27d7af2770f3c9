"""`peft-studio datasets prepare`: the steps of a dataset, and what they do to its first rows."""

from __future__ import annotations

import json as documents
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import SpecError
from studio import cli_print as out
from studio.cli_print import Json
from studio.text import count, plural

if TYPE_CHECKING:
    from studio.service.preparation import Previewed

Step = Annotated[list[str] | None, typer.Option("--step", help=(
    'A step to add, as JSON: \'{"name": "filter", "where": "length(text) > 20"}\'. Repeatable.'))]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prepare")(prepare)


def prepare(id: Annotated[str, typer.Argument(help="The dataset.")] = "", step: Step = None,
            clear: Annotated[bool, typer.Option("--clear", help="Take all steps out first.")] = False,
            remove: Annotated[int | None, typer.Option(help="Take the step of this number out.")] = None,
            show: Annotated[bool, typer.Option("--show", help="Only show the steps and what they do.")] = False,
            kinds: Annotated[bool, typer.Option("--kinds", help="List the kinds of steps and their settings.")] = False,
            json: Json = False) -> None:
    """Add steps of preparation to a dataset, or show them; every run of it takes them along."""
    from db import datasets
    from studio import service
    from studio.cli_session import me

    if kinds:
        _kinds(json)
        return
    if not id:
        raise SpecError("ID", problem="no dataset is named", try_this="Write: peft-studio datasets prepare ds_… --show")
    user = me()
    if not show:
        there = [] if clear else [dict(one) for one in datasets.get(user, id).steps]
        if remove is not None:
            if not 1 <= remove <= len(there):
                raise SpecError("--remove", problem=f"there is no step {remove}",
                                try_this=f"It has {len(there)} steps.")
            del there[remove - 1]
        service.preparation.set_steps(user, id, [*there, *parsed(step or [])])
    found = service.preparation.preview_steps(user, id, shown=0)
    if json:
        out.emit({"steps": datasets.get(user, id).steps, "preview": found.as_dict()})
    else:
        _told(found)


def parsed(texts: list[str]) -> list[dict[str, Any]]:
    """Return the steps of `--step` texts; raises SpecError for what is not a JSON object."""
    made: list[dict[str, Any]] = []
    for text in texts:
        try:
            value = documents.loads(text)
        except ValueError as error:
            raise SpecError("--step", problem=f"'{text[:80]}' is not JSON ({error})",
                            try_this='Write --step \'{"name": "sample", "rows": 100}\', for example.') from None
        if not isinstance(value, dict):
            raise SpecError("--step", problem=f"'{text[:80]}' is not a JSON object",
                            try_this='Write --step \'{"name": "sample", "rows": 100}\', for example.')
        made.append(value)
    return made


def _kinds(json: bool) -> None:
    from engine import preparation
    from engine.knobs import spelled

    every = preparation.every()
    if json:
        out.emit([{"name": name, "title": kind.card.title, "schema": kind.model_json_schema()}
                  for name, kind in every.items()])
        return
    for name, kind in every.items():
        out.say(f"{name}: {kind.card.summary}")
        for field, info in kind.model_fields.items():
            if field != "name":
                usual = "needed" if info.is_required() else documents.dumps(info.get_default(call_default_factory=True))
                out.say(f"    {field} ({usual}): {info.description} {spelled(info)}".rstrip())


def _told(found: Previewed) -> None:
    if not found.steps:
        out.say("There are no steps.")
    for number, step in enumerate(found.steps, 1):
        if "error" in step:
            out.say(f"{number}. {step['told']}")
            out.failure(step["error"])
            return
        held = "" if step["eval_after"] is None else f", {step['eval_after']:,} to evaluate on"
        out.say(f"{number}. {step['told']}: {step['rows_before']:,} → {plural(step['rows_after'], 'row')}{held}")
        if step["note"]:
            out.say(f"   {step['note']}")
    out.say(f"Columns: {', '.join(found.columns_after)}")
    if not found.whole:
        out.say(f"Shown on the first {count(found.looked_at)} of {plural(found.rows, 'row')}.")
