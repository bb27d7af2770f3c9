"""`peft-studio adapters …` and `peft-studio predict`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from engine.errors import Refused
from studio import cli_compose, cli_help, cli_insight
from studio import cli_print as out
from studio.cli_print import Json

if TYPE_CHECKING:
    from db.users import User

app = typer.Typer()

Out = Annotated[Path | None, typer.Option("--out", help="File or folder to write to; else the current one.")]


class NoAdapter(Refused):
    """The run '{run}' has no adapter."""

    kind = "no_adapter"
    try_this = "Runs that succeeded or were stopped with --mode save have one."
    status = 404


class NothingAsked(Refused):
    """There is nothing to ask: no text was given."""

    kind = "nothing_asked"
    try_this = "Give a text, and --adapter with an adapter's id, or --model and --task."


class WouldOverwrite(Refused):
    """There is already a file at '{path}'."""

    kind = "would_overwrite"
    try_this = "Choose another place with --out."


@app.command("list")
def show_all(search: Annotated[str, typer.Argument(help="Words that must occur.")] = "", json: Json = False,
             limit: Annotated[int, typer.Option(help="At most so many.")] = 100) -> None:
    """List adapters, newest first."""
    from db import adapters
    from studio import records
    from studio.cli_session import me

    rows = [records.adapter(row) for row in adapters.find(me(), search=search, limit=limit)]
    if json:
        out.emit(rows)
        return
    out.table(rows, [("id", "ID"), ("name", "Name"), ("method", "Method"), ("model", "Model"), ("task", "Task"),
                     ("bytes", "Weight bytes"), ("metrics", "Metrics")], "No adapters yet: they come out of runs.")


@app.command()
def show(id: str, json: Json = False) -> None:
    """Show an adapter and where it came from."""
    from db import adapters
    from studio import records
    from studio.cli_session import me

    row = records.adapter(adapters.get(me(), id))
    if json:
        out.emit(row)
        return
    parts = ", ".join(f"{parent['name']} ({parent['weight']:.4g})" for parent in row["parents"])
    out.facts([("ID", row["id"]), ("Name", row["name"]), ("Run", row["run_id"]), ("Combined of", parts),
               ("Model", row["model"]),
               ("Dataset", row["dataset_id"]), ("Task", row["task"]), ("Method", row["method"]),
               ("Labels", row["labels"]), ("Metrics", row["metrics"]), ("Parameters", row["parameters"]),
               ("Weight bytes", row["bytes"]), ("SHA-256", row["sha256"]), ("Created", row["created_at"])])


@app.command()
def download(id: str, to: Out = None, json: Json = False) -> None:
    """Write an adapter as a zip that loads with plain peft."""
    from studio.cli_session import me

    write(me(), id, "zip", to, json)


@app.command()
def merge(id: str, to: Out = None, json: Json = False) -> None:
    """Merge an adapter into its base model and write the whole model as a zip."""
    from studio.cli_session import me

    write(me(), id, "merge", to, json)


def write(user: User, id: str, kind: Literal["zip", "merge"], to: Path | None, json: bool) -> None:
    """Have the worker make the file, and copy it to where the person wants it."""
    from db import exports
    from studio import cli_stack, service
    from studio.cli_session import wait

    row = service.export(user, id, kind)
    if row.state != "ready":
        cli_stack.require()
        row = wait(lambda: exports.get(user, row.id), ("ready", "failed", "cancelled"),
                   "Merging" if kind == "merge" else "Packing")
    source = service.export_file(user, row.id)
    target = (to or Path()).expanduser()
    target = target / source.name if target.is_dir() else target
    if target.exists():
        raise WouldOverwrite("--out", path=target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    facts = {"path": str(target.absolute()), "bytes": target.stat().st_size}
    out.emit(facts) if json else out.say(str(facts["path"]))


def predict(
        text: Annotated[list[str] | None, typer.Argument(help="Texts to classify, or what to say to a chat.")] = None,
        adapter: Annotated[list[str] | None, typer.Option(help="Adapter to ask, or 'base'. Repeatable.")] = None,
        model: Annotated[str | None, typer.Option(help="Base model, when no adapter is named.")] = None,
        task: Annotated[str | None, typer.Option(help="Task, when no adapter is named.")] = None,
        pair: Annotated[str | None, typer.Option(help="Second text, for tasks about pairs.")] = None,
        system: Annotated[str | None, typer.Option(help="System message of a chat.")] = None,
        temperature: Annotated[float, cli_help.number("0 always takes the likeliest word", least=0)] = 0.7,
        top_p: Annotated[float, cli_help.number("Share of probability to draw from", least=0, most=1)] = 0.95,
        max_new_tokens: Annotated[int, cli_help.number("Longest answer in tokens", least=1)] = 256,
        seed: Annotated[int, cli_help.number("Same seed, same answer", least=0)] = 0, json: Json = False) -> None:
    """Ask adapters and their base model, side by side."""
    from db import adapters
    from studio import cli_stack, records, service
    from studio.cli_session import me

    if not text:
        raise NothingAsked("text")
    user = me()
    ids = [None if name == "base" else name for name in adapter or []]
    first = next((adapters.get(user, id) for id in ids if id), None)
    kind = first.task if first else task
    question: dict[str, Any] = {"adapters": ids, "model": model, "task": task}
    if _chats(kind):
        turns = [{"role": "system", "content": system}] if system else []
        question["messages"] = [*turns, {"role": "user", "content": " ".join(text or [])}]
        question["options"] = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens,
                               "seed": seed}
    else:
        question["rows"] = [{"text": one} | ({"text_pair": pair} if pair else {}) for one in text or []]
    row = service.ask(user, question)
    cli_stack.require()
    shown = records.prediction(service.answer(user, row.id, 600))
    out.emit(shown) if json else _answers(shown, [first.name if id and first and id == first.id else id or "base"
                                                  for id in ids or [None]])


def _chats(task: str | None) -> bool:
    from engine import tasks

    return task is not None and tasks.get(task).playground == "chat"


def _answers(shown: dict[str, Any], names: list[str]) -> None:
    """Print each one's answers: the label with its likeliest alternatives, or the text."""
    from studio.text import percent

    result = shown.get("result") or {}
    for name, answer in zip(names, result.get("answers", []), strict=False):
        if isinstance(answer, dict):
            out.say(f"{name}: {answer.get('text', '')}")
            continue
        for verdict in answer or []:
            best = sorted((verdict.get("probabilities") or {}).items(), key=lambda item: -item[1])[:3]
            odds = ", ".join(f"{label} {percent(share, 3)}" for label, share in best)
            out.say(f"{name}: {verdict.get('label')}" + (f"  ({odds})" if odds else ""))
            if verdict.get("note"):
                out.say(f"  {verdict['note']}")


cli_compose.add_to(app)
cli_insight.add_to(app)
