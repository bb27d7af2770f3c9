"""`peft-studio models …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from studio import cli_print as out
from studio.cli_print import Json

app = typer.Typer()


@app.command("list")
def show_all(search: Annotated[str, typer.Argument(help="Words that must occur.")] = "", json: Json = False,
             limit: Annotated[int, typer.Option(help="At most so many.")] = 100) -> None:
    """List the base models that were added, and the starter models there are."""
    from db import models
    from engine.starter import STARTERS, installed
    from studio import records
    from studio.cli_session import me

    rows = [records.model(row, full=False) for row in models.find(me(), search=search, limit=limit)]
    there = {row["ref"] for row in rows}
    starters = [{"ref": s.id, "title": s.title, "state": "starter" if installed(s) else "not installed",
                 "total_parameters": s.size, "tasks": list(s.tasks), "licence": s.licence}
                for s in STARTERS.values() if s.id not in there]
    if json:
        out.emit({"items": rows, "starters": starters})
        return
    out.table([*rows, *starters], [("id", "ID"), ("ref", "Model"), ("title", "Title"), ("state", "State"),
                                   ("total_parameters", "Parameters"), ("tasks", "Tasks"), ("licence", "Licence")],
              "No models yet. Add one: peft-studio models add starter/minilm-l6")


@app.command()
def show(id: Annotated[str, typer.Argument(help="Its id (md_…) or what a RunSpec calls it (starter/minilm-l6).")],
         json: Json = False) -> None:
    """Show a base model: where it comes from and where its parameters are."""
    from db import models
    from studio import records
    from studio.cli_session import me

    user = me()
    row = models.by_ref(user, id) or models.get(user, id)
    if json:
        out.emit(records.model(row))
        return
    shown = records.model(row, full=False)
    out.facts([("ID", shown["id"]), ("Model", shown["ref"]), ("Revision", shown["revision"]), ("Title", shown["title"]),
               ("State", shown["state"]), ("Source", shown["source"]), ("Licence", shown["licence"]),
               ("Bytes", shown["bytes"]), ("Architecture", shown["architecture"]),
               ("Parameters", shown["total_parameters"]), ("Tasks", shown["tasks"])])
    if row.shape:
        from engine.breakdown import base_cells
        from studio.service import shape_of

        groups: dict[str, int] = {}
        for cell in base_cells(shape_of(row)):
            groups[cell.group] = groups.get(cell.group, 0) + cell.total
        out.say()
        out.table([{"group": name, "total": total} for name, total in groups.items()],
                  [("group", "Kind of module"), ("total", "Parameters")], "")
    if row.error:
        out.failure(row.error)


@app.command()
def add(model: Annotated[str, typer.Argument(help="starter/<name>, <org>/<name> on the Hub, or a folder.")],
        revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
        name: Annotated[str, typer.Option(help="Name of a folder's model: local/<name>.")] = "",
        wait: Annotated[bool, typer.Option(help="Wait until it is measured.")] = True, json: Json = False) -> None:
    """Add a base model; a running worker fetches and measures it."""
    from db import models
    from studio import records, service
    from studio.cli_session import me, stored
    from studio.cli_session import wait as until
    from studio.cli_stack import worker_there

    user = me()
    if is_folder(model):
        row = service.add_model_folder(user, Path(model), name=name)
    else:
        row = service.add_model(user, model, revision=revision, title=name)
    if wait and worker_there():
        row = until(lambda: models.get(user, row.id), ("ready", "failed"), f"Looking at {row.ref}")
    elif wait and row.state not in ("ready", "failed"):
        out.aside("No worker is running: the model is measured when one is. Start it: peft-studio up")
    if json:
        out.emit(records.model(row, full=False))
    else:
        out.say(f"{row.id}  {row.ref}  {row.state}")
    if row.state == "failed":
        raise stored(row.error)


def is_folder(model: str) -> bool:
    """Return whether a person means a folder: it looks like a path, or is one and no id."""
    path = Path(model).expanduser()
    known = model.startswith(("starter/", "local/", "tiny/"))
    return model.startswith((".", "/", "~")) or (path.is_dir() and not known)
