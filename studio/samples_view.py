"""The part "What it writes" of a run's page: the same prompts, answered at every evaluation, under one slider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from db import runs
from studio import parts, service, session, shell
from studio.text import count
from studio.widgets import asset, drawn_by

TITLE = "What it writes"
#: Seconds between two looks while the run goes on.
SOON = 3.0
Value = dict[str, Any]
NOTHING: Value = {"steps": [], "prompts": []}
BEFORE = "Before training"


def part(elem_id: str) -> None:
    """Draw the part for the run in the page's address; it looks after itself, and is not there without samples."""
    box = gr.HTML(NOTHING, html_template="", apply_default_css=False, padding=False, elem_id=elem_id, label=TITLE,
                  elem_classes=["ps-widget", "ps-samples"], head=f'<script src="{asset("samples.js")}"></script>',
                  js_on_load=drawn_by("studioSamples", "samples"))
    timer, seen = gr.Timer(SOON, active=False), gr.State(-1)

    def look(known: int, request: gr.Request) -> tuple[Any, int, gr.Timer]:
        user, run_id = session.user(request), shell.query(request, "run")
        run = parts.found(lambda: runs.get(user, run_id)) if run_id else None
        if run is None:
            return gr.skip(), known, gr.Timer(active=False)
        entries = service.samples(user, run_id)
        timer = gr.Timer(SOON, active=run.state not in runs.ENDED)
        return gr.skip() if len(entries) == known else shown(entries, run.total_steps), len(entries), timer

    def begin(request: gr.Request) -> tuple[Any, int, gr.Timer]:
        return look(-1, request)

    shell.load(begin, None, [box, seen, timer])
    shell.on([timer.tick], look, [seen], [box, seen, timer], trigger_mode="once")


def shown(entries: Sequence[Mapping[str, Any]], total: int | None) -> Value:
    """Return the value of the component: what was written to each prompt of the last evaluation, step by step."""
    if not entries:
        return NOTHING
    of = f" of {count(total)}" if total else ""
    steps = [BEFORE if not entry["step"] else f"After update {count(entry['step'])}{of}" for entry in entries]
    texts = [{sample["row"]: sample["written"] for sample in entry["samples"]} for entry in entries]
    prompts = [{"input": sample["input"], "expected": sample["expected"],
                "written": [by_row.get(sample["row"]) for by_row in texts]} for sample in entries[-1]["samples"]]
    return {"title": TITLE, "steps": steps, "prompts": prompts, "how": (
        "The same prompts of the evaluation rows, answered at every evaluation with the likeliest word each time. "
        "Words that the evaluation before did not write are marked.")}
