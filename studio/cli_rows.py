"""`peft-studio datasets rows|edit|versions|diff|leaks …`: the rows of a dataset and its versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import SpecError
from studio import cli_print as out
from studio.cli_datasets import app, read
from studio.cli_print import Json

if TYPE_CHECKING:
    from db.looks import Look

#: Characters of a cell in a table.
WIDTH = 60

Numbers = Annotated[list[int] | None, typer.Option("--row", min=1, help="Number of a row, from 1. Repeatable.")]
Cells = Annotated[list[str] | None, typer.Option("--set", help="New value of those rows' cells, as column=value.")]


@app.command()
def rows(id: str, search: Annotated[str, typer.Option(help="Text that any cell must hold.")] = "",
         sort: Annotated[str, typer.Option(help="Column; with a minus before it, largest first.")] = "",
         offset: Annotated[int, typer.Option(min=0, help="How many to leave out at the beginning.")] = 0,
         limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20, json: Json = False) -> None:
    """Show rows of a dataset, searched and sorted over all of them."""
    from studio import service
    from studio.cli_session import me

    shown = service.rows.page(me(), id, offset, limit, search=search, sort=sort.removeprefix("-") or None,
                              descending=sort.startswith("-"))
    if json:
        out.emit({"total": shown.total, "items": [{"row": number, "cells": row} for number, row in zip(
            shown.numbers, shown.rows, strict=True)]})
        return
    out.table([{"row": number} | {f"cell {name}": _short(value) for name, value in row.items()}
               for number, row in zip(shown.numbers, shown.rows, strict=True)],
              [("row", "Row"), *((f"cell {name}", name) for name in shown.columns)],
              f"No row holds '{search}'." if search else "There are no rows.")
    last = shown.offset + len(shown.rows)
    if last < shown.total:
        out.aside(f"Rows {shown.offset + 1} to {last} of {shown.total}. Go on: --offset {last}")


@app.command()
def edit(id: str, row: Numbers = None, set: Cells = None,
         exclude: Annotated[bool, typer.Option("--exclude", help="Leave those rows out.")] = False,
         undo: Annotated[bool, typer.Option("--undo", help="Take back the last change that was not saved.")] = False,
         save: Annotated[bool, typer.Option("--save", help="Save all changes as a new version.")] = False,
         name: Annotated[str, typer.Option(help="Name of the new version.")] = "",
         wait: Annotated[bool, typer.Option(help="Wait until the new version has been written.")] = True,
         json: Json = False) -> None:
    """Change cells or leave rows out, take that back, or save it as a new version; the dataset itself stays."""
    from db import datasets, versions
    from studio import service
    from studio.cli_session import me

    changes = _changes(row or [], set or [], exclude)
    if not changes and not undo and not save:
        raise SpecError("--row", problem="nothing is to be changed",
                        try_this="Give --row N with --set column=value or --exclude; or --undo, or --save.")
    if undo:
        service.versions.undo(me(), id)
    if changes:
        service.versions.edit(me(), id, changes)
    if save:
        read(service.versions.save(me(), id, name=name), wait, json)
        return
    drafts = versions.drafted(datasets.get(me(), id))
    if json:
        out.emit(drafts)
        return
    out.table([{"row": one["row"], "what": "excluded" if one.get("exclude") else one.get("column") or "taken back in",
                "before": _short(one.get("before")), "after": _short(one.get("value"))} for one in drafts],
              [("row", "Row"), ("what", "Column"), ("before", "Before"), ("after", "After")], "Nothing is changed.")
    if drafts:
        out.aside(f"Not saved yet. Save them: peft-studio datasets edit {id} --save")


@app.command()
def versions(id: str, json: Json = False) -> None:
    """List the versions of a dataset."""
    from db import versions as repository
    from studio import records, service
    from studio.cli_session import me

    found = [records.dataset(one, full=False) | {"changes": len(repository.saved(one))}
             for one in service.versions.family(me(), id)]
    if json:
        out.emit(found)
        return
    out.table(found, [("version", "Version"), ("id", "ID"), ("name", "Name"), ("state", "State"), ("rows", "Rows"),
                      ("changes", "Changes"), ("created_at", "Added")], "There are none.")


@app.command()
def diff(id: str, against: Annotated[str, typer.Option(help="Another version; the one before when left out.")] = "",
         json: Json = False) -> None:
    """Show how a version differs from another."""
    from studio import service
    from studio.cli_session import me

    found = service.versions.diff(me(), id, against or None)
    if json:
        out.emit(found.as_dict())
        return
    out.table([{"row": one["row"], "what": one.get("column") or ("excluded" if one["excluded"] else "taken back in"),
                "before": _short(one["before"]), "after": _short(one.get("after"))} for one in found.changes],
              [("row", "Row"), ("what", "Column"), ("before", "Before"), ("after", "After")], "They are the same.")


@app.command()
def leaks(id: str, json: Json = False) -> None:
    """List repeated rows, near-duplicates, and evaluation rows that training has seen; a worker looks for them."""
    from studio import service
    from studio.cli_session import me

    found = _waited(lambda: service.looks.problems(me(), id), "Comparing rows")
    if json:
        out.emit(found)
        return
    out.facts([("Rows that repeat another", found["same_count"]), ("Rows nearly the same", found["near_count"]),
               ("The same with other answers", found["conflict_count"]),
               ("Evaluation rows in training", found["leak_count"]),
               ("Evaluation rows nearly so", found["near_leak_count"])])
    kinds = (("same", "the same"), ("near", "nearly the same"))
    out.table([{"what": word, "rows": one["rows"][:8], "text": _short(one["text"])} for key, word in kinds
               for one in found[key][:50]]
              + [{"what": "in training", "rows": [one["row"], one["same_as"]], "text": _short(one["text"])}
                 for one in found["leaks"][:50]],
              [("what", "What"), ("rows", "Rows"), ("text", "Text")], "Nothing was found.")


def _waited(ask: Any, what: str) -> dict[str, Any]:
    """Wait for a look and return what it found; raises what it failed with."""
    from studio.cli_session import stored, wait

    look: Look = wait(ask, ("ready", "failed"), what)
    if look.state == "failed":
        raise stored(look.error)
    return look.found or {}


def _changes(numbers: list[int], cells: list[str], exclude: bool) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [{"row": number, "exclude": True} for number in numbers if exclude]
    for one in cells:
        column, there, value = one.partition("=")
        if not there or not column:
            raise SpecError("--set", problem=f"'{one}' is not of the form column=value")
        made += [{"row": number, "column": column, "value": value} for number in numbers]
    if (cells or exclude) and not numbers:
        raise SpecError("--row", problem="no row is given")
    return made


def _short(value: Any) -> str:
    text = out.cell(value)
    return text if len(text) <= WIDTH else text[:WIDTH - 1] + "…"
