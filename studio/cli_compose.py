"""`peft-studio adapters compose`: its flags are made from the fields of a recipe."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from engine.knobs import spelled
from engine.recipe import Recipe
from studio import cli_print as out
from studio.cli_flags import parse

Text = str | None

#: Name -> (type and help, default) of the flags that are not a recipe's.
FIXED: dict[str, tuple[Any, Any]] = {
    "adapters": (Annotated[str, typer.Option(help="Ids of two or more adapters, with commas between them.")], ...),
    "dataset": (Annotated[Text, typer.Option(help="Dataset to compare on; LoraHub finds its weights there.")], None),
    "name": (Annotated[str, typer.Option(help="Name of the new adapter.")], ""),
    "json": (out.Json, False)}


def add_to(app: typer.Typer) -> None:
    """Add the command with a flag for every field of a recipe."""
    def compose(**given: Any) -> None:
        _compose(given)

    compose.__doc__ = "Combine adapters of one base model into a new adapter, and wait for it."
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind,
                                    default=inspect.Parameter.empty if default is ... else default)
                  for name, (kind, default) in FIXED.items()]
    for name, info in Recipe.model_fields.items():
        words = f"{f'{info.title}. ' if info.title else ''}{info.description}"
        words += f" {spelled(info)}"
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None,
                                            annotation=Annotated[Text, typer.Option(help=words)]))
    compose.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    compose.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("compose")(compose)


def _compose(given: dict[str, Any]) -> None:
    from db import compositions
    from studio import cli_stack, records, service
    from studio.cli_session import me, stored, wait

    user = me()
    recipe = {name: parse(text, Recipe.model_fields[name]) for name, text in given.items()
              if name in Recipe.model_fields and text is not None}
    ids = [one.strip() for one in given["adapters"].split(",") if one.strip()]
    row = service.compose(user, ids, recipe, name=given["name"], dataset_id=given["dataset"])
    cli_stack.require()
    row = wait(lambda: compositions.get(user, row.id), compositions.ENDED, "Combining")
    if row.state != "ready":
        raise stored(row.error)
    shown = records.composition(row)
    if given["json"]:
        out.emit(shown)
        return
    result = shown["result"]
    out.facts([("Adapter", shown["adapter_id"]), ("Name", shown["name"]), ("Rank", result["rank"]),
               ("Weights", ", ".join(f"{weight:.4g}" for weight in result["weights"]))])
    if result["comparison"]:
        out.say()
        metrics = list(result["comparison"][0]["metrics"])
        out.table([{"name": line["name"]} | line["metrics"] for line in result["comparison"]],
                  [("name", "Adapter"), *((name, name) for name in metrics)], "")
    for note in result["notes"]:
        out.say(note)
