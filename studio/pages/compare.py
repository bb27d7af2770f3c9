"""Compare: up to ten runs side by side; the URL holds the selection."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import runs
from db.tables import Run
from db.users import User
from engine.errors import StudioError
from studio import cards, comparison, plots, session, shell
from studio.pages import Page
from studio.parts import chart

PAGE = Page("compare", "Compare", icon="M4 16V8M8 16V4M12 16v-6M16 16V7")

MOST = 10
AXES = [("Update", "step"), ("Epoch", "epoch"), ("Time", "time")]


def build() -> None:
    """Draw the page."""
    lead = "Curves, settings that differ, scores and what they cost."
    with shell.frame(PAGE, title="Compare", lead=lead, width="wide"):
        problem = shell.html(elem_id="compare-error")
        chosen = gr.Dropdown([], label="Runs to compare (up to ten)", multiselect=True, max_choices=MOST,
                             elem_id="compare-runs", filterable=True)
        with gr.Row(elem_classes=["ps-filters"]):
            metric = gr.Dropdown([("training loss", "train/loss")], value="train/loss", label="Curve",
                                 elem_id="compare-metric")
            axis = gr.Radio(AXES, value="step", label="Horizontal axis", elem_id="compare-axis")
            smooth = gr.Slider(0, 0.99, value=0, step=0.01, label="Smoothing", elem_id="compare-smooth",
                               info="Exponential moving average over the points.")
        curves = chart("Curves", "compare-curves")
        table = shell.html(elem_id="compare-table")
        scatter = chart("Quality against trained parameters", "compare-scatter")
        settings = shell.html(elem_id="compare-settings")
        where = shell.address("compare-address")
        seen = gr.State("")
        view = [curves, table, scatter, settings, metric, seen]
        shell.load(_open, None, [chosen, *view], card=problem)
        inputs = [chosen, metric, axis, smooth]
        shell.on([chosen.input], _choose, inputs, [where, *view], card=problem)
        shell.on([metric.input, axis.input, smooth.release], _draw, inputs, view, card=problem)
        shell.poll(3, _refresh, [*inputs, seen], [chosen, *view], card=problem)


def _open(request: gr.Request) -> Any:
    user = session.user(request)
    asked = [part for part in shell.query(request, "runs").split(",") if part][:MOST]
    kept = [run_id for run_id in asked if _there(user, run_id)]
    view = _draw(kept, None, "step", 0, request)
    return gr.Dropdown(choices=_choices(user, kept), value=kept), *view


def _there(user: User, run_id: str) -> bool:
    try:
        runs.get(user, run_id)
    except StudioError:
        return False
    return True


def _choices(user: User, kept: list[str]) -> list[tuple[str, str]]:
    recent = runs.find(user, limit=200)
    more = runs.latest(user, [run_id for run_id in kept if run_id not in {run.id for run in recent}])
    return [(f"{run.name} · {run.method} · {run.id[-4:]}", run.id) for run in [*more, *recent]]


def _choose(ids: list[str] | None, metric: str | None, axis: str, smooth: float, request: gr.Request) -> Any:
    kept = (ids or [])[:MOST]
    return ("?runs=" + ",".join(kept) if kept else "?"), *_draw(kept, metric, axis, smooth, request)


def _draw(ids: list[str] | None, metric: str | None, axis: str, smooth: float, request: gr.Request) -> Any:
    user = session.user(request)
    picked = runs.latest(user, (ids or [])[:MOST])
    if not picked:
        hint = "Choose runs above. Two that differ in one setting tell the most."
        empty = cards.empty("Nothing to compare yet", hint, [("Set up a run", "/train"), ("All runs", "/runs")])
        return (plots.blank("Curves", "Choose runs above."), empty,
                plots.blank("Quality against trained parameters", "Choose runs above."), "", gr.skip(), "")
    names = comparison.metric_names(picked)
    shown = metric if metric in names else comparison.deciding(picked, names)
    curves = runs.curves(user, [run.id for run in picked], [shown])
    return (comparison.curves(picked, curves, shown, axis, float(smooth or 0)), comparison.table(picked),
            comparison.scatter(picked), comparison.differences(picked),
            gr.Dropdown(choices=[(comparison.title(name), name) for name in names], value=shown), _stamp(picked))


def _refresh(ids: list[str] | None, metric: str | None, axis: str, smooth: float, seen: str,
             request: gr.Request) -> Any:
    user = session.user(request)
    picked = runs.latest(user, [run_id for run_id in (ids or [])[:MOST] if _there(user, run_id)])
    if _stamp(picked) == seen:
        return [gr.skip()] * 7
    return gr.skip(), *_draw([run.id for run in picked], metric, axis, smooth, request)


def _stamp(picked: list[Run]) -> str:
    return " ".join(f"{run.id}:{run.token}:{run.journal_seq}:{run.state}" for run in picked)
