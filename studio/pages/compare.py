"""Compare: up to ten runs side by side; the URL holds the selection and how it is drawn."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import gradio as gr

from db import datasets, runs
from db.tables import Run
from db.users import User
from studio import cards, comparison, parts, plots, session, shell
from studio.pages import Page

PAGE = Page("compare", "Compare", icon="M4 16V8M8 16V4M12 16v-6M16 16V7")

MOST = 10
AXES = [("Update", "step"), ("Epoch", "epoch"), ("Time", "time")]
#: Seconds between two looks while one of the runs trains.
SOON = 3


def build() -> None:
    """Draw the page."""
    lead = "Curves, settings that differ, scores and what they cost."
    with shell.frame(PAGE, title="Compare", lead=lead, width="wide"):
        problem, lost = shell.html(elem_id="compare-error"), shell.html(elem_id="compare-lost")
        with gr.Row(elem_classes=["ps-filters"]):
            chosen = gr.Dropdown([], label="Runs to compare (up to ten)", multiselect=True, max_choices=MOST,
                                 elem_id="compare-runs", filterable=True)
        with gr.Row(elem_classes=["ps-filters"], elem_id="compare-how"):
            curve = shell.picker(label="Curve", elem_id="compare-metric")
            axis = gr.Radio(AXES, value="step", label="Horizontal axis", elem_id="compare-axis")
            smooth = gr.Slider(0, 0.99, value=0, step=0.01, label="Smoothing", elem_id="compare-smooth")
        curves = parts.chart("Curves", "compare-curves", 2)
        table = parts.kept("compare-table")
        scatter = parts.chart("Quality against trained parameters", "compare-scatter", 2)
        settings = parts.kept("compare-settings")
        where = shell.address("compare-address")
        seen, timer = gr.State(""), gr.Timer(SOON, active=False)
        view = [curves, table, scatter, settings, curve, seen, timer]
        shell.load(_open, None, [chosen, axis, smooth, lost, *view], card=problem)
        inputs = [chosen, curve, axis, smooth]
        shell.on([chosen.input, curve.input, axis.input, smooth.release], _choose, inputs, [where, *view], card=problem)
        shell.on([timer.tick], _refresh, [*inputs, seen], view, card=problem, trigger_mode="once", clears=False)


def _open(request: gr.Request) -> Any:
    user = session.user(request)
    asked = list(dict.fromkeys(part for part in shell.query(request, "runs").split(",") if part))[:MOST]
    picked = _picked(user, asked)
    axis = shell.query(request, "axis", "step")
    axis = axis if axis in {value for _, value in AXES} else "step"
    smoothing = comparison.amount(shell.query(request, "smooth"))
    gone = len(asked) - len(picked)
    told = cards.note("They may have been deleted; the others are compared.", "warn",
                      f"Of the runs in the address, {gone} are not there any more.") if gone else ""
    view = _view(user, picked, shell.query(request, "curve"), axis, smoothing)
    return gr.Dropdown(choices=_choices(user, picked), value=[run.id for run in picked]), axis, smoothing, told, *view


def _picked(user: User, ids: list[str] | None) -> list[Run]:
    found = (parts.found(lambda one=run_id: runs.get(user, one)) for run_id in (ids or [])[:MOST])
    return [run for run in found if run is not None]


def _choices(user: User, picked: list[Run]) -> list[tuple[str, str]]:
    recent = runs.find(user, limit=200)
    known = {run.id for run in recent}
    more = [run for run in picked if run.id not in known]
    return [(f"{run.name} · {run.method} · {run.id[-4:]}", run.id) for run in [*more, *recent]]


def _choose(ids: list[str] | None, curve: Any, axis: str, smooth: float, request: gr.Request) -> Any:
    user = session.user(request)
    picked = _picked(user, ids)
    name = shell.chosen(curve) or ""
    values = {"runs": ",".join(run.id for run in picked), "curve": name if picked else "",
              "axis": axis if axis != "step" else "", "smooth": f"{smooth:g}" if smooth else ""}
    query = urlencode({key: value for key, value in values.items() if value}, safe=",/")
    return f"?{query}", *_view(user, picked, name, axis, smooth)


def _view(user: User, picked: list[Run], name: str, axis: str, smooth: float) -> tuple[Any, ...]:
    if not picked:
        hint = "Choose runs above. Two that differ in one setting tell the most."
        empty = cards.empty("Nothing to compare yet", hint, [("Set up a run", "/train"), ("All runs", "/runs")])
        return (plots.blank("Curves", "Choose runs above."), empty,
                plots.blank("Quality against trained parameters", "Choose runs above."), "", _picks([], ""), "",
                gr.Timer(active=False))
    names = comparison.metric_names(picked)
    shown = name if name in names else comparison.deciding(picked, names)
    found = runs.curves(user, [run.id for run in picked], [shown])
    return (comparison.curves(picked, found, shown, axis, smooth), comparison.table(picked),
            comparison.scatter(picked), comparison.differences(picked, _names(user, picked)), _picks(names, shown),
            _stamp(picked), _timer(picked))


def _names(user: User, picked: list[Run]) -> dict[str, str]:
    """Return the names of the datasets the runs learned from and are evaluated on; as they were, of deleted ones."""
    once = {run.spec["data"].get(part): f"{told['name']} (deleted)" for run in picked
            for part, told in (run.data_names or {}).items()}
    ids = {one for run in picked for one in (run.dataset_id, run.eval_dataset_id) if one}
    found = (parts.found(lambda one=dataset_id: datasets.get(user, one)) for dataset_id in sorted(ids))
    return once | {row.id: row.name for row in found if row is not None}


def _picks(names: list[str], shown: str) -> dict[str, Any]:
    options = [{"value": name, "title": comparison.title(name)} for name in names]
    return shell.picks(options, shown, label="Curve", elem_id="compare-metric", empty="Choose runs first")


def _timer(picked: list[Run]) -> gr.Timer:
    return gr.Timer(SOON, active=any(run.state not in runs.ENDED for run in picked))


def _refresh(ids: list[str] | None, curve: Any, axis: str, smooth: float, seen: str, request: gr.Request) -> Any:
    user = session.user(request)
    picked = _picked(user, ids)
    if _stamp(picked) == seen:
        return *[gr.skip()] * 6, _timer(picked)
    return _view(user, picked, shell.chosen(curve) or "", axis, smooth)


def _stamp(picked: list[Run]) -> str:
    return " ".join(f"{run.id}:{run.token}:{run.journal_seq}:{run.state}" for run in picked)
