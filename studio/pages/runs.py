"""Runs: what is training and what came of it; `?run=…` shows one of them live."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import runs
from db.tables import Run
from engine import methods
from studio import (
    cards,
    error_grid,
    evaluation_view,
    insight_view,
    measures,
    parts,
    run_facts,
    run_view,
    samples_view,
    service,
    session,
    shell,
)
from studio.pages import Page
from studio.text import ago, plural, short

PAGE = Page("runs", "Runs", icon="M3 16.5h14M4.5 13l3.5-4 3 2.5L16 5M12.5 5H16v3.5")

PAGE_SIZE = 25
#: Seconds between two looks while something trains, and while nothing does.
SOON, LATER = 1.5, 10
#: What takes the question back whether a run is to stop.
GO_ON = "Go on training"
STATES = [("Waiting", "queued"), ("Starting", "starting"), ("Running", "running"), ("Stopping", "stopping"),
          ("Interrupted", "interrupted"), ("Succeeded", "succeeded"), ("Failed", "failed"), ("Stopped", "cancelled")]


def build() -> None:
    """Draw the list and the page of one run; the URL decides which of them is seen."""
    with shell.frame(PAGE, title="Runs", lead="What is training, and what came of it."):
        problem, lost = shell.html(elem_id="runs-error"), shell.html(elem_id="runs-lost")
        with gr.Column(elem_id="runs-listing", visible=False) as listing:
            _list_part(problem)
        with gr.Column(elem_id="run", visible=False) as detail:
            _detail_part(problem)
        shell.load(_which, None, [listing, detail, lost])


def _which(request: gr.Request) -> Any:
    one = shell.query(request, "run")
    return parts.which(one, lambda: runs.get(session.user(request), one), ("All runs", "/runs"))


# -- the list -------------------------------------------------------------------------------------------------------


def _list_part(problem: gr.HTML) -> None:
    with gr.Row(elem_classes=["ps-filters"]):
        search = gr.Textbox(label="Search", placeholder="Name, model, dataset, method", elem_id="runs-search",
                            max_lines=1, scale=2)
        states = gr.Dropdown(STATES, label="State", multiselect=True, elem_id="runs-states", scale=1)
        chosen = gr.Dropdown([(kind.card.title, name) for name, kind in methods.every().items()], label="Method",
                             multiselect=True, elem_id="runs-methods", scale=1)
    table = parts.kept("runs-list", ["ps-stack"])
    more = gr.Button("Show more", elem_id="runs-more", size="sm", visible=False)
    shown, timer = gr.State(PAGE_SIZE), gr.Timer(SOON, active=False)
    inputs, outputs = [search, states, chosen, shown], [table, more, timer]
    shell.load(_listing, inputs, outputs, card=problem)
    shell.on([search.change, states.change, chosen.change], _listing, inputs, outputs, card=problem)
    shell.on([timer.tick], _listing, inputs, outputs, card=problem, trigger_mode="once", clears=False)
    more.click(lambda number: number + PAGE_SIZE, shown, shown, api_visibility="private").then(
        shell.safely(_listing, outputs=3), inputs, outputs, api_visibility="private")


def _listing(search: str, states: list[str] | None, chosen: list[str] | None, shown: int, request: gr.Request) -> Any:
    if shell.query(request, "run"):
        return gr.skip(), gr.skip(), gr.Timer(active=False)
    user = session.user(request)
    filters: dict[str, Any] = {"search": search or "", "states": states or None, "methods": chosen or None}
    found = runs.find(user, **filters, limit=shown + 1)
    counts = runs.counts(user)
    drawn = _table(found[:shown], sum(counts.values()), bool(search or states or chosen))
    active = any(counts.get(state) for state in runs.ACTIVE)
    return drawn, gr.Button(visible=len(found) > shown), gr.Timer(SOON if active else LATER, active=True)


def _table(found: list[Run], all_of_them: int, filtered: bool) -> str:
    if not found and filtered:
        return cards.empty("Nothing matches", f"None of {plural(all_of_them, 'run')} matches the search and filters.")
    if not found:
        return cards.empty("No runs yet", "A run trains one method on one dataset. Start one, and watch it here.",
                           [("Start with sample data", "/"), ("Set up a run", "/train")])
    rows = [(run_view.link(run), cards.badge(run.state), run_view.how_far(run), _method(run),
             measures.scored(run.metric_name, run.metric_value),
             short(run.trained_parameters), ago(run.created_at)) for run in found]
    return cards.table(["Run", "State", "Progress", "Method", "Score", "Trained", "Started"], rows, "Runs",
                       numeric=[5], html_columns=[0, 1, 2])


def _method(run: Run) -> str:
    kind = methods.every().get(run.method)
    return kind.card.title if kind else run.method


# -- one run --------------------------------------------------------------------------------------------------------


def _detail_part(problem: gr.HTML) -> None:
    head = shell.html(elem_id="run-head")
    with parts.toolbar("run-actions"):
        save = shell.confirm("Stop and keep the result", question="Stop this run and keep what it learned so far?",
                             detail="It finishes its current update, is evaluated, and its adapter is saved.",
                             no=GO_ON, danger=False, elem_id="run-stop-save", visible=False)
        discard = shell.confirm("Stop and discard", question="Stop this run without keeping an adapter?",
                                detail="Its curves, log and checkpoints stay, and it can be resumed.",
                                no=GO_ON, elem_id="run-stop-discard", visible=False)
        resume = gr.Button("Resume", elem_id="run-resume", size="sm", visible=False)
        compare = shell.html(elem_id="run-compare")
        rename = parts.rename("run-rename")
        delete = shell.confirm("Delete", question="Delete this run?", yes="Delete the run",
                               detail="Its curves, log and checkpoints go. A published adapter stays.",
                               elem_id="run-delete", visible=False)
    why = parts.kept("run-why")
    live = shell.html(elem_id="run-live")
    figures = _curves()
    samples_view.part("run-samples")
    evaluation_view.part("run-evaluation")
    error_grid.part("run-errors")
    where = parts.chart("Where the trained parameters are", "run-where")
    insight_view.part("run-insight", "run")
    facts = parts.kept("run-facts")
    gone = shell.address("run-address")
    seen, timer = gr.State(""), gr.Timer(SOON, active=False)
    outputs = [head, compare, why, live, *figures, where, facts, save, discard, resume, delete, rename, seen, timer]
    shell.load(_open, None, outputs, card=problem)
    shell.on([timer.tick], _live, [seen], outputs, card=problem, trigger_mode="once", clears=False)
    for button, act in ((save.click, _stop_save), (discard.click, _stop_discard), (resume.click, _resume)):
        shell.on([button], act, None, outputs, card=problem, busy="minimal")
    shell.on([delete.click], _delete, None, [gone], card=problem)
    shell.on([rename.submit], _rename, [rename], outputs, card=problem)


def _curves() -> list[gr.HTML]:
    """Draw the places of the six charts, in the order of `run_view.figures`."""
    made: list[gr.HTML] = []
    pairs = [("Loss", "run-loss"), ("Evaluation", "run-quality"), ("Learning rate", "run-rate"),
             ("Gradient norm", "run-gradient"), ("Throughput", "run-speed"), ("Memory", "run-memory")]
    for left in range(0, len(pairs), 2):
        with gr.Row(elem_classes=["ps-halves"]):
            made += [parts.chart(title, elem_id) for title, elem_id in pairs[left:left + 2]]
    return made


#: How many outputs one run's page has.
VIEW = 19


def _open(request: gr.Request) -> Any:
    return _live("", request)


def _live(seen: str, request: gr.Request) -> Any:
    """Draw one run; nothing is sent when nothing has changed since `seen`, nothing is asked once it has ended."""
    run_id = shell.query(request, "run")
    user = session.user(request)
    run = parts.found(lambda: runs.get(user, run_id)) if run_id else None
    if run is None:
        return *[gr.skip()] * (VIEW - 1), gr.Timer(active=False)
    timer = gr.Timer(SOON, active=run.state not in runs.ENDED)
    phase = f"{run.state} {run.examples} {run.total_steps} {run.name}"
    state = f"{run.journal_seq} {run.token} {run.eta} {run.step}\n{phase}"
    if state == seen:
        return *[gr.skip()] * (VIEW - 1), timer
    curves = {curve.name: curve for curve in runs.curves(user, [run_id])}
    settled = phase == seen.partition("\n")[2]
    told = parts.found(lambda: service.evaluation(user, run_id)) if run.examples else None
    return (run_view.head(user, run), run_view.beside(run), run_facts.why(user, run),
            run_view.live(run, told, curves.get("train/loss")), *run_view.figures(run, curves),
            gr.skip() if settled else run_view.where(user, run), run_facts.facts(user, run), *_buttons(run),
            {"name": run.name}, state, timer)


def _buttons(run: Run) -> tuple[Any, ...]:
    going = run.state in ("starting", "running")
    return (gr.HTML(visible=going), gr.HTML(visible=run.state in runs.ACTIVE),
            gr.Button(visible=run_view.resumable(run)), gr.HTML(visible=run.state in runs.ENDED))


def _stop_save(request: gr.Request) -> Any:
    service.stop_run(session.user(request), shell.query(request, "run"), "save")
    return _live("", request)


def _stop_discard(request: gr.Request) -> Any:
    service.stop_run(session.user(request), shell.query(request, "run"), "discard")
    return _live("", request)


def _resume(request: gr.Request) -> Any:
    service.resume_run(session.user(request), shell.query(request, "run"))
    return _live("", request)


def _delete(request: gr.Request) -> str:
    service.delete_run(session.user(request), shell.query(request, "run"))
    return "/runs"


def _rename(value: Any, request: gr.Request) -> Any:
    runs.rename(session.user(request), shell.query(request, "run"), str((value or {}).get("name", "")))
    return _live("", request)
