"""What is shown of one dataset: its rows with their roles, what was counted, what was noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from db.tables import Dataset, Model
from engine import tasks
from engine.data.source import Preview
from studio import cards, form, shell
from studio.service.hub_data import told
from studio.service.reading import READING, reading, settled
from studio.text import ago, count, esc, plural, size

#: Stands for leaving it open what of a workbook or archive is read.
AUTO = "auto"
LONGEST_CELL = 300
#: Kinds of label as a person reads them.
KINDS = {one["value"]: one["label"] for field in form.fields(tasks.get("text_classification"))
         if field["name"] == "problem" for one in field["options"]}


def listing(found: Sequence[Dataset]) -> str:
    """Return the list of datasets, a file to evaluate on under the one it belongs to."""
    if not found:
        return cards.empty("No data yet", "Add a file above, or look around with one of the samples.")
    known = {row.id for row in found}
    ordered = [one for row in found if row.eval_of_id not in known
               for one in (row, *(other for other in found if other.eval_of_id == row.id))]
    rows = [(name(row), state(row), _task(row), count(row.rows), ago(row.created_at)) for row in ordered]
    return cards.table(["Dataset", "State", "Task", "Rows", "Added"], rows, "Datasets", numeric=[3],
                       html_columns=[0, 1])


def name(row: Dataset) -> str:
    """Return the dataset's name as a link."""
    sample = " (sample)" if row.sample and "sample" not in row.name.lower() else ""
    under = ' class="ps-under-it"' if row.eval_of_id else ""
    return f'<a{under} href="/data?dataset={esc(row.id)}"><b>{esc(row.name + sample)}</b></a>'


def state(row: Dataset) -> str:
    """Return how far reading is, or what came of it."""
    if row.state in READING:
        return cards.progress(row.progress or None, "Reading")
    return badge(row)


def badge(row: Dataset) -> str:
    """Return the dataset's state as a small word."""
    if row.state in READING:
        return cards.badge("reading", "info")
    if row.state == "failed" and (row.error or {}).get("kind") == "cancelled":
        return cards.badge("cancelled")
    blocked = row.state == "ready" and _blocked(row)
    return cards.badge("needs a fix", "bad") if blocked else cards.badge(row.state)


def busy(row: Dataset, beside: Sequence[Dataset]) -> bool:
    """Tell whether something may still change by itself: this dataset, or the one it is evaluated on."""
    return not settled(row, beside)


def _task(row: Dataset) -> str:
    kind = tasks.every().get(row.task or "")
    return kind.card.title if kind else "–"


def _noticed(row: Dataset) -> list[Mapping[str, Any]]:
    """Return what was noticed while reading and counting, each once; a file without rows is not counted at all."""
    seen: dict[str, Mapping[str, Any]] = {}
    counted = {found.get("kind") for found in (row.stats or {}).get("findings") or row.findings}
    if row.state == "ready" and not row.rows and "no_rows" not in counted:
        seen["no rows"] = {"kind": "no_rows", "level": "error", "what": "This file has no rows.", "where": row.filename,
                           "try_this": "Add rows beneath the header, or upload another file."}
    for found in [*row.findings, *((row.stats or {}).get("findings") or [])]:
        seen.setdefault(f"{found.get('kind')} {found.get('where')} {found.get('what')}", found)
    return list(seen.values())


def _levels(row: Dataset) -> list[str]:
    return [str(found.get("level")) for found in _noticed(row)]


def _blocked(row: Dataset) -> bool:
    return "error" in _levels(row)


def head(row: Dataset, parent: Dataset | None, beside: Sequence[Dataset]) -> str:
    """Return name, state, error, and the dataset it belongs to or that belongs to it."""
    version = f"version {row.version}" if row.version > 1 else ""
    rows = plural(row.rows, "row") if row.rows is not None else ""
    about = [version, told(row.origin) or row.filename, size(row.bytes), rows, _task(row),
             f"added {ago(row.created_at)}"]
    crumb = '<a href="/data">All data</a>' + (f' / {_link(parent)}' if parent else "")
    partner = "".join(f'<p class="ps-muted">Evaluated on {_link(one)}: '
                      f"{esc(_far(one))}</p>" for one in beside)
    belongs = f'<p class="ps-muted">Evaluates {_link(parent)}</p>' if parent else ""
    title = (f'<div class="ps-run-head"><p class="ps-crumb">{crumb}</p>'
             f'<h2>{esc(row.name)} {badge(row)}</h2>'
             f'<p class="ps-muted">{esc(" · ".join(part for part in about if part and part != "–"))}</p>'
             f"{partner}{belongs}</div>")
    if row.state == "failed":
        return title + _error(row)
    if reading(row):
        word = "Reading and counting" if row.state in READING else "Counting"
        return title + cards.card("", cards.progress(row.progress or None, word))
    return title


def _far(row: Dataset) -> str:
    if row.state == "failed":
        return "it could not be read"
    return plural(row.rows, "row") if row.rows is not None else row.state


def header(row: Dataset) -> gr.Button:
    """Return the button that corrects whether the first row is a header; only delimited text leaves that open."""
    source = row.source or {}
    open_ = row.state == "ready" and bool(row.original_key) and source.get("format") in ("csv", "tsv", "text", "xlsx")
    return gr.Button("The first row is no header" if source.get("header") else "The first row is a header",
                     visible=open_)


def part(row: Dataset) -> Any:
    """Return the choice of what is read of a workbook, folder or archive; hidden where there is nothing to choose."""
    source = row.source or {}
    known = [str(name) for name in source.get("parts") or []]
    options = [{"value": AUTO, "title": "Found by itself"}, *({"value": name, "title": name} for name in known)]
    chosen = str(source.get("part") or AUTO)
    return gr.HTML(shell.picks(options, chosen, label="Read this of it", elem_id="dataset-part"),
                   visible=row.state == "ready" and bool(row.original_key) and len(known) > 1)


def evaluated(beside: Sequence[Dataset]) -> str:
    """Return the heading over the file to evaluate on, and what is evaluated on now."""
    if not beside:
        now = "Without a file, a share of these rows is kept aside for that."
    elif beside[0].state == "failed":
        now = f"{_link(beside[0])} could not be read: give another file, or delete it to keep a share of these aside."
    else:
        now = f"Now these are the rows of {_link(beside[0])}; another file takes its place."
    return ('<h2 class="ps-card-title">Data to evaluate on</h2>'
            f'<p class="ps-muted">Rows the model never learns from, to measure what it can do. {now}</p>')


def _error(row: Dataset) -> str:
    """Return why there is nothing; the file is named as the person knows it."""
    error = dict(row.error or {"what": "This file could not be read."})
    if error.get("kind") == "cancelled":
        return cards.note("Reading was cancelled. The file is still here.", "muted")
    if error.get("where") in ("original", row.id):
        error["where"] = row.filename
    return cards.error(error)


def _link(row: Dataset) -> str:
    return f'<a href="/data?dataset={esc(row.id)}">{esc(row.name)}</a>'


def steps(row: Dataset) -> str:
    """Return the way on: nothing while errors block, a question where there are warnings."""
    if row.state != "ready" or row.eval_of_id or _blocked(row):
        return ""
    word = "Train on it anyway" if "warning" in _levels(row) else "Train on it"
    return cards.links([(word, f"/train?dataset={row.id}")])


def guess(row: Dataset, parent: Dataset | None) -> str:
    """Return why these roles were guessed, or that a person confirmed them."""
    if parent is not None:
        return cards.note(f"Its columns play the same parts as those of {parent.name}.", "info")
    if row.state != "ready":
        return cards.note("These are the first rows as they stand in the file.", "info")
    if row.confirmed:
        return cards.note("You confirmed these columns.", "good")
    if not row.columns:
        return cards.note("Say which column plays which part, then confirm.", "warn", "Nothing was recognised.")
    why = (row.guess or {}).get("why") or []
    return cards.note(" ".join(why) or "Check that each column plays the part it should.", "info",
                      "This is a guess: check it, then confirm.")


def task_picks(task: str, fixed: bool = False) -> Any:
    """Return the choice of tasks, hidden when it is `fixed`."""
    options = [{"value": key, "title": kind.card.title} for key, kind in tasks.every().items()]
    return gr.HTML(shell.picks(options, task, label="Task", elem_id="dataset-task"), visible=not fixed)


def kind_picks(task: str, problem: str | None, fixed: bool = False) -> Any:
    """Return the choice of kinds of label, hidden where the task has none."""
    there = "problem" in tasks.get(task).model_fields and not fixed
    options = [{"value": key, "title": title} for key, title in KINDS.items()]
    return gr.HTML(shell.picks(options, problem or "single_label", label="Kind of label",
                               elem_id="dataset-problem"), visible=there)


def columns(found: Preview | None, task: str, chosen: Mapping[str, str], fixed: bool = False) -> dict[str, Any]:
    """Return the first rows with the parts that columns can play in this task; `chosen` maps role to column."""
    if found is None:
        return {}
    roles = [{"value": role.name, "title": role.title, "help": role.help} for role in tasks.get(task).roles]
    known = {role["value"] for role in roles}
    chosen = tasks.get(task).carried(chosen) or chosen
    return {"columns": found.columns, "rows": [[cell(row.get(name)) for name in found.columns] for row in found.rows],
            "roles": roles, "chosen": {column: role for role, column in chosen.items()
                                       if role in known and column in found.columns},
            "fixed": fixed, "label": "First rows"}


def chosen_columns(value: Any) -> dict[str, str]:
    """Return role -> column as a person chose them in the header of the first rows."""
    picked = value.get("chosen") if isinstance(value, dict) else None
    return {str(role): str(column) for column, role in picked.items()} if isinstance(picked, dict) else {}


def legend(task: str) -> str:
    """Return what each part means."""
    items = "".join(f"<div><dt>{esc(role.title)}</dt><dd>{esc(role.help)}</dd></div>" for role in tasks.get(task).roles)
    return f'<dl class="ps-roles">{items}</dl>'


def models(found: Sequence[Model], ref: str | None) -> dict[str, Any]:
    """Return the choice of base models whose tokens lengths are counted in."""
    options = [{"value": row.ref, "title": row.title} for row in found]
    empty = "Choose a base model" if options else "Add a base model first"
    return shell.picks(options, ref, label="Count in the tokens of", elem_id="dataset-model", empty=empty,
                       help="Shows how much is longer than that model takes; until then lengths are in characters.")


def cell(value: Any) -> str:
    """Return a cell's value as text, long ones cut."""
    if value is None:
        return ""
    if isinstance(value, dict) and set(value) == {"path", "bytes"} and isinstance(value["bytes"], int):
        # An image, as rows are shown to a person.
        return f"{value['path'] or 'image'} ({size(value['bytes'])})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL - 1] + "…"


def findings(row: Dataset) -> str:
    """Return what was noticed, errors first."""
    if row.state != "ready":
        return ""
    return cards.findings(_noticed(row), "Nothing wrong was found.")
