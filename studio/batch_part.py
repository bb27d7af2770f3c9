"""The part "Evaluations" of an adapter's page: what it was measured on, and a dataset to measure it on next."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import adapters, batches
from db.tables import Adapter
from db.users import User
from engine.errors import Refused
from studio import batch_result, batch_view, cards, parts, service, session, shell

SOON = 1


class NoDataset(Refused):
    """No dataset is chosen."""

    kind = "no_dataset"
    try_this = "Choose a dataset of the adapter's task; add one on the Data page first, if there is none."


def part(problem: gr.HTML) -> None:
    """Draw the part for the adapter in the page's address; it looks after itself."""
    with shell.section("Evaluations", "How good it is on other data: metrics with intervals, and everything behind "
                       "them.", elem_id="adapter-evaluations"):
        table = parts.kept("adapter-evaluated")
        with gr.Row(elem_classes=["ps-beside"]):
            dataset = shell.picker(label="Dataset", elem_id="adapter-evaluate-on")
            start = gr.Button("Evaluate", elem_id="adapter-evaluate")
    timer = gr.Timer(SOON, active=False)
    shell.load(_open, None, [dataset, table, timer])
    shell.on([timer.tick], _look, None, [table, timer], trigger_mode="once")
    shell.on([start.click], _start, [dataset], [table, timer], card=problem, busy="minimal")


def _open(request: gr.Request) -> tuple[Any, ...]:
    user, row = _adapter(request)
    options = batch_view.evaluable(user, row) if row is not None else []
    picker = shell.picks(options, None, label="Dataset", elem_id="adapter-evaluate-on",
                         empty="Choose …" if options else "No dataset of this task is ready")
    return picker, *_shown(user, row)


def _look(request: gr.Request) -> tuple[Any, ...]:
    return _shown(*_adapter(request))


def _start(dataset: Any, request: gr.Request) -> tuple[Any, ...]:
    user, row = _adapter(request)
    chosen = shell.chosen(dataset)
    if not chosen or row is None:
        raise NoDataset("dataset")
    service.evaluate(user, row.id, chosen)
    return _shown(user, row)


def _adapter(request: gr.Request) -> tuple[User, Adapter | None]:
    user, id = session.user(request), shell.query(request, "adapter")
    return user, parts.found(lambda: adapters.get(user, id)) if id else None


def _shown(user: User, row: Adapter | None) -> tuple[str, gr.Timer]:
    found = service.evaluations(user, row.id) if row is not None else []
    table = batch_result.table(found, "Dataset", "Evaluations") if found else (
        '<p class="ps-muted">It was evaluated on no other dataset yet.</p>')
    working = next((one for one in found if one.state not in batches.ENDED), None)
    bar = cards.progress(working.progress or None, f"Evaluating on {working.filename}") if working is not None else ""
    return table + bar, gr.Timer(SOON, active=working is not None)
