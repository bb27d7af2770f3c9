"""`peft-studio train`: a RunSpec, or flags made from the fields of methods, tasks and training."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import SpecError
from studio import cli_dry_run, cli_flags, cli_prepare, cli_sources
from studio import cli_print as out
from studio.cli_flags import Flag

if TYPE_CHECKING:
    from db.tables import Run
    from db.users import User

#: How often a run that goes on is told about, in seconds.
TELL_SECONDS = 5.0

Text = str | None
Texts = list[str] | None

#: Name -> (type and help, default) of the flags that are not made from fields.
FIXED: dict[str, tuple[Any, Any]] = {
    "spec": (Annotated[Path | None, typer.Argument(help="A RunSpec as JSON; flags change it.")], None),
    "data": (Annotated[Text, typer.Option(help="A file, or the id of a dataset.")], None),
    "eval": (Annotated[Text, typer.Option(help="A file or dataset to evaluate on; 'none' keeps a share aside.")], None),
    "forgetting": (Annotated[Text, typer.Option(help="A second file or dataset of the same task, or 'neutral': "
                                                     "measured before training and after it.")], None),
    "model": (Annotated[Text, typer.Option(help="starter/<name>, local/<name>, <org>/<name>, or a folder.")], None),
    "revision": (Annotated[Text, typer.Option(help="Branch, tag or commit on the Hub.")], None),
    "quantization": (Annotated[Text, typer.Option(help="int8 or nf4: hold the frozen base in 8 or 4 bits.")], None),
    "task": (Annotated[Text, typer.Option(help="Task; guessed from the data when left out.")], None),
    "method": (Annotated[Text, typer.Option(help="Method; lora when left out.")], None),
    "column": (Annotated[Texts, typer.Option(help="Column of a role, as role=column. Repeatable.")], None),
    "step": (Annotated[Texts, typer.Option(help="A step of preparation as JSON, in place of the dataset's own. "
                                           "Repeatable.")], None),
    "set_": (Annotated[Texts, typer.Option("--set", help="Any field: --set method.alpha=32. Repeatable.")], None),
    "name": (Annotated[str, typer.Option(help="The run's name.")], ""),
    "follow": (Annotated[bool, typer.Option("--follow", help="Wait for the end; starts a worker if need be.")], False),
    "dry_run": (Annotated[bool, typer.Option("--dry-run", help="Only say what the run would be.")], False),
    "advise": (Annotated[bool, typer.Option("--advise", help="Only say which method and settings suit.")], False),
    "find_rate": (Annotated[bool, typer.Option("--find-rate", help="Test learning rates instead of training.")], False),
    "json": (out.Json, False),
}


class NoTask(SpecError):
    """The task cannot be told from the columns of '{name}'."""

    kind = "task_unknown"
    try_this = "Add --task and --column role=column."


def add_to(app: typer.Typer) -> None:
    """Add the command with a flag for every field."""
    def train(**given: Any) -> None:
        _train(given)

    train.__doc__ = "Train: from a RunSpec (JSON), from flags, or from a RunSpec changed by flags."
    generated = {f"flag_{flag.name}": flag for flag in cli_flags.flags()}
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
                  for name, (kind, default) in FIXED.items()]
    parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(flag))
                   for name, flag in generated.items()]
    train.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    train.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("train")(train)


def _annotation(flag: Flag) -> Any:
    text = f"{flag.help} [{flag.owners}]"
    if flag.switch:
        spelling = f"{flag.spelling}/--no-{flag.spelling[2:]}"
        return Annotated[bool | None, typer.Option(spelling, help=text, show_default=False)]
    return Annotated[str | None, typer.Option(flag.spelling, help=text, metavar="VALUE", show_default=False)]


def _train(given: dict[str, Any]) -> None:
    from studio.cli_session import me
    from studio.cli_stack import require, stack

    document = _document(given)
    user = me()
    if not given["follow"]:
        require()
        _finish(_start(user, document, given, lambda *_: None), given)
        return
    with stack(out.aside) as tick:
        row = _start(user, document, given, tick)
        if row is not None:
            row = follow(user, row.id, tick)
        _finish(row, given)


def _document(given: dict[str, Any]) -> dict[str, Any]:
    """Return the spec document that a file and flags describe; data.train may still be a file."""
    base: dict[str, Any] = {"method": {"name": "lora"}, "model": {}, "data": {}}
    if given["spec"] is not None:
        base = _read(given["spec"])
    for path, value in (("data.train", given["data"]), ("model.id", given["model"]), ("task", given["task"]),
                        ("data.forgetting", given["forgetting"]),
                        ("model.revision", given["revision"]), ("model.quantization", given["quantization"])):
        if value is not None:
            _put(base, path, value)
    if given["eval"] is not None:
        _put(base, "data.eval", None if given["eval"] == "none" else given["eval"])
    if given["column"]:
        _put(base, "data.columns", cli_flags.roles(given["column"]))
    if given["step"]:
        _put(base, "data.steps", cli_prepare.parsed(given["step"]))
    if given["method"] and given["method"] != (base.get("method") or {}).get("name"):
        base["method"] = {"name": given["method"]}
    for path, flag in (("data.train", "--data"), ("model.id", "--model")):
        part, _, name = path.partition(".")
        if not (base.get(part) or {}).get(name):
            raise SpecError(path, problem=f"{path} is missing", try_this=f"Add {flag}, or give a RunSpec that has it.")
    if given["find_rate"]:
        base.setdefault("rate_test", {})
    flags = {name.removeprefix("flag_"): value for name, value in given.items()
             if name.startswith("flag_") and value is not None}
    return cli_flags.document(base, flags, given["set_"] or [])


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpecError(str(path), problem=f"the file cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SpecError(str(path), problem=f"it is not valid JSON ({error})") from None
    if not isinstance(document, dict):
        raise SpecError(str(path), problem="it is not a JSON object")
    return document


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for part in parents:
        document = document.setdefault(part, {})
    document[name] = value


def _start(user: User, document: dict[str, Any], given: dict[str, Any], tick: Callable[..., None]) -> Run | None:
    """Add what the spec names by file or folder, wait until it has been read, and queue the run."""
    from db import models
    from studio import service
    from studio.cli_models import is_folder
    from studio.cli_session import wait

    dataset = cli_sources.dataset(user, document, tick)
    document["task"] = document.get("task") or dataset.task
    if not document["task"]:
        raise NoTask("--task", name=dataset.name)
    cli_sources.second(user, document, tick)
    reference = document["model"]
    if is_folder(reference["id"]):
        reference["id"] = _folder(user, Path(reference["id"]))
    model = service.add_model(user, reference["id"], revision=reference.get("revision"))
    wait(lambda: models.get(user, model.id), ("ready", "failed"), f"Looking at {model.ref}", tick)
    if given["advise"] or given["dry_run"]:
        cli_dry_run.count(user, document, tick)
    if given["advise"]:
        from studio import cli_advice

        cli_advice.show(service.advise(user, document), given["json"])
        return None
    if given["dry_run"]:
        cli_dry_run.describe(service.check(user, document), given["json"])
        return None
    row = service.start_run(user, document, name=given["name"])
    cli_dry_run.warn(service.check(user, row.spec))
    return row


def _folder(user: User, folder: Path) -> str:
    """Return what the model of a folder is called, added first when it is new."""
    from studio import service
    from studio.service.models import NameTaken, local_name

    try:
        return service.add_model_folder(user, folder).ref
    except NameTaken:
        return f"local/{local_name(folder)}"


def follow(user: User, id: str, tick: Callable[..., None] = lambda *_: None) -> Run:
    """Tell on stderr how a run goes until it has ended; returns its row."""
    from db import runs
    from studio import records, service

    said: tuple[Any, ...] = ()
    number, last = 0, 0.0

    def seen(row: Run) -> None:
        nonlocal said, number, last
        tick()
        for line in runs.log(user, id, after=number):
            number = line.number
            out.aside(f"  {line.text}")
        now = (row.state, row.stage, row.metric_value)
        if now != said or (row.state == "running" and time.monotonic() - last >= TELL_SECONDS):
            said, last = now, time.monotonic()
            out.aside(out.progress(records.run(row, full=False)))
    return service.settled(lambda: runs.get(user, id), runs.ENDED, 30 * 86_400, seen)


def _finish(row: Run | None, given: dict[str, Any]) -> None:
    """Print the run, and set the exit code to how it ended."""
    from studio import records

    if row is None:
        return
    shown = records.run(row)
    if given["json"]:
        out.emit(shown)
    elif not given["follow"]:
        out.say(f"{row.id}  {row.name}  {row.state}")
    else:
        result = shown["result"] or {}
        out.facts([("Run", row.id), ("State", row.state), ("Metrics", result.get("metrics")),
                   ("Suggested learning rate", (result.get("rate_test") or {}).get("suggested")),
                   ("Trained parameters", row.trained_parameters),
                   ("Seconds", (result.get("seconds") or {}).get("total"))])
    if row.error:
        out.failure(row.error, as_json=given["json"])
    if row.state in ("failed", "cancelled"):
        raise typer.Exit(1 if row.state == "failed" else 3)
