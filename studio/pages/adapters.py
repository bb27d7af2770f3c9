"""Adapters: what runs left behind, where it came from, and how to take it home."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import adapters, datasets, exports, runs
from db.tables import Adapter, Export
from db.users import User
from engine import methods, starter, tasks
from engine.errors import StudioError
from studio import cards, service, session, shell
from studio.pages import Page
from studio.text import ago, count, esc, metric, percent, plural, short, size

PAGE = Page("adapters", "Adapters", icon="M7 3.5v4M13 3.5v4M4.5 7.5h11v3a5.5 5.5 0 0 1-11 0zM10 16v2")

PAGE_SIZE = 50
OVER = ("ready", "failed", "cancelled")


def build() -> None:
    """Draw the list and the page of one adapter; the URL decides which of them is seen."""
    with shell.frame(PAGE, title="Adapters", lead="What your runs learned: small files that change a base model."):
        problem = shell.html(elem_id="adapters-error")
        with gr.Column(elem_id="adapters-listing", visible=False) as listing:
            search = gr.Textbox(label="Search", placeholder="Name, method, task, base model", max_lines=1,
                                elem_id="adapters-search")
            table = shell.html(elem_id="adapters-list")
        with gr.Column(elem_id="adapter", visible=False) as detail:
            _detail_part(problem)
        shell.load(_which, None, [listing, detail], card=problem)
        shell.load(_listing, [search], [table], card=problem)
        shell.on([search.change], _listing, [search], [table], card=problem)


def _which(request: gr.Request) -> tuple[Any, Any]:
    one = shell.query(request, "adapter")
    if one:
        adapters.get(session.user(request), one)
    return gr.Column(visible=not one), gr.Column(visible=bool(one))


def _listing(search: str, request: gr.Request) -> Any:
    if shell.query(request, "adapter"):
        return gr.skip()
    user = session.user(request)
    found = adapters.find(user, search=search or "", limit=PAGE_SIZE)
    if not found and search:
        return cards.empty("Nothing matches", f"None of {plural(adapters.count(user), 'adapter')} matches “{search}”.")
    if not found:
        return cards.empty("No adapters yet", "Every finished run leaves one here: try it, download it, merge it.",
                           [("Start with sample data", "/"), ("All runs", "/runs")])
    rows = [(_name(row), _title(row), _task(row), row.model, _score(row), size(row.bytes), ago(row.created_at))
            for row in found]
    return cards.table(["Adapter", "Method", "Task", "Base model", "Score", "Size", "Made"], rows, "Adapters",
                       numeric=[5], html_columns=[0])


def _name(row: Adapter) -> str:
    return f'<a href="/adapters?adapter={esc(row.id)}"><b>{esc(row.name)}</b></a>'


def _title(row: Adapter) -> str:
    kind = methods.every().get(row.method)
    return kind.card.title if kind else row.method


def _task(row: Adapter) -> str:
    kind = tasks.every().get(row.task)
    return kind.card.title if kind else row.task


def _score(row: Adapter) -> str:
    kind = tasks.every().get(row.task)
    name = kind(name=row.task).metric if kind else ""
    name = name if name in row.metrics else next(iter(row.metrics), "")
    return f"{name.replace('_', ' ')} {metric(row.metrics[name])}" if name else "–"


# -- one adapter ----------------------------------------------------------------------------------------------------


def _detail_part(problem: gr.HTML) -> None:
    head = shell.html(elem_id="adapter-head")
    with gr.Row(elem_classes=["ps-actions"]):
        merge = gr.Button("Merge into a full model", elem_id="adapter-merge", visible=False)
        cancel = gr.Button("Cancel", elem_id="adapter-cancel", visible=False)
        delete = shell.confirm("Delete", question="Delete this adapter?", yes="Delete the adapter",
                               detail="Its files and downloads go; the run that made it stays.",
                               elem_id="adapter-delete")
    state = shell.html(elem_id="adapter-exports")
    lineage = shell.html(elem_id="adapter-lineage")
    with gr.Accordion("Name", open=False, elem_id="adapter-naming"), gr.Row():
        name = gr.Textbox(label="Name of this adapter", elem_id="adapter-name", max_lines=1, scale=3)
        rename = gr.Button("Rename", elem_id="adapter-rename", scale=1)
    gone = shell.address("adapter-address")
    view = [head, state, lineage, merge, cancel]
    timer = gr.Timer(1, active=False)
    outputs = [state, cancel, timer]
    shell.load(_open, None, [*view, name, timer], card=problem)
    shell.on([timer.tick], _progress, None, outputs, card=problem, trigger_mode="once")
    shell.on([merge.click], _merge, None, outputs, card=problem, busy="minimal")
    shell.on([cancel.click], _cancel, None, outputs, card=problem)
    shell.on([delete.click], _delete, None, [gone], card=problem)
    shell.on([rename.click, name.submit], _rename, [name], view, card=problem)


def _one(request: gr.Request) -> tuple[User, Adapter]:
    user = session.user(request)
    return user, adapters.get(user, shell.query(request, "adapter"))


def _open(request: gr.Request) -> Any:
    if not shell.query(request, "adapter"):
        return [gr.skip()] * 7
    user, row = _one(request)
    working = any(made.state not in OVER for made in exports.find(user, adapter_id=row.id))
    return *_view(user, row), row.name, gr.Timer(active=working)


def _view(user: User, row: Adapter) -> tuple[Any, ...]:
    made = exports.find(user, adapter_id=row.id)
    mergeable = row.method in methods.every() and methods.get(row.method).card.mergeable and row.artifact == "adapter"
    return (_head(row), _exports(made), _lineage(user, row), gr.Button(visible=mergeable),
            gr.Button(visible=any(one.state not in OVER for one in made)))


def _head(row: Adapter) -> str:
    about = esc(" · ".join([_title(row), _task(row), row.model, f"made {ago(row.created_at)}"]))
    parameters = row.parameters
    share = parameters.get("percent")
    figures = cards.stats([
        ("Score", _score(row), "on the evaluation rows"),
        ("Trained parameters", short(parameters.get("trained")),
         f"{percent(share / 100)} of {short(parameters.get('total'))}" if share is not None else ""),
        ("Stored parameters", short(parameters.get("stored")), f"{short(parameters.get('head'))} of them the head"
         if parameters.get("head") else ""),
        ("Size", size(row.bytes), "on disk")])
    steps = cards.links([("Try it in the playground", f"/playground?adapter={row.id}"),
                         ("Download", f"/download/adapters/{row.id}")])
    return (f'<div class="ps-run-head"><p class="ps-crumb"><a href="/adapters">All adapters</a></p>'
            f'<h2>{esc(row.name)}</h2><p class="ps-muted">{about}</p></div>{figures}{steps}')


def _exports(made: list[Export]) -> str:
    parts = []
    for one in made:
        if one.kind != "merge":
            continue
        if one.state == "ready":
            body = f"<p>A whole model of {esc(size(one.bytes))} that needs no peft.</p>"
            parts.append(cards.card("Merged model", body,
                                    actions=[("Download the merged model", f"/download/exports/{one.id}")]))
        elif one.state in OVER:
            parts.append(cards.error(one.error) if one.error else cards.note("Merging was cancelled.", "muted"))
        else:
            parts.append(cards.card("Merged model", cards.progress(one.progress or None, "Merging")))
    return "".join(parts[:1])


def _lineage(user: User, row: Adapter) -> str:
    rows = [("Run", _run_link(user, row)), ("Dataset", _dataset_link(user, row)),
            ("Dataset sha256", f"<code>{esc(row.dataset_sha256 or '–')}</code>"),
            ("Base model", f'<a href="/models?ref={esc(row.model)}">{esc(row.model)}</a>'),
            ("Base model hash", f"<code>{esc(row.model_hash or '–')}</code>"),
            ("Adapter sha256", f"<code>{esc(row.sha256 or '–')}</code>"),
            ("Base model's licence", esc(_licence(row)))]
    body = "".join(f"<div><dt>{esc(label)}</dt><dd>{value}</dd></div>" for label, value in rows)
    pairs = [(name.replace("_", " "), metric(value)) for name, value in row.metrics.items()]
    counts = [(name, count(value)) for name, value in row.parameters.items() if isinstance(value, int)]
    names = esc(", ".join(map(str, row.labels)))
    labels = cards.more(f"Labels ({len(row.labels)})", f"<p>{names}</p>") if row.labels else ""
    return (cards.card("Where it comes from", f'<dl class="ps-facts">{body}</dl>')
            + cards.more("Scores and parameters", cards.facts([*pairs, *counts], columns=True)) + labels)


def _run_link(user: User, row: Adapter) -> str:
    try:
        run = runs.get(user, row.run_id) if row.run_id else None
    except StudioError:
        run = None
    return f'<a href="/runs?run={esc(run.id)}">{esc(run.name)}</a>' if run else "no longer here"


def _dataset_link(user: User, row: Adapter) -> str:
    try:
        found = datasets.get(user, row.dataset_id) if row.dataset_id else None
    except StudioError:
        found = None
    return f'<a href="/data?dataset={esc(found.id)}">{esc(found.name)}</a>' if found else "no longer here"


def _licence(row: Adapter) -> str:
    return starter.STARTERS[row.model].licence if row.model in starter.STARTERS else "see the base model's page"


def _progress(request: gr.Request) -> Any:
    if not shell.query(request, "adapter"):
        return gr.skip(), gr.skip(), gr.Timer(active=False)
    user, row = _one(request)
    made = exports.find(user, adapter_id=row.id)
    working = any(one.state not in OVER for one in made)
    return _exports(made), gr.Button(visible=working), gr.Timer(active=working)


def _merge(request: gr.Request) -> Any:
    user, row = _one(request)
    service.export(user, row.id, "merge")
    return _progress(request)


def _cancel(request: gr.Request) -> Any:
    user, row = _one(request)
    for made in exports.find(user, adapter_id=row.id):
        if made.state not in OVER:
            service.cancel_export(user, made.id)
    return _progress(request)


def _delete(request: gr.Request) -> str:
    user, row = _one(request)
    service.delete_adapter(user, row.id)
    return "/adapters"


def _rename(name: str, request: gr.Request) -> Any:
    user, row = _one(request)
    return _view(user, adapters.rename(user, row.id, name))
