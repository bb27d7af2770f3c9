"""`peft-studio datasets …`"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import Refused
from studio import cli_print as out
from studio.cli_print import Json
from studio.text import plural

if TYPE_CHECKING:
    from db.tables import Dataset

app = typer.Typer()

Column = Annotated[list[str] | None, typer.Option("--column", help="Column of a role, as role=column. Repeatable.")]
Header = Annotated[bool | None, typer.Option(
    "--header/--no-header", help="Whether the first row of csv or tsv holds names; recognised when left out.")]
Config = Annotated[str, typer.Option(help="Configuration of a Hub dataset; the usual one when left out.")]
Split = Annotated[str, typer.Option(help="Split of a Hub dataset; the one to learn from when left out.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub dataset.")]
Task = Annotated[str | None, typer.Option(help="Task; guessed from the columns when left out.")]


@app.command("list")
def show_all(search: Annotated[str, typer.Argument(help="Words that must occur.")] = "", json: Json = False,
             limit: Annotated[int, typer.Option(help="At most so many.")] = 100) -> None:
    """List datasets, newest first."""
    from db import datasets
    from studio import records
    from studio.cli_session import me

    rows = [records.dataset(row, full=False) for row in datasets.find(me(), search=search, limit=limit)]
    if json:
        out.emit(rows)
        return
    out.table(rows, [("id", "ID"), ("name", "Name"), ("state", "State"), ("rows", "Rows"), ("task", "Task"),
                     ("columns", "Columns"), ("errors", "Errors"), ("warnings", "Warnings")],
              f"Nothing matches '{search}'." if search else "No datasets yet. Add one: peft-studio datasets add FILE")


@app.command()
def show(id: str, json: Json = False) -> None:
    """Show a dataset: state, columns, statistics, and what was noticed."""
    from db import datasets
    from studio import records
    from studio.cli_session import me
    from studio.service.hub_data import told

    row = records.dataset(datasets.get(me(), id))
    if json:
        out.emit(row)
        return
    stats = row["stats"] or {}
    out.facts([("ID", row["id"]), ("Name", row["name"]), ("State", row["state"]), ("File", row["filename"]),
               ("From", told(row["origin"])), ("Bytes", row["bytes"]), ("SHA-256", row["sha256"]),
               ("Rows", row["rows"]), ("Task", row["task"]),
               ("Columns", row["columns"]), ("Options", row["options"]), ("Evaluates", row["eval_of_id"]),
               ("Labels", stats.get("labels")), ("Duplicates", stats.get("duplicates")), ("Added", row["created_at"])])
    for finding in row["findings"]:
        out.finding(finding)
    if row["error"]:
        out.failure(row["error"])


@app.command()
def add(file: Annotated[Path, typer.Argument(help="A table, text, folder or zip archive, recognised by content; or "
                                             "hub:organisation/name.")],
        eval: Annotated[Path | None, typer.Option(help="A file to evaluate on.")] = None,
        part: Annotated[str, typer.Option(help="The sheet of a workbook, or the file or part of a folder or archive, "
                                          "to read; found when left out.")] = "",
        name: Annotated[str, typer.Option(help="Name; the file's when left out.")] = "", task: Task = None,
        column: Column = None, header: Header = None, config: Config = "", split: Split = "",
        eval_split: Annotated[str | None, typer.Option(help="Split of a Hub dataset to evaluate on, or none; by its "
                                                       "name when left out.")] = None,
        revision: Revision = None,
        wait: Annotated[bool, typer.Option(help="Wait until it has been read.")] = True, json: Json = False) -> None:
    """Add a dataset; a running worker reads it.

    The exit code is 2 when it cannot be read, or when what was found in it forbids training.
    """
    from studio import service
    from studio.cli_flags import roles
    from studio.cli_session import me

    if str(file).startswith("hub:"):
        row = service.add_hub_dataset(me(), str(file), config=config, split=split, eval_split=eval_split, name=name,
                                      revision=revision, task=task, columns=roles(column or []))
    else:
        row = service.add_dataset(me(), file, name=name, eval_path=eval, task=task, columns=roles(column or []),
                                  header=header, part=part)
    read(row, wait, json)


@app.command("add-eval")
def add_eval(id: str, file: Annotated[Path, typer.Argument(help="Rows with the columns of the dataset.")],
             wait: Annotated[bool, typer.Option(help="Wait until it has been read.")] = True,
             json: Json = False) -> None:
    """Give a dataset a file to evaluate on, in place of any it had; runs that name no other use it.

    The exit code is 2 when it cannot be read, or when what was found in it forbids training.
    """
    from studio import service
    from studio.cli_session import me

    read(service.add_eval(me(), id, file), wait, json)


def read(row: Dataset, wait: bool, json: bool) -> None:
    """Wait for a worker to read a dataset, if asked to, and print what came of it.

    Raises what it failed with, and typer.Exit when it was read but cannot be trained on.
    """
    from studio import records
    from studio.cli_session import stored
    from studio.cli_stack import worker_there

    found = list(row.findings)
    if wait and worker_there():
        row, found = _whole(row)
    elif wait:
        out.aside("No worker is running: the file is stored and will be read when one is. Start it: peft-studio up")
    if json:
        out.emit(records.dataset(row))
    else:
        out.say(f"{row.id}  {row.name}  {row.state}" + (f"  {plural(row.rows, 'row')}" if row.rows is not None else ""))
        for finding in found:
            out.finding(finding)
    if row.state == "failed":
        raise stored(row.error)
    if any(finding.get("level") == "error" for finding in found):
        raise typer.Exit(Refused.exit_code)


def _whole(row: Dataset) -> tuple[Dataset, list[dict[str, Any]]]:
    """Return a dataset once it is read and looked at beside the one it evaluates, or is evaluated on, and findings.

    The findings of a file to evaluate on are those of its own and those that the rows to learn from give.
    """
    from db import datasets
    from engine.data.findings import about_eval
    from studio.cli_session import me
    from studio.cli_session import wait as until
    from studio.service.reading import settled

    user, id, parent = me(), row.id, row.eval_of_id

    def looked() -> SimpleNamespace:
        own, main = datasets.get(user, id), datasets.get(user, parent or id)
        done = own.state == "failed" or settled(main, datasets.find(user, eval_of_id=main.id))
        return SimpleNamespace(state="ingesting" if own.state == "ready" and not done else own.state,
                               progress=own.progress, row=own, main=main)

    last = until(looked, ("ready", "failed"), f"Reading {row.filename}")
    beside = [one for one in last.main.findings if about_eval(one["what"])] if parent else []
    return last.row, [*last.row.findings, *beside]
