"""A test of learning rates as it is shown: progress, the loss at each rate, and what it suggests."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import gradio as gr

from db import runs
from db.metrics import Curve
from db.tables import Run
from db.users import User
from engine import rates
from engine.spec import RateTest
from studio import cards, parts, plots, shell
from studio.draft import Draft, from_spec
from studio.text import esc

LOSS, RATE = "train/loss", "train/learning_rate"
#: Seconds between looks at a test that goes on.
SOON = 1.0


def components() -> list[Any]:
    """Draw the panel's parts in the order of `values`: run id, words, the chart and its place, three buttons, timer."""
    lead = "Trains a throwaway copy at rising rates and shows where the loss falls fastest. Takes seconds to minutes."
    shell.html(f'<p class="ps-under">{lead}</p>')
    run, timer = gr.State(""), gr.Timer(SOON, active=False)
    said = shell.html(elem_id="train-rate-state")
    with gr.Column(visible=False, min_width=0) as place:
        chart = plots.figure(elem_id="train-rate-chart", label="Loss at each learning rate")
    with parts.toolbar("train-rate-actions"):
        find = gr.Button("Find a learning rate", elem_id="train-rate-find", size="sm")
        stop = gr.Button("Stop", elem_id="train-rate-stop", size="sm", visible=False)
        use = gr.Button("Use this rate", elem_id="train-rate-use", size="sm", variant="primary", visible=False)
    return [run, said, place, chart, find, stop, use, timer]


def values(user: User, run_id: str) -> list[Any]:
    """Return a value for each of `components`: how the test goes, or that there is none."""
    run = parts.found(lambda: runs.get(user, run_id)) if run_id else None
    if run is None:
        return ["", "", gr.Column(visible=False), plots.blank("Loss at each learning rate"),
                gr.Button(interactive=True), gr.Button(visible=False), gr.Button(visible=False), gr.Timer(active=False)]
    ended = run.state in runs.ENDED
    curves = {curve.name: curve for curve in runs.curves(user, [run.id], names=[LOSS, RATE])}
    return [run.id, _said(run), gr.Column(visible=True), figure(run, curves), gr.Button(interactive=ended),
            gr.Button(visible=not ended), gr.Button(visible=suggested(run) is not None),
            gr.Timer(SOON, active=not ended)]


def suggested(run: Run) -> float | None:
    """Return the learning rate that a finished test suggests."""
    rate = ((run.result or {}).get("rate_test") or {}).get("suggested")
    return float(rate) if isinstance(rate, int | float) else None


def draft_of(user: User, run_id: str) -> Draft:
    """Return the draft of a stored run to change and start again; of a test of rates, the run with its suggestion."""
    draft, rate = from_spec(runs.duplicate_spec(user, run_id)), suggested(runs.get(user, run_id))
    return with_rate(draft, rate) if rate is not None else draft


def with_rate(draft: Draft, rate: float) -> Draft:
    """Return the draft with another learning rate."""
    training = dict(draft.values.get("training", {})) | {"learning_rate": rate}
    return replace(draft, values=dict(draft.values) | {"training": training})


def figure(run: Run, curves: dict[str, Curve]) -> plots.Figure:
    """Return the loss at each rate, as it was and smoothed, with a mark at the suggested rate."""
    loss, rate = curves.get(LOSS), curves.get(RATE)
    if loss is None or rate is None:
        return plots.blank("Loss at each learning rate", "The first updates are on their way.")
    at = dict(zip(rate.steps, rate.last, strict=True))
    known = [(tried_at, value) for step, value in zip(loss.steps, loss.last, strict=True)
             if value is not None and (tried_at := at.get(step)) is not None]
    tried, losses = [point[0] for point in known], [point[1] for point in known]
    smoothed = rates.smooth(losses, _updates(run))
    made = plots.lines({"each update": (tried, losses), "smoothed": (tried, smoothed)},
                       label="Loss at each learning rate", x_title="learning rate", y_title="loss",
                       colours={"each update": 8, "smoothed": 0})
    made["layout"]["xaxis"] |= {"type": "log", "exponentformat": "power", "dtick": 1}
    if len(tried) > 1:
        # The axis of the whole test from the start, so that the curve grows into it.
        first, last = math.log10(tried[0]), math.log10(tried[-1])
        made["layout"]["xaxis"]["range"] = [first, first + (last - first) / (len(tried) - 1) * (_updates(run) - 1)]
    if smoothed:
        # What comes after the blow-up would press the rest to the ground.
        low, fall = min(smoothed), max(smoothed[0] - min(smoothed), 0.02 * abs(smoothed[0]))
        made["layout"]["yaxis"]["range"] = [max(0.0, low - 0.5 * fall), low + 2.5 * fall]
    if (best := suggested(run)) is not None:
        made["layout"]["shapes"] = [{"type": "line", "x0": best, "x1": best, "yref": "paper", "y0": 0, "y1": 1,
                                     "line": {"color": "var(--ps-accent)", "width": 2, "dash": "dash"}}]
        made["layout"]["annotations"] = [{"x": math.log10(best), "yref": "paper", "y": 1, "text": f"{best:g}",
                                          "showarrow": False, "xanchor": "right", "xshift": -6, "yanchor": "top",
                                          "font": {"color": "var(--ps-accent-ink)"}}]
    return made


def result(run: Run) -> str:
    """Return what a test came to, in a sentence, and the way to use it; "" while it goes on or for other runs."""
    found: dict[str, Any] = (run.result or {}).get("rate_test") or {}
    if not found:
        return ""
    best = suggested(run)
    lead = f"Suggested learning rate: {best:g}" if best is not None else "No rate can be suggested"
    actions = [("Use this rate", f"/train?from={run.id}")] if best is not None else []
    return cards.card(lead, f"<p>{esc(found.get('why'))}</p>", actions=actions)


def _said(run: Run) -> str:
    page = f'<a href="/runs?run={esc(run.id)}">Its page</a>'
    if run.state == "failed":
        return cards.error(run.error or {}, run.spec)
    if run.state not in runs.ENDED:
        if not run.total_steps or not run.step:
            return cards.progress(None, "Waiting for a worker" if run.state == "queued" else "Getting ready")
        return cards.progress(run.step / run.total_steps, f"{run.step} of {run.total_steps} rates", run.eta)
    found: dict[str, Any] = (run.result or {}).get("rate_test") or {}
    best = suggested(run)
    lead = f"<b>Suggested: {best:g}.</b> " if best is not None else ""
    return f'<p role="status">{lead}{esc(found.get("why", "It was stopped."))} {page}</p>'


def _updates(run: Run) -> int:
    return RateTest.model_validate(run.spec.get("rate_test") or {}).updates
