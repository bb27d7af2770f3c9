"""The head and the overview of a dataset's page: what is in it, which column plays which part, what it is judged on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from db import datasets, models
from db.settings import settings
from db.tables import Dataset
from db.users import User
from engine import tasks
from engine.errors import Refused
from studio import data_counts, data_samples, data_view, deletions, parts, service, session, shell
from worker import client

SHOWN = 50
#: Seconds between two looks while something is being read.
SOON = 1
#: How many outputs the head and the overview have.
VIEW = 26


#: The tabs there are; what an address says else opens the overview.
TABS = ("overview", "rows", "prepare", "problems", "tokens", "versions")
#: Keeps the tab that is open in the address, so that a refresh shows it again.
REMEMBER = """() => setTimeout(() => {
  const tab = document.querySelector('#dataset-tabs [role=tab][aria-selected=true]')?.dataset.tabId;
  const now = new URLSearchParams(location.search);
  if (tab && tab !== (now.get('tab') ?? 'overview'))
    history.replaceState(null, '', `${location.pathname}?dataset=${now.get('dataset')}`
      + (tab === 'overview' ? '' : `&tab=${tab}`));
}, 0)"""


class NoFile(Refused):
    """No file is chosen."""

    kind = "no_file"
    try_this = "Choose a file first."


def ours(path: Path) -> bool:
    """Tell whether a file lies where uploads arrive, so that it may be moved instead of copied."""
    return path.is_relative_to(Path(tempfile.gettempdir())) or path.is_relative_to(settings().data_dir)


@contextmanager
def page(problem: gr.HTML, go: gr.HTML) -> Iterator[gr.Tabs]:
    """Draw the head and the tabs of one dataset's page, the overview first; what is made inside follows it.

    Only tabs may be made there: timers and states belong into one, for the tabs count whatever stands beside them.
    """
    head = shell.html(elem_id="dataset-head")
    actions = _actions()
    with gr.Tabs(elem_id="dataset-tabs", elem_classes=["ps-tabs"], overflow_behavior="wrap") as tabs:
        with gr.Tab("Overview", id="overview") as overview:
            shown = _overview() | {"tab": overview}
        yield tabs
    shell.load(_tab, None, [tabs])
    tabs.select(None, None, None, js=REMEMBER, api_visibility="private")
    _wire(problem, go, head, actions, shown)


def _tab(request: gr.Request) -> gr.Tabs:
    wanted = shell.query(request, "tab")
    return gr.Tabs(selected=wanted if wanted in TABS else "overview")


def _actions() -> dict[str, Any]:
    with parts.toolbar("dataset-actions"):
        steps = shell.html(elem_id="dataset-steps")
        cancel = gr.Button("Cancel", elem_id="dataset-cancel", visible=False, size="sm")
        again = gr.Button("Read it again", elem_id="dataset-again", visible=False, size="sm")
        header = gr.Button("", elem_id="dataset-header", visible=False, size="sm")
        part = shell.picker(label="Read this of it", elem_id="dataset-part", visible=False)
        rename = parts.rename("dataset-rename")
        delete = shell.confirm("Delete", question="Delete this data?", yes="Delete the data", elem_id="dataset-delete",
                               detail="The file and what was read from it go.")
    return {"steps": steps, "cancel": cancel, "again": again, "header": header, "part": part, "rename": rename,
            "delete": delete}


def _overview() -> dict[str, Any]:
    numbers = shell.html(elem_id="dataset-numbers")
    noticed = parts.kept("dataset-findings")
    with gr.Column(elem_classes=["ps-section"], elem_id="dataset-roles", visible=False) as section:
        shell.html('<h2 class="ps-card-title">Which column plays which part</h2>')
        guess = shell.html(elem_id="dataset-guess")
        with gr.Row(elem_classes=["ps-filters"]):
            task = shell.picker(label="Task", elem_id="dataset-task")
            kind = shell.picker(label="Kind of label", elem_id="dataset-problem")
        table = parts.columns("dataset-preview", "First rows")
        legend = shell.html(elem_id="dataset-legend")
        confirm = gr.Button("Confirm these columns", variant="primary", elem_id="dataset-confirm", visible=False)
    with gr.Row(elem_classes=["ps-halves"], elem_id="dataset-charts", visible=False) as charts:
        labels = parts.chart("Labels", "dataset-labels")
        with gr.Column(min_width=0) as measured:
            lengths = parts.chart("Lengths", "dataset-lengths")
            model = shell.picker(label="Count in the tokens of", elem_id="dataset-model",
                                 help="Shows how much is longer than that model takes.")
            over = shell.html(elem_id="dataset-over")
    with gr.Column(elem_classes=["ps-section"], elem_id="dataset-eval", visible=False) as judge:
        about = shell.html(elem_id="dataset-eval-about")
        with gr.Row(elem_classes=["ps-beside"]):
            file = gr.File(label="A file with the same columns", elem_id="dataset-eval-file", type="filepath",
                           height=150)
            use = gr.Button("Evaluate on this file", elem_id="dataset-eval-submit")
    data_samples.part()
    return {"numbers": numbers, "noticed": noticed, "section": section, "guess": guess, "task": task, "kind": kind,
            "table": table, "legend": legend, "confirm": confirm, "charts": charts, "labels": labels,
            "measured": measured, "lengths": lengths, "over": over, "judge": judge, "about": about, "model": model,
            "file": file, "use": use}


def _wire(problem: gr.HTML, go: gr.HTML, head: gr.HTML, actions: dict[str, Any], shown: dict[str, Any]) -> None:
    seen, timer = gr.State(""), gr.Timer(SOON, active=False)
    names = ("numbers", "noticed", "section", "guess", "task", "kind", "table", "legend", "confirm", "charts", "labels",
             "measured", "lengths", "over", "judge", "about")
    view = [head, *(actions[name] for name in ("steps", "cancel", "again", "header", "part", "rename", "delete")),
            *(shown[name] for name in names), seen, timer]
    task, kind, table = (shown[name] for name in ("task", "kind", "table"))
    shell.load(_open, None, [*view, shown["model"]], card=problem)
    # Another tab may have changed the rows meanwhile.
    shell.on([timer.tick, shown["tab"].select], _poll, [seen], view, card=problem, trigger_mode="once", clears=False)
    shell.on([task.input], _other_task, [task, table], [kind, table, shown["legend"]], card=problem)
    shell.on([shown["confirm"].click], _confirm, [task, kind, table], view, card=problem, busy="minimal")
    shell.on([shown["use"].click], _evaluate, [shown["file"]], [*view, shown["file"]], card=problem, busy="minimal")
    shell.on([shown["model"].input], _tokens, [shown["model"]], view, card=problem, busy="minimal")
    for name, act in (("cancel", _cancel), ("again", _again), ("header", _header)):
        shell.on([actions[name].click], act, None, view, card=problem)
    shell.on([actions["part"].input], _part, [actions["part"]], view, card=problem)
    shell.on([actions["rename"].submit], _rename, [actions["rename"]], view, card=problem)
    shell.on([actions["delete"].click], _delete, None, [go], card=problem)


def one(request: gr.Request) -> tuple[User, Dataset | None]:
    """Return who asks and the dataset in the URL; None when there is no id in it, or nothing by that id."""
    user, wanted = session.user(request), shell.query(request, "dataset")
    return user, parts.found(lambda: datasets.get(user, wanted)) if wanted else None


def _open(request: gr.Request) -> Any:
    user, row = one(request)
    if row is None:
        return [gr.skip()] * (VIEW + 1)
    return *_poll("", request), data_view.models(models.find(user, states=["ready"]), None)


def _poll(seen: str, request: gr.Request) -> Any:
    """Draw the dataset; nothing is sent when nothing has changed since `seen`."""
    user, row = one(request)
    if row is None:
        return *[gr.skip()] * (VIEW - 1), gr.Timer(active=False)
    beside = datasets.find(user, eval_of_id=row.id, limit=1)
    timer = gr.Timer(SOON, active=data_view.busy(row, beside))
    stamp = f"{row.state} {row.progress} {row.updated_at} {[(one.id, one.state, one.rows) for one in beside]}"
    if stamp == seen:
        return *[gr.skip()] * (VIEW - 1), timer
    parent = datasets.get(user, row.eval_of_id) if row.eval_of_id else None
    found = _preview(user, row)
    ready = row.state == "ready"
    task = row.task or "text_classification"
    return (data_view.head(row, parent, beside), data_view.steps(row), gr.Button(visible=data_view.reading(row)),
            gr.Button(visible=row.state == "failed" and bool(row.original_key or row.origin)), data_view.header(row),
            data_view.part(row), {"name": row.name}, deletions.dataset(user, row, beside),
            data_counts.numbers(row, beside), data_view.findings(row), gr.Column(visible=found is not None),
            data_view.guess(row, parent), data_view.task_picks(task, fixed=not ready or parent is not None),
            *_choices(task, row, found), gr.Button(visible=ready and parent is None),
            gr.Row(visible=bool(row.stats)), data_counts.labels(row),
            gr.Column(visible=tasks.get(task).reads == "text"), data_counts.lengths(row), data_counts.over(row),
            gr.Column(visible=ready and parent is None), data_view.evaluated(beside), stamp, timer)


def _preview(user: User, row: Dataset) -> Any:
    return parts.found(lambda: service.preview(user, row.id, SHOWN))


def _choices(task: str, row: Dataset, found: Any) -> tuple[Any, Any, str]:
    """Return the kind of label, the first rows with the parts of this task, and what the parts mean."""
    fixed = row.state != "ready" or row.eval_of_id is not None
    return (data_view.kind_picks(task, row.options.get("problem"), fixed=fixed),
            data_view.columns(found, task, row.columns, fixed=fixed), "" if fixed else data_view.legend(task))


def _other_task(task: Any, table: Any, request: gr.Request) -> Any:
    user, row = one(request)
    if row is None:
        return [gr.skip()] * 3
    return _choices(shell.chosen(task) or "text_classification", row, _preview(user, row))


def _confirm(task: Any, problem: Any, table: Any, request: gr.Request) -> Any:
    user, wanted = session.user(request), shell.query(request, "dataset")
    name = shell.chosen(task) or "text_classification"
    kind = tasks.get(name)
    columns = data_view.chosen_columns(table)
    options = {key: value for key, value in datasets.get(user, wanted).options.items() if key in kind.model_fields}
    if "problem" in kind.model_fields:
        options["problem"] = shell.chosen(problem) or "single_label"
    service.set_roles(user, wanted, columns, task=name, options=options)
    return _watch(request)


def _evaluate(file: str | None, request: gr.Request) -> Any:
    if not file:
        raise NoFile()
    path = Path(file)
    service.add_eval(session.user(request), shell.query(request, "dataset"), path, filename=path.name, move=ours(path))
    return *_watch(request), None


def _tokens(model: Any, request: gr.Request) -> Any:
    user, wanted = session.user(request), shell.query(request, "dataset")
    row, ref = datasets.get(user, wanted), shell.chosen(model)
    found = models.by_ref(user, ref) if ref else None
    limit = service.shape_of(found).max_length if found is not None and found.shape else None
    client.inspect_dataset(row.id, model=ref, max_length=limit or None)
    return _watch(request)


def _watch(request: gr.Request) -> Any:
    """Draw the dataset and look again soon: the worker has just been asked to count it."""
    return *_poll("", request)[:-1], gr.Timer(SOON, active=True)


def _cancel(request: gr.Request) -> Any:
    service.cancel_dataset(session.user(request), shell.query(request, "dataset"))
    return _watch(request)


def _again(request: gr.Request) -> Any:
    user, wanted = session.user(request), shell.query(request, "dataset")
    datasets.update(user, wanted, state="uploaded", error=None, cancel=False, progress=0.0)
    client.inspect_dataset(wanted)
    return _watch(request)


def _header(request: gr.Request) -> Any:
    user, wanted = session.user(request), shell.query(request, "dataset")
    service.set_header(user, wanted, not (datasets.get(user, wanted).source or {}).get("header"))
    return _watch(request)


def _part(value: Any, request: gr.Request) -> Any:
    picked = shell.chosen(value) or data_view.AUTO
    service.set_part(session.user(request), shell.query(request, "dataset"), "" if picked == data_view.AUTO else picked)
    return _watch(request)


def _rename(value: Any, request: gr.Request) -> Any:
    datasets.rename(session.user(request), shell.query(request, "dataset"), str((value or {}).get("name", "")))
    return _poll("", request)


def _delete(request: gr.Request) -> str:
    service.delete_dataset(session.user(request), shell.query(request, "dataset"))
    return "/data"
