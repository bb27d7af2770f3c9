"""The part "How good it is" of a run's page: metrics with intervals, slices, charts and what was forgotten."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import runs
from engine.evaluation.report import Evaluation, Forgetting, Measured, Slice
from studio import cards, evaluation_charts, parts, service, session, shell
from studio.measures import interval, measured, score, title
from studio.text import count, plural
from studio.widgets import asset, drawn_by

TITLE = "How good it is"
#: Seconds between two looks while the run goes on.
SOON = 3.0
#: Slices seen at once; the others open on demand.
SLICES = 12
Value = dict[str, Any]
NOTHING: Value = {"sections": []}


def part(elem_id: str) -> None:
    """Draw the part for the run in the page's address; it looks after itself, and is not there before an evaluation."""
    box = gr.HTML(NOTHING, html_template="", apply_default_css=False, padding=False, elem_id=elem_id, label=TITLE,
                  elem_classes=["ps-widget", "ps-insight"], head=f'<script src="{asset("insight.js")}"></script>',
                  js_on_load=drawn_by("studioInsight", "sections"))
    timer = gr.Timer(SOON, active=False)

    def look(request: gr.Request) -> tuple[Any, gr.Timer]:
        user, run_id = session.user(request), shell.query(request, "run")
        run = parts.found(lambda: runs.get(user, run_id)) if run_id else None
        if run is None:
            return gr.skip(), gr.Timer(active=False)
        told = parts.found(lambda: service.evaluation(user, run_id))
        return shown(told) if told else NOTHING, gr.Timer(SOON, active=run.state not in runs.ENDED)

    shell.load(look, None, [box, timer])
    shell.on([timer.tick], look, None, [box, timer], trigger_mode="once")


def shown(told: Evaluation) -> Value:
    """Return the value of the component."""
    sections = [_metrics(told), *_forgotten(told.forgetting), *_slices(told), *evaluation_charts.sections(told.charts)]
    return {"title": TITLE, "html": "", "sections": sections}


def _metrics(told: Evaluation) -> Value:
    rows = [(title(name), score(name, one.value), interval(name, one.low, one.high) or "–")
            for name, one in told.metrics.items()]
    made = [{"title": "", "html": cards.table(["Metric", "Value", f"{told.level:.0%} interval"], rows, "Final metrics",
                                              numeric=[1, 2])}]
    settled = " ".join(f"{title(name)} {score(name, value)} was found on these rows and is used in the playground."
                       for name, value in told.settled.items() if isinstance(value, int | float))
    return {"name": "metrics", "title": "Final metrics", "note": settled, "html": "", "parts": made, "how": (
        f"Measured on {count(told.rows)} evaluation rows. Other rows of the same kind would give other numbers: the "
        f"interval holds {told.level:.0%} of what came of drawing such rows again and again (bootstrap). Where every "
        "draw was the same, a share of rows has Wilson's interval, and a dash stands for other metrics.")}


def _forgotten(found: Forgetting | None) -> list[Value]:
    if found is None:
        return []
    rows = [(title(found.measure), score(found.measure, found.before), score(found.measure, found.after),
             _signed(found.measure, found.change))]
    table = cards.table(["Measure", "Before", "After", "Change"], rows, "Forgetting", numeric=[1, 2, 3])
    better = "higher" if found.greater_is_better else "lower"
    return [{"name": "forgetting", "title": "What was forgotten", "note": found.note, "html": "",
             "parts": [{"title": "", "html": table}],
             "how": f"The same measure on {found.on} before training and after it; {better} is better."}]


def _signed(name: str, value: float | None) -> str:
    return "–" if value is None else ("+" if value > 0 else "") + score(name, value)


def _slices(told: Evaluation) -> list[Value]:
    if not told.slices.items:
        return []
    name = told.slices.metric
    others = [other for other in (told.metric, "loss") if other != name
              and any(other in one.metrics for one in told.slices.items)]
    columns = ["By", "Value", "Rows", title(name), *(title(other) for other in others)]
    rows = [_slice(one, name, others) for one in told.slices.items]
    numeric = list(range(2, len(columns)))
    made = [{"title": "", "html": cards.table(columns, rows[:SLICES], "Slices, the worst first", numeric=numeric)}]
    if len(rows) > SLICES:
        rest = cards.table(columns, rows[SLICES:], "The other slices", numeric=numeric)
        made.append({"title": "", "html": cards.more(f"The other {plural(len(rows) - SLICES, 'slice')}", rest)})
    return [{"name": "slices", "title": "Where it is good and where it is not", "note": "", "html": "", "parts": made,
             "how": "The evaluation rows in parts: by label, by length and by columns with few values. The worst come "
                    "first; few rows make wide intervals."}]


def _slice(one: Slice, name: str, others: list[str]) -> tuple[str, ...]:
    sorted_by = measured(name, Measured(value=one.metrics.get(name), low=one.low, high=one.high))
    return one.title, one.value, count(one.rows), sorted_by, *(score(other, one.metrics.get(other)) for other in others)
