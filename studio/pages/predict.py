"""Predict: upload a file and get it back with predictions; look at what came of it, and at evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from db import adapters, batches, datasets
from db.tables import Batch
from db.users import User
from engine.errors import Refused
from studio import (
    batch_result,
    batch_snippets,
    batch_view,
    cards,
    data_view,
    form,
    login,
    parts,
    play_who,
    service,
    session,
    shell,
)
from studio.batch_view import SETTINGS, Draft
from studio.data_detail import ours
from studio.pages import Page
from studio.widgets import asset, drawn_by

PAGE = Page("predict", "Predict", icon="M5 3h7l3 3v4M5 3v14h5M8 8h4M8 11h2M13 13l4 2.5-4 2.5z")

SOON = 1
EARLIER = 20


class NobodyChosen(Refused):
    """No adapter is chosen."""

    kind = "nobody_chosen"
    try_this = "Choose who is to predict the rows."


class NoRows(Refused):
    """There are no rows to predict."""

    kind = "no_rows"
    try_this = "Upload a file, or choose a dataset."


def build() -> None:
    """Draw the page: the form and what was made before, or, with an id in the address, one batch."""
    lead = "Upload a file and get it back with a prediction for every row."
    with shell.frame(PAGE, title="Predict", lead=lead):
        problem, lost = shell.html(elem_id="predict-error"), shell.html(elem_id="predict-lost")
        with gr.Column(visible=False, elem_id="predict-one") as one:
            _one_part(problem)
        with gr.Column(visible=False, elem_id="predict-new") as new:
            _form_part(problem)
        shell.load(_which, None, [new, one, lost])


def _which(request: gr.Request) -> Any:
    id = shell.query(request, "batch")
    return parts.which(id, lambda: batches.get(session.user(request), id), ("All predictions", "/predict"))


# -- the form -------------------------------------------------------------------------------------------------------


def _form_part(problem: gr.HTML) -> None:
    empty = shell.html(elem_id="predict-empty")
    with gr.Column(visible=False, elem_id="predict-form") as choosing:
        with shell.section("Who predicts", elem_id="predict-model"):
            who = shell.picker(label="Adapter", elem_id="predict-who")
        with shell.section("Which rows", "csv, tsv, json, jsonl, parquet, xlsx, plain text or a zip of images. The "
                           "answer's column is not needed.", elem_id="predict-rows"):
            file = gr.File(label="File with rows", elem_id="predict-file", type="filepath", height=140)
            dataset = shell.picker(label="Or a dataset", elem_id="predict-dataset")
            prepare = gr.Checkbox(True, label="Prepare these rows as the adapter's rows were", visible=False,
                                  elem_id="predict-prepare")
            said = shell.html(elem_id="predict-said")
            columns = parts.columns("predict-columns", "First rows")
        with shell.section("How", elem_id="predict-how"):
            settings = form.settings([], elem_id=SETTINGS)
            format = gr.Radio([("csv", "csv"), ("parquet", "parquet")], value="csv", label="Format of the file",
                              elem_id="predict-format")
            holding = shell.html(elem_id="predict-holding")
            start = gr.Button("Predict every row", variant="primary", elem_id="predict-start")
            script = parts.kept("predict-script")
    earlier = parts.kept("predict-earlier", ["ps-stack"])
    where = shell.address("predict-address")
    view = [who, dataset, columns, said, settings, prepare, holding]
    rows = [who, dataset, file, prepare]
    wanted = [*rows, columns, settings, format]
    opened = shell.load(_open, None, [choosing, empty, earlier, *view], card=problem)
    changed = shell.on([who.input, dataset.input, file.upload, file.clear, prepare.input], _changed, rows,
                       [where, *view], card=problem, busy="minimal", trigger_mode="always_last")
    named = shell.on([columns.input], _named, [*rows, columns], [said], card=problem, trigger_mode="always_last")
    for event in (opened, changed, named):
        event.then(_script, wanted, [script], show_progress="hidden", api_visibility="private")
    shell.on([settings.input, format.input], _script, wanted, [script], trigger_mode="always_last")
    shell.on([start.click], _start, wanted, [where], card=problem, busy="minimal")


def _open(request: gr.Request) -> tuple[Any, ...]:
    user, query = session.user(request), shell.queries(request)
    if query.get("batch"):
        return (gr.skip(),) * 10
    options = [one["value"] for one in batch_view.players(user)]
    wanted = query.get("adapter") or query.get("base") or ""
    draft = Draft(wanted if wanted in options else next(iter(options), ""), query.get("dataset", ""))
    nothing = "" if options else cards.empty(
        "Nobody can predict yet", "Train an adapter, then let it predict files here.",
        [("Start with sample data", "/"), ("Train", "/train")])
    nothing = parts.absent([("adapter", wanted, wanted in options),
                            ("dataset", draft.dataset, bool(parts.found(
                                lambda: datasets.get(user, draft.dataset))))]) + nothing
    earlier = batch_result.earlier(batches.find(user, limit=EARLIER))
    return gr.Column(visible=bool(options)), nothing, earlier, *_view(user, draft)


def _draft(who: Any, dataset: Any, file: str | None, prepare: bool) -> Draft:
    return Draft(shell.chosen(who) or "", shell.chosen(dataset) or "", file or "", prepare)


def _changed(who: Any, dataset: Any, file: str | None, prepare: bool, request: gr.Request) -> tuple[Any, ...]:
    draft = _draft(who, dataset, file, prepare)
    return draft.url(), *_view(session.user(request), draft)


def _view(user: User, draft: Draft) -> tuple[Any, ...]:
    """Return values for model, dataset, columns, what is said of them, settings, preparing, and holding."""
    who = batch_view.asked(user, draft.who)
    rows, said = batch_view.columns(user, draft, who)
    state, some = batch_view.settings(user, who)
    prepares = bool(rows or said) and bool(batch_view.steps(user, draft, who))
    return (*batch_view.picks(user, draft, who), rows, said, gr.HTML(state, visible=some),
            gr.Checkbox(visible=prepares), play_who.held(user, who.adapters if who is not None else []))


def _named(who: Any, dataset: Any, file: str | None, prepare: bool, columns: Any, request: gr.Request) -> str:
    """Return what is said of the rows with the columns that a person has chosen."""
    user, draft = session.user(request), _draft(who, dataset, file, prepare)
    asked = batch_view.asked(user, draft.who)
    return batch_view.columns(user, draft, asked, data_view.chosen_columns(columns))[1]


def _script(who: Any, dataset: Any, file: str | None, prepare: bool, columns: Any, settings: Any, format: str,
            request: gr.Request) -> str:
    """Return the commands that do what the button does, nothing while something is missing."""
    user, draft = session.user(request), _draft(who, dataset, file, prepare)
    asked, named = batch_view.asked(user, draft.who), data_view.chosen_columns(columns)
    if asked is None or not (draft.file or draft.dataset) or asked.kind.lacks(named):
        return ""
    wanted = batch_view.wanted(user, draft, asked, named, _options(asked, settings), format)
    return batch_snippets.shown(wanted, play_who.address(request), signed=login.enabled())


def _options(asked: batch_view.Asked, settings: Any) -> dict[str, Any]:
    return form.values(settings).get("options", {}) if asked.kind.asking.model_fields else {}


def _start(who: Any, dataset: Any, file: str | None, prepare: bool, columns: Any, settings: Any, format: str,
           request: gr.Request) -> str:
    user = session.user(request)
    asked = batch_view.asked(user, shell.chosen(who) or "")
    if asked is None:
        raise NobodyChosen("adapter")
    chosen, path = shell.chosen(dataset), Path(file) if file else None
    if path is None and not chosen:
        raise NoRows("file")
    rows: dict[str, Any] = {"dataset_id": chosen} if path is None else {
        "path": path, "filename": path.name, "move": ours(path)}
    made = service.predict_file(user, adapter_id=asked.adapter.id if asked.adapter else None, model=asked.model,
                                task=asked.task, columns=data_view.chosen_columns(columns),
                                options=_options(asked, settings), prepare=prepare,
                                format="parquet" if format == "parquet" else "csv", **rows)
    return f"/predict?batch={made.id}"


# -- one batch ------------------------------------------------------------------------------------------------------


def _one_part(problem: gr.HTML) -> None:
    head = shell.html(elem_id="batch-head")
    with parts.toolbar("batch-actions"):
        stop = gr.Button("Stop, and keep the rows done", elem_id="batch-stop", size="sm", visible=False)
        delete = shell.confirm("Delete", question="Delete this?", yes="Delete it", elem_id="batch-delete",
                               detail="The file with the predictions goes; adapter and dataset stay.", visible=False)
    state = parts.kept("batch-state")
    rows = parts.kept("batch-rows")
    report = gr.HTML(batch_result.NOTHING, html_template="", apply_default_css=False, padding=False,
                     elem_id="batch-report", label="How good it is", elem_classes=["ps-widget", "ps-insight"],
                     head=f'<script src="{asset("insight.js")}"></script>',
                     js_on_load=drawn_by("studioInsight", "sections"))
    beside = parts.kept("batch-beside")
    where = shell.address("batch-address")
    timer = gr.Timer(SOON, active=False)
    shown = [head, state, rows, report, beside, stop, delete, timer]
    shell.load(_look, None, shown, card=problem)
    shell.on([timer.tick], _look, None, shown, card=problem, trigger_mode="once", clears=False)
    shell.on([stop.click], _stop, None, shown, card=problem)
    shell.on([delete.click], _delete, None, [where], card=problem)


def _look(request: gr.Request) -> tuple[Any, ...]:
    user, id = session.user(request), shell.query(request, "batch")
    row = parts.found(lambda: batches.get(user, id)) if id else None
    return _shown(user, row) if row is not None else (*[gr.skip()] * 7, gr.Timer(active=False))


def _shown(user: User, row: Batch) -> tuple[Any, ...]:
    working = row.state not in batches.ENDED
    done = row.state == "ready" and row.kind == "evaluate"
    others = service.evaluated_on(user, row) if done else []
    beside = cards.card("Adapters on the same rows", batch_result.table(others, "Adapter", "Adapters on the same rows")
                        ) if len(others) > 1 else ""
    adapter = parts.found(lambda: adapters.get(user, row.adapter_id or "")) if done else None
    label = "Stop, and keep the rows done" if row.kind == "predict" else "Stop"
    said = batch_result.learned(row, adapter) + batch_result.status(row)
    return (batch_result.head(row), said, batch_result.rows(row),
            batch_result.report(row) if done else gr.skip(), beside, gr.Button(label, visible=working),
            gr.HTML(visible=not working), gr.Timer(active=working))


def _stop(request: gr.Request) -> tuple[Any, ...]:
    user = session.user(request)
    return _shown(user, service.cancel_batch(user, shell.query(request, "batch")))


def _delete(request: gr.Request) -> str:
    service.delete_batch(session.user(request), shell.query(request, "batch"))
    return "/predict"
