"""Data: bring a file, see what is in it, say which column plays which part."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from db import datasets, models
from db.settings import settings
from db.tables import Dataset
from db.users import User
from engine import tasks
from engine.errors import StudioError
from studio import cards, data_view, service, session, shell
from studio.charts import chart
from studio.pages import Page
from studio.text import ago, count
from worker import client

PAGE = Page("data", "Data", icon="M3.5 5.5c0-1.4 2.9-2.5 6.5-2.5s6.5 1.1 6.5 2.5S13.6 8 10 8 3.5 6.9 3.5 5.5zm0 0v9c0 "
            "1.4 2.9 2.5 6.5 2.5s6.5-1.1 6.5-2.5v-9M3.5 10c0 1.4 2.9 2.5 6.5 2.5s6.5-1.1 6.5-2.5")

SHOWN = 50
#: Every role of every task, once, in the order of the tasks.
ROLES = list({role.name: role for kind in tasks.every().values() for role in kind.roles}.values())
KINDS = ["single_label", "multi_label", "regression"]


def build() -> None:
    """Draw the list and the page of one dataset; the URL decides which of them is seen."""
    with shell.frame(PAGE, title="Data", lead="Files of texts to learn from. They stay on this machine."):
        problem = shell.html(elem_id="data-error")
        go = shell.address("data-address")
        with gr.Column(elem_id="data-listing", visible=False) as listing:
            _list_part(problem, go)
        with gr.Column(elem_id="dataset", visible=False) as detail:
            _detail_part(problem, go)
        shell.load(_which, None, [listing, detail], card=problem)


def _which(request: gr.Request) -> tuple[Any, Any]:
    one = shell.query(request, "dataset")
    if one:
        datasets.get(session.user(request), one)
    return gr.Column(visible=not one), gr.Column(visible=bool(one))


# -- the list and adding --------------------------------------------------------------------------------------------


def _list_part(problem: gr.HTML, go: gr.HTML) -> None:
    with shell.section("Add data", "CSV, TSV, JSON, JSONL or Parquet, also gzipped. What is in it is recognised by "
                       "content: encoding, separator, header and columns.", elem_id="data-add"):
        with gr.Row(elem_classes=["ps-halves"]):
            file = gr.File(label="Data to learn from", elem_id="data-file", type="filepath")
            other = gr.File(label="Data to evaluate on (optional)", elem_id="data-eval-file", type="filepath")
        name = gr.Textbox(label="Name (optional)", elem_id="data-name", max_lines=1)
        add = gr.Button("Add this data", variant="primary", elem_id="data-submit")
    with gr.Row(elem_classes=["ps-actions"], elem_id="data-samples"):
        for key, info in service.SAMPLES.items():
            button = gr.Button(f"Use “{info['title']}”", elem_id=f"data-sample-{key}", size="sm")
            shell.on([button.click], _sampler(key), None, [go], card=problem, busy="minimal")
    table = shell.html(elem_id="data-list")
    seen = gr.State("")
    shell.load(_listing, [seen], [table, seen], card=problem)
    shell.poll(2, _listing, [seen], [table, seen], card=problem)
    shell.on([add.click], _add, [file, other, name], [go], card=problem, busy="minimal")


def _sampler(key: str) -> Any:
    def use(request: gr.Request) -> str:
        return f"/data?dataset={service.add_sample(session.user(request), key).id}"
    return use


def _listing(seen: str, request: gr.Request) -> Any:
    if shell.query(request, "dataset"):
        return gr.skip(), gr.skip()
    found = datasets.find(session.user(request), limit=300)
    if not found:
        drawn = cards.empty("No data yet", "Add a file above, or use one of the samples to look around.")
    else:
        rows = [(data_view.name(row), data_view.state(row), _task(row), count(row.rows), ago(row.created_at))
                for row in found]
        drawn = cards.table(["Dataset", "State", "Task", "Rows", "Added"], rows, "Datasets", numeric=[3],
                            html_columns=[0, 1])
    return (gr.skip(), gr.skip()) if drawn == seen else (drawn, drawn)


def _task(row: Dataset) -> str:
    kind = tasks.every().get(row.task or "")
    return kind.card.title if kind else "–"


def _add(file: str | None, other: str | None, name: str, request: gr.Request) -> str:
    user = session.user(request)
    if not file:
        raise gr.Error("Choose a file first.", title="No file")
    path, second = Path(file), Path(other) if other else None
    row = service.add_dataset(user, path, name=(name or "").strip(), filename=path.name, eval_path=second,
                              eval_filename=second.name if second else "", move=_ours(path))
    return f"/data?dataset={row.id}"


def _ours(path: Path) -> bool:
    """Tell whether a file lies where uploads arrive, so that it may be moved instead of copied."""
    return path.is_relative_to(Path(tempfile.gettempdir())) or path.is_relative_to(settings().data_dir)


# -- one dataset ----------------------------------------------------------------------------------------------------


def _detail_part(problem: gr.HTML, go: gr.HTML) -> None:
    head = shell.html(elem_id="dataset-head")
    with gr.Row(elem_classes=["ps-actions"]):
        cancel = gr.Button("Cancel", elem_id="dataset-cancel", visible=False)
        delete = shell.confirm("Delete", question="Delete this data?", yes="Delete the data", elem_id="dataset-delete",
                               detail="The file and what was read from it go. Runs that used it stay.")
    numbers = shell.html(elem_id="dataset-numbers")
    noticed = shell.html(elem_id="dataset-findings")
    with gr.Column(elem_classes=["ps-section"], elem_id="dataset-roles", visible=False) as roles:
        shell.html('<h2 class="ps-card-title">Which column plays which part</h2>')
        guess = shell.html(elem_id="dataset-guess")
        with gr.Row(elem_classes=["ps-filters"]):
            task = gr.Dropdown([(kind.card.title, key) for key, kind in tasks.every().items()], label="Task",
                               elem_id="dataset-task")
            kind = gr.Dropdown([(key.replace("_", " "), key) for key in KINDS], label="Kind of label",
                               elem_id="dataset-problem", visible=False)
        with gr.Row(elem_classes=["ps-filters"], elem_id="dataset-role-row"):
            picks = [gr.Dropdown([], label=role.title, info=role.help, elem_id=f"dataset-role-{role.name}",
                                 visible=False) for role in ROLES]
        confirm = gr.Button("Confirm these columns", variant="primary", elem_id="dataset-confirm")
    table = shell.html(elem_id="dataset-preview")
    with gr.Row(elem_classes=["ps-halves"]):
        labels = chart("Labels", "dataset-labels")
        with gr.Column():
            model = gr.Dropdown([], label="Lengths in the tokens of", elem_id="dataset-model")
            lengths = chart("Lengths", "dataset-lengths")
            over = shell.html(elem_id="dataset-over")
    seen = gr.State("")
    drawn = [head, numbers, noticed, roles, guess, table, labels, lengths, over, cancel, seen]
    chosen = [task, kind, *picks]
    shell.load(_open, None, [*drawn, *chosen, model], card=problem)
    shell.poll(1, _poll, [seen], [*drawn, *chosen], card=problem)
    shell.on([task.input], _other_task, [task], [kind, *picks], card=problem)
    shell.on([confirm.click], _confirm, chosen, [*drawn, *chosen], card=problem, busy="minimal")
    shell.on([model.input], _tokens, [model], [*drawn, *chosen], card=problem, busy="minimal")
    shell.on([cancel.click], _cancel, None, [*drawn, *chosen], card=problem)
    shell.on([delete.click], _delete, None, [go], card=problem)


def _open(request: gr.Request) -> Any:
    if not shell.query(request, "dataset"):
        return [gr.skip()] * (14 + len(ROLES))
    known = [("characters only", ""), *((row.title, row.ref) for row in models.find(_user(request), states=["ready"]))]
    return *_poll("", request), gr.Dropdown(choices=known, value="")


def _poll(seen: str, request: gr.Request) -> Any:
    """Draw the dataset; nothing is sent when nothing has changed since `seen`."""
    wanted = shell.query(request, "dataset")
    if not wanted:
        return [gr.skip()] * (13 + len(ROLES))
    row = datasets.get(_user(request), wanted)
    stamp = f"{row.state} {row.progress} {row.updated_at}"
    if stamp == seen:
        return [gr.skip()] * (13 + len(ROLES))
    found = _preview(_user(request), row)
    shown = data_view.table(found, row.columns) if found else ""
    drawn = (data_view.head(row), data_view.numbers(row), data_view.findings(row),
             gr.Column(visible=row.state == "ready"), data_view.guess(row), shown, data_view.labels(row),
             data_view.lengths(row), data_view.over(row), gr.Button(visible=row.state in data_view.READING), stamp)
    columns = found.columns if found else list(row.columns.values())
    return *drawn, *_choices(row.task or "text_classification", columns, row.columns, row.options.get("problem"))


def _user(request: gr.Request) -> User:
    return session.user(request)


def _preview(user: User, row: Dataset) -> Any:
    try:
        return service.preview(user, row.id, SHOWN)
    except StudioError:
        return None


def _choices(task: str, columns: list[str], chosen: dict[str, str], problem: str | None) -> list[Any]:
    """Return the task, the kind of label and one dropdown for each role this task has."""
    kind = tasks.get(task)
    own = {role.name: role for role in kind.roles}
    options = data_view.role_choices(columns)
    picks = [gr.Dropdown(choices=options, value=chosen.get(role.name, ""), visible=role.name in own,
                         info=own.get(role.name, role).help) for role in ROLES]
    has_kinds = "problem" in kind.model_fields
    return [gr.Dropdown(value=task), gr.Dropdown(value=problem or "single_label", visible=has_kinds), *picks]


def _other_task(task: str, request: gr.Request) -> list[Any]:
    row = datasets.get(_user(request), shell.query(request, "dataset"))
    found = _preview(_user(request), row)
    return _choices(task, found.columns if found else [], row.columns, row.options.get("problem"))[1:]


def _confirm(task: str, problem: str, *picks: Any, request: gr.Request) -> Any:
    user, wanted = _user(request), shell.query(request, "dataset")
    kind = tasks.get(task)
    own = {role.name for role in kind.roles}
    columns = {role.name: pick for role, pick in zip(ROLES, picks, strict=True) if pick and role.name in own}
    options = {key: value for key, value in datasets.get(user, wanted).options.items() if key in kind.model_fields}
    if "problem" in kind.model_fields:
        options["problem"] = problem
    service.set_roles(user, wanted, columns, task=task, options=options)
    return _poll("", request)


def _tokens(ref: str | None, request: gr.Request) -> Any:
    user, wanted = _user(request), shell.query(request, "dataset")
    row = datasets.get(user, wanted)
    model = models.by_ref(user, ref) if ref else None
    limit = service.shape_of(model).max_length if model is not None and model.shape else None
    client.inspect_dataset(row.id, model=ref or None, max_length=limit or None)
    return _poll("", request)


def _cancel(request: gr.Request) -> Any:
    service.cancel_dataset(_user(request), shell.query(request, "dataset"))
    return _poll("", request)


def _delete(request: gr.Request) -> str:
    service.delete_dataset(_user(request), shell.query(request, "dataset"))
    return "/data"
