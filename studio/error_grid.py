"""The part "Images it gets wrong" of a run's page: the worst evaluation images, what they are and what was said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from db import runs
from db.tables import Run
from db.users import User
from engine import tasks
from studio import cards, data_looks, parts, service, session, shell
from studio.service import pictures
from studio.service.suspects import evaluated_on
from studio.text import esc, percent, plural

TITLE = "Images it gets wrong"
#: Seconds between two looks while the run goes on.
SOON = 3.0
#: Pixels of an image, and characters of its name.
PIXELS, NAME = 200, 60


def part(elem_id: str) -> None:
    """Draw the part for the run in the page's address; it looks after itself, and is not there without images."""
    box = parts.kept(elem_id)
    timer = gr.Timer(SOON, active=False)

    def look(request: gr.Request) -> tuple[Any, gr.Timer]:
        user, run_id = session.user(request), shell.query(request, "run")
        run = parts.found(lambda: runs.get(user, run_id)) if run_id else None
        if run is None or tasks.get(run.task).reads != "images":
            return "", gr.Timer(active=False)
        return draw(user, run), gr.Timer(SOON, active=run.state not in runs.ENDED)

    shell.load(look, None, [box, timer])
    shell.on([timer.tick], look, None, [box, timer], trigger_mode="once")


def draw(user: User, run: Run) -> str:
    """Return the wrong predictions among the worst ones as tiles; nothing before an evaluation."""
    if not run.examples:
        return ""
    told = json.loads(service.run_file(user, run.id, "examples.json").read_text(encoding="utf-8"))
    wrong = [record for record in told.get("worst", []) if record.get("correct") is False]
    if not wrong:
        return cards.card(TITLE, '<p class="ps-muted">None of the evaluation images that are kept is wrong.</p>')
    note = f"The {plural(len(wrong), 'image')} with the largest loss, the worst first." if len(wrong) > 1 else ""
    gone = "" if evaluated_on(run) else "The dataset was deleted since, so that its rows cannot be opened."
    said = " ".join(filter(None, (note, gone)))
    return cards.card(TITLE, f'<p class="ps-muted">{said}</p>' if said else "", tiles(user, run, wrong))


def tiles(user: User, run: Run, records: Sequence[Mapping[str, Any]]) -> str:
    """Return records of images, each as a picture with the right answer and the one given."""
    return f'<ul class="ps-tiles ps-errors">{"".join(_tile(user, run, record) for record in records)}</ul>'


def _tile(user: User, run: Run, record: Mapping[str, Any]) -> str:
    name = str(record.get("input") or "")
    name = name if len(name) <= NAME else "…" + name[1 - NAME:]
    expected, predicted = record.get("expected"), record.get("predicted")
    alt = f"{name}: {expected}, taken for {predicted}"
    number_of_row, kept = int(record["row"]), bool((record.get("asked") or {}).get("image"))
    picture = (f'<img src="/api/v1/runs/{esc(run.id)}/examples/{number_of_row}/image?size={PIXELS}" '
               f'alt="{esc(alt)}" loading="lazy" decoding="async">'
               if kept and pictures.kept(user, run.id, number_of_row) else
               f'<p class="ps-muted">{esc(name)} is {"no longer there" if kept else "too large to be kept"}.</p>')
    dataset, number = evaluated_on(run), record.get("number")
    row = f"<p>{data_looks.link(dataset, number, f'Row {number}')}</p>" if dataset and number else ""
    sure = record.get("confidence")
    said = f' <span class="ps-muted">{esc(percent(sure))}</span>' if sure is not None else ""
    return (f"<li>{picture}<p>Expected <b>{esc(expected)}</b></p><p>Predicted <b>{esc(predicted)}</b>{said}</p>"
            f"{row}</li>")
