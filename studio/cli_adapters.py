"""`peft-studio adapters …`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.errors import Refused
from studio import cli_compose, cli_insight
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


cli_compose.add_to(app)
cli_insight.add_to(app)
