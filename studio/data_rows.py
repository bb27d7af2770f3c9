"""The tab "Rows" of a dataset: all of them, searched and sorted, changed cell by cell, and saved as a new version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from db import datasets
from db.tables import Dataset
from db.users import User
from engine import tasks
from engine.data import edits
from engine.errors import Refused, StudioError
from studio import cards, data_looks, service, session, shell
from studio.data_samples import plain
from studio.text import count
from studio.widgets import asset, drawn_by

#: Rows of a page, or images.
SIZES = (25, 50, 100)
#: Labels offered when one is changed, and columns shown.
OFFERED, COLUMNS = 300, 40
Value = dict[str, Any]


class NotAsked(Refused):
    """The page asked for something it does not know."""

    kind = "not_asked"
    try_this = "Reload the page."


def tab(problem: gr.HTML, go: gr.HTML) -> None:
    """Draw the tab; it asks for its first page when it is opened."""
    with gr.Tab("Rows", id="rows") as made:
        box = gr.HTML({}, html_template="", apply_default_css=False, padding=False, elem_id="dataset-rows",
                      label="Rows", elem_classes=["ps-widget", "ps-rows"],
                      head=f'<script src="{asset("rows.js")}"></script>', js_on_load=drawn_by("studioRows", "table"))
        timer = gr.Timer(data_looks.SOON, active=False)
    shell.load(_opened, None, [box, timer], card=problem)
    shell.on([made.select], _first, None, [box, timer], card=problem)
    shell.on([timer.tick], _waited, [box], [box, timer], card=problem, trigger_mode="once", clears=False)
    shell.on([box.input], _asked, [box], [box, go, timer], card=problem, trigger_mode="multiple")


def _opened(request: gr.Request) -> Any:
    if shell.query(request, "tab") != "rows":
        return gr.skip(), gr.Timer(active=False)
    return _first(request)


def _first(request: gr.Request) -> Any:
    """Return the page that the address names: by a row, or by what was searched for and sorted by."""
    user, row = data_looks.opened(request)
    if row is None:
        return gr.skip(), gr.Timer(active=False)
    wanted = {name: shell.query(request, name) for name in ("search", "sort", "row", "offset", "view")}
    if wanted["row"].isdecimal():
        # A link to a row shows it among its neighbours.
        wanted["search"] = wanted["sort"] = ""
    return _drawn(user, row, _placed(row, {
        "search": wanted["search"], "sort": wanted["sort"].removeprefix("-") or None,
        "descending": wanted["sort"].startswith("-"), "view": wanted["view"], "jump": wanted["row"],
        "offset": wanted["offset"]}))


def _waited(value: Any, request: gr.Request) -> Any:
    user, row = data_looks.opened(request)
    if row is None or not isinstance(value, dict):
        return gr.skip(), gr.Timer(active=False)
    return _drawn(user, row, _placed(row, value.get("at") or (value.get("ask") or {}).get("at") or {}))


def _asked(value: Any, request: gr.Request) -> Any:
    """Do what the person asked for in the table, and return the table, where to go, and whether to look again."""
    ask = value.get("ask") if isinstance(value, dict) else None
    user, row = session.user(request), datasets.get(session.user(request), shell.query(request, "dataset"))
    if not isinstance(ask, dict) or ask.get("what") not in ACTS:
        raise NotAsked("rows")
    refused = ""
    try:
        made = ACTS[ask["what"]](user, row.id, ask)
        if ask["what"] == "save":
            return gr.skip(), f"/data?dataset={made.id}&tab=versions", gr.Timer(active=False)
    except StudioError as error:
        refused = cards.error(error)
    drawn, timer = _drawn(user, datasets.get(user, row.id), _placed(row, ask.get("at") or {}))
    drawn["html"] = refused or drawn.get("html", "")
    if ask["what"] == "row":
        drawn["full"] = _full(user, row, int(ask.get("row") or 1))
    return drawn, gr.skip(), timer


ACTS: dict[str, Any] = {
    "page": lambda user, id, ask: None, "row": lambda user, id, ask: None,
    "save": lambda user, id, ask: service.versions.save(user, id),
    "edit": lambda user, id, ask: service.versions.edit(user, id, ask.get("edits") or []),
    "undo": lambda user, id, ask: service.versions.undo(user, id),
    "discard": lambda user, id, ask: service.versions.undo(user, id, everything=True)}


def _placed(row: Dataset, at: Mapping[str, Any]) -> Value:
    """Return which page is wanted, in the form the table keeps it; `jump` names a row instead of a place."""
    size = next((one for one in SIZES if one == at.get("limit")), SIZES[1])
    jump = str(at.get("jump") or "")
    number = min(max(1, int(jump)), row.rows or 1) if jump.isdecimal() and len(jump) < 12 else None
    offset = str(at.get("offset") or "0")
    place = (number - 1) // size * size if number else int(offset) if offset.isdecimal() and len(offset) < 12 else 0
    sort = at.get("sort") if number is None else None
    return {"offset": place, "limit": size, "search": "" if number else str(at.get("search") or "")[:500],
            "sort": sort if isinstance(sort, str) and sort else None, "descending": bool(at.get("descending")),
            "view": at.get("view") if at.get("view") in ("grid", "table") else _view(row), "row": number}


def _view(row: Dataset) -> str:
    kind = tasks.every().get(row.task or "")
    return "grid" if kind is not None and kind.reads == "images" else "table"


def _drawn(user: User, row: Dataset, at: Value) -> tuple[Value, gr.Timer]:
    if row.state != "ready" or row.parquet_key is None:
        return {"html": data_looks.later(row)}, gr.Timer(data_looks.SOON, active=row.state != "failed")
    shown = service.rows.page(user, row.id, at["offset"], at["limit"], search=at["search"], sort=at["sort"],
                              descending=at["descending"], patient=True)
    if shown.waits is not None:
        html = data_looks.shown(shown.waits, lambda found: "", "Going through all rows")
        return _table(row, at, shown) | {"html": html}, gr.Timer(data_looks.SOON, active=shown.waits.working)
    return _table(row, at | {"offset": shown.offset}, shown), gr.Timer(active=False)


def _table(row: Dataset, at: Value, shown: Any) -> Value:
    """Return the table with the changes that were not saved yet."""
    changes = service.rows.drafts(row)
    roles = {column: role for role, column in row.columns.items()}
    titles = {role.name: role.title for role in tasks.get(row.task).roles} if row.task else {}
    kinds = _kinds(shown.columns, list(roles))
    columns = [{"name": name, "kind": kind, "role": titles.get(roles.get(name, ""), "")}
               for name, kind in kinds.items()]
    lines = [_line(number, cells, cut, kinds, changes)
             for number, cells, cut in zip(shown.numbers, shown.rows, shown.clipped, strict=True)]
    return {"id": row.id, "at": at, "columns": columns, "rows": lines, "total": shown.total, "there": shown.rows_there,
            "label": row.columns.get("label", ""), "labels": service.rows.labels(row)[:OFFERED],
            "drafts": changes.count, "told": _told(changes), "sizes": SIZES, "hidden": len(shown.columns) - len(kinds)}


def _kinds(known: Mapping[str, str], playing: list[str]) -> Mapping[str, str]:
    """Return the columns that are shown: of very many, those that play a part and the first."""
    if len(known) <= COLUMNS:
        return known
    kept = {*playing, *list(known)[:COLUMNS - len(playing)]}
    return {name: kind for name, kind in known.items() if name in kept}


def _line(number: int, cells: Mapping[str, Any], cut: Mapping[str, int], kinds: Mapping[str, str],
          changes: edits.Changes) -> Value:
    made: list[Value] = []
    for name, kind in kinds.items():
        changed = (number, name) in changes.cells
        value = changes.cells[number, name] if changed else cells.get(name)
        text = str((value or {}).get("path") or "") if kind == "image" else plain(value)
        made.append({"text": text} | ({"was": plain(changes.before.get((number, name)))[:300]} if changed else {})
                    | ({"all": f"{count(cut[name])} characters"} if name in cut and not changed else {}))
    return {"number": number, "cells": made, "out": number in changes.excluded}


def _told(changes: edits.Changes) -> str:
    if not changes:
        return ""
    parts = [f"{count(len(changes.cells))} changed {'cell' if len(changes.cells) == 1 else 'cells'}"
             if changes.cells else "",
             f"{count(len(changes.excluded))} excluded {'row' if len(changes.excluded) == 1 else 'rows'}"
             if changes.excluded else ""]
    return " and ".join(part for part in parts if part) + ", not saved yet"


def _full(user: User, row: Dataset, number: int) -> Value:
    """Return the cells of one row whole, as they are edited: lists and conversations as JSON."""
    changes = service.rows.drafts(row)
    found = service.rows.take(user, row.id, [number])
    written = {name: _written(changes.cells.get((number, name), value)) for name, value in found[0].items()} \
        if found else {}
    return {"row": number, "cells": written}


def _written(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)


