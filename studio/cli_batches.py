"""`peft-studio predict-file` and `peft-studio evaluate`: many rows at once."""

from __future__ import annotations

import json as json_text
import shutil
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from engine.errors import Refused
from studio import cli_print as out
from studio.cli_print import Json


class NotAPlace(Refused):
    """'{path}' cannot be written ({reason})."""

    kind = "not_writable"
    try_this = "Give another path with --out."


class UnknownEnding(Refused):
    """It is not known in which format '{path}' is to be written."""

    kind = "format_unknown"
    try_this = "Let it end in .csv or .parquet, or say --format csv or --format parquet."


class UnknownHolding(Refused):
    """A base model cannot be held as '{given}'."""

    kind = "quantization_unknown"
    try_this = "Use one of: auto, none, int8, nf4."


class NotJson(Refused):
    """--options is not a JSON object ({reason})."""

    kind = "options_invalid"
    try_this = "Write it like --options '{{\"temperature\": 0}}'."


def add_to(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("predict-file")(predict_file)
    app.command("evaluate")(evaluate)


def predict_file(
        file: Annotated[str, typer.Argument(help="File, folder or zip of rows, or the id of a dataset.")],
        place: Annotated[Path, typer.Option("--out", help="Where the rows with predictions go: .csv or .parquet.")],
        adapter: Annotated[str | None, typer.Option(help="Adapter that is asked.")] = None,
        model: Annotated[str, typer.Option(help="Base model, when no adapter is named.")] = "",
        task: Annotated[str, typer.Option(help="Task, when no adapter is named.")] = "",
        format: Annotated[str | None, typer.Option(help="csv or parquet; the ending of --out when left out.")] = None,
        column: Annotated[list[str] | None, typer.Option(
            help="Column of a role, as role=column. Repeatable; found when left out.")] = None,
        options: Annotated[str, typer.Option(help="JSON: what the task lets one choose when asking.")] = "{}",
        as_is: Annotated[bool, typer.Option(
            "--as-is", help="Take the rows as they are, without the steps the adapter's rows went through.")] = False,
        quantization: Annotated[str, typer.Option(
            help="How the base model is held: none, int8, nf4, or auto, as the adapter learned on it.")] = "auto",
        json: Json = False) -> None:
    """Predict every row of a file, and write it again with the predictions beside its columns."""
    from db import batches
    from studio import cli_flags, cli_stack, records, service
    from studio.cli_session import me, stored, wait

    chosen = _format(place, format)
    user = me()
    rows: dict[str, Any] = {"dataset_id": file} if file.startswith("ds_") and not Path(file).exists() else {
        "path": Path(file), "filename": Path(file).name}
    row = service.predict_file(user, adapter_id=adapter, model=model, task=task, columns=cli_flags.roles(column or []),
                               options=_options(options), format=chosen, prepare=not as_is,
                               quantization=_holding(quantization), **rows)
    cli_stack.require()
    row = wait(lambda: batches.get(user, row.id), batches.ENDED, "Predicting")
    if row.state != "ready":
        raise stored(row.error)
    try:
        shutil.copyfile(service.batch_file(user, row.id), place)
    except OSError as error:
        raise NotAPlace("--out", path=place, reason=error.strerror or str(error)) from None
    shown = records.batch(row)
    if json:
        out.emit(shown | {"out": str(place)})
        return
    result = shown["result"]
    out.facts([("Rows", result["rows"]), ("With a prediction", result["answered"]), ("With a note", result["noted"]),
               ("Added columns", ", ".join(result["added"])), ("Base model held as", result["held"] or "it is"),
               ("Seconds", f"{result['seconds']:.1f}"), ("Out", place)])
    if result["prepared"]:
        out.say(result["prepared"])
    for finding in result["findings"]:
        out.finding(finding)


def evaluate(adapter: Annotated[str, typer.Argument(help="Id of the adapter.")],
             dataset: Annotated[str, typer.Argument(help="Id of a dataset of its task.")], json: Json = False) -> None:
    """Measure an adapter on a dataset: metrics with intervals."""
    from db import batches
    from studio import cli_stack, records, service
    from studio.cli_session import me, stored, wait

    user = me()
    row = service.evaluate(user, adapter, dataset)
    cli_stack.require()
    row = wait(lambda: batches.get(user, row.id), batches.ENDED, "Evaluating")
    if row.state != "ready":
        raise stored(row.error)
    shown = records.batch(row)
    if json:
        out.emit(shown)
        return
    report = shown["result"]["evaluation"]
    out.facts([("Adapter", shown["adapter_name"]), ("Dataset", shown["filename"]), ("Rows", report["rows"])])
    out.say()
    out.table([{"name": name, **one} for name, one in report["metrics"].items()],
              [("name", "Metric"), ("value", "Value"), ("low", "From"), ("high", "To")], "")
    for finding in shown["result"]["findings"]:
        out.finding(finding)


def _format(place: Path, given: str | None) -> Any:
    wanted = (given or place.suffix.lstrip(".")).lower()
    if wanted not in ("csv", "parquet"):
        raise UnknownEnding("--format", path=place)
    if not place.resolve().parent.is_dir():
        raise NotAPlace("--out", path=place, reason="its folder is not there")
    return wanted


def _holding(text: str) -> Any:
    from studio.service.holding import Holding

    if text not in get_args(Holding):
        raise UnknownHolding("--quantization", given=text)
    return text


def _options(text: str) -> dict[str, Any]:
    try:
        made = json_text.loads(text)
    except ValueError as error:
        raise NotJson("--options", reason=error) from None
    if not isinstance(made, dict):
        raise NotJson("--options", reason="it is something else")
    return made
