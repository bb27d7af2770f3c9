"""A few rows of each label, on the overview of a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from db.tables import Dataset
from db.users import User
from engine import tasks
from studio import cards, data_looks, parts, service, shell
from studio.text import count, esc, plural

#: Characters of one row, labels shown at once, and pixels of an image.
LONGEST, OPEN, PIXELS = 220, 12, 160


def part() -> None:
    """Draw the part; it looks after itself."""
    box = parts.kept("dataset-samples")
    timer = gr.Timer(data_looks.SOON, active=False)
    shell.load(_look, None, [box, timer])
    shell.on([timer.tick], _look, None, [box, timer], trigger_mode="once")


def _look(request: gr.Request) -> tuple[str, gr.Timer]:
    user, row = data_looks.opened(request)
    if row is not None and row.state == "ready" and not (row.task and row.columns):
        return "", gr.Timer(data_looks.LATER, active=True)
    return data_looks.follow(row, lambda: service.looks.samples(user, row.id if row else ""),
                             lambda found: draw(user, row, found), "Choosing rows of each label")


def draw(user: User, row: Dataset | None, found: dict[str, Any]) -> str:
    """Return the labels, each with its rows, as a card; `found` is an `engine.data.samples.Samples`."""
    labels = found["labels"]
    if row is None or not labels:
        return ""
    numbers = [number for one in labels for number in one["rows"]]
    shown = texts(user, row, numbers)
    made = [_label(row, one, shown, found["labelled"]) for one in labels]
    rest = cards.more(f"{plural(len(made) - OPEN, 'more label')}", *made[OPEN:]) if len(made) > OPEN else ""
    hidden = found["label_count"] - len(labels)
    note = f'<p class="ps-muted">{count(hidden)} rarer labels are not shown.</p>' if hidden > 0 else ""
    title = "Rows of each label" if found["labelled"] else "A few rows"
    return cards.card(title, f'<div class="ps-samples">{"".join(made[:OPEN])}</div>', rest, note)


def _label(row: Dataset, one: dict[str, Any], shown: Mapping[int, str], labelled: bool) -> str:
    head = f'<h3>{esc(one["label"])} <span class="ps-muted">{esc(plural(one["count"], "row"))}</span></h3>' \
        if labelled else ""
    if pictured(row):
        tiles = "".join(f'<li>{shown[number]}</li>' for number in one["rows"])
        return f'<section class="ps-sample">{head}<ul class="ps-tiles ps-small-tiles">{tiles}</ul></section>'
    items = "".join(f'<li>{data_looks.link(row.id, number)} {shown[number]}</li>'
                    for number in one["rows"])
    return f'<section class="ps-sample">{head}<ul>{items}</ul></section>'


def pictured(row: Dataset) -> bool:
    """Tell whether the rows of a dataset are images."""
    return tasks.get(row.task or "text_classification").reads == "images"


def texts(user: User, row: Dataset, numbers: Sequence[int]) -> dict[int, str]:
    """Return each row by number as HTML: what the model is given of it, or its image as a link to it."""
    if pictured(row):
        return {number: f'<a href="/data?dataset={esc(row.id)}&amp;tab=rows&amp;row={number}">'
                        f'{data_looks.picture(row.id, number, PIXELS, f"Row {number}")}</a>' for number in numbers}
    kind = tasks.get(row.task or "text_classification")
    # Columns that preparation makes are not in the file.
    known = service.rows.schema_of(row).names
    columns = [name for role, name in row.columns.items() if role not in kind.answers and name in known] or known
    there = zip(numbers, service.rows.take(user, row.id, numbers), strict=True)
    return {number: esc(shortened(" · ".join(plain(cells.get(name)) for name in columns), LONGEST))
            for number, cells in there}


def plain(value: Any) -> str:
    """Return a cell as text: words in a row, a conversation as what is said."""
    if isinstance(value, list):
        return " ".join(f"{item.get('role')}: {item.get('content')}" if isinstance(item, dict) else str(item)
                        for item in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)


def shortened(text: str, longest: int) -> str:
    """Return a text cut at `longest` characters."""
    return text if len(text) <= longest else text[:longest - 1] + "…"
