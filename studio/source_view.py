"""The Combine page's "Start from another prompt": sources ranked by how alike they are to a short run's prompt."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import adapters
from db.tables import Adapter
from db.users import User
from studio import cards, service, session, shell
from studio.combine_result import told_apart
from studio.draft import from_spec
from studio.text import esc, metric

LABEL = "Prompt of a short run on your data"
LEAD = ("A prompt learned on a similar task is a good one to start from (SPoT, Vu et al., 2022). Train a prompt on "
        "your data for a short while, choose it here, and start again from the one most like it.")


def part(problem: gr.HTML) -> None:
    """Draw the section; it fills itself when the page is opened."""
    with gr.Column(elem_classes=["ps-section"], elem_id="combine-sources", visible=False) as section:
        shell.html(f'<h2 class="ps-card-title">Start from another prompt</h2><p class="ps-lead">{esc(LEAD)}</p>')
        target = shell.picker(label=LABEL, elem_id="combine-target")
        ranking = shell.html(elem_id="combine-ranking")
    shell.load(_open, None, [section, target, ranking], card=problem)
    shell.on([target.input], _chosen, [target], [ranking], card=problem)


def _open(request: gr.Request) -> tuple[Any, ...]:
    user = session.user(request)
    found = targets(user)
    names = told_apart([{"id": row.id, "name": row.name} for row in found])
    options = [{"value": row.id, "title": name} for row, name in zip(found, names, strict=True)]
    asked = shell.query(request, "target")
    first = asked if asked in [row.id for row in found] else next((row.id for row in found), None)
    return (gr.Column(visible=bool(found)), shell.picks(options, first, label=LABEL, elem_id="combine-target"),
            ranked(user, first) if first else "")


def _chosen(target: Any, request: gr.Request) -> str:
    chosen = shell.chosen(target)
    return ranked(session.user(request), chosen) if chosen else ""


def targets(user: User) -> list[Adapter]:
    """Return the prompts whose runs could start from another one, newest first."""
    found = adapters.find(user, methods=service.sourced(), limit=200)
    return [row for row in found if row.run_id and row.artifact == "adapter"]


def ranked(user: User, adapter_id: str) -> str:
    """Return the sources of an adapter as a table, each with the way to a run that starts from it."""
    found = service.prompt_sources(user, adapter_id)
    if not found:
        return cards.note("Sources are prompts of the same method, base model and length: train one on another "
                          "dataset.", "muted", "There is no other prompt to start from yet.")
    rows = [(f'<a href="/adapters?adapter={esc(one["id"])}">{esc(one["name"])}</a>', metric(one["averaged"]),
             metric(one["each"]), f'<a href="/train{esc(from_spec(one["spec"]).url())}">Train from it</a>')
            for one in found]
    return cards.table(["Prompt", "Cosine of the means", "Mean cosine of pairs", "Next"], rows,
                       "Prompts to start from, the most alike first", numeric=[1, 2], html_columns=[0, 3])
