"""Adapters: what runs left behind, where it came from, and how to take it home."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import adapters, datasets, exports, runs
from db.tables import Adapter, Export
from db.users import User
from engine import methods, starter, tasks
from studio import (
    batch_part,
    cards,
    combine_result,
    combine_view,
    insight_view,
    measures,
    parts,
    service,
    session,
    shell,
)
from studio.pages import Page
from studio.text import ago, count, esc, percent, plural, short, size

PAGE = Page("adapters", "Adapters", icon="M7 3.5v4M13 3.5v4M4.5 7.5h11v3a5.5 5.5 0 0 1-11 0zM10 16v2")

PAGE_SIZE = 50
OVER = ("ready", "failed", "cancelled")


def build() -> None:
    """Draw the list and the page of one adapter; the URL decides which of them is seen."""
    with shell.frame(PAGE, title="Adapters", lead="What your runs learned: small files that change a base model."):
        problem, lost = shell.html(elem_id="adapters-error"), shell.html(elem_id="adapters-lost")
        with gr.Column(elem_id="adapters-listing", visible=False) as listing:
            with gr.Row(elem_classes=["ps-filters"]):
                search = gr.Textbox(label="Search", placeholder="Name, method, task, base model", max_lines=1,
                                    elem_id="adapters-search")
            table = parts.kept("adapters-list", ["ps-stack"])
        with gr.Column(elem_id="adapter", visible=False) as detail:
            _detail_part(problem)
        shell.load(_which, None, [listing, detail, lost])
        shell.load(_listing, [search], [table], card=problem)
        shell.on([search.change], _listing, [search], [table], card=problem)


def _which(request: gr.Request) -> Any:
    one = shell.query(request, "adapter")
    return parts.which(one, lambda: adapters.get(session.user(request), one), ("All adapters", "/adapters"))


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
    return cards.table(["Adapter", "Method", "Task", "Base model", "Score", "Weights", "Made"], rows, "Adapters",
                       numeric=[5], html_columns=[0])


def _name(row: Adapter) -> str:
    return f'<a href="/adapters?adapter={esc(row.id)}"><b>{esc(row.name)}</b></a>'


def _title(row: Adapter) -> str:
    kind = methods.every().get(row.method)
    title = kind.card.title if kind else row.method
    return f"{title}, combined" if row.composed else title


def _task(row: Adapter) -> str:
    kind = tasks.every().get(row.task)
    return kind.card.title if kind else row.task


def _score(row: Adapter) -> str:
    name, value = _best(row)
    return measures.scored(name, value)


def _best(row: Adapter) -> tuple[str, float | None]:
    """Return the score that decides for this adapter's task; of others, the first it has."""
    kind = tasks.every().get(row.task)
    name = kind(name=row.task).metric if kind else ""
    name = name if name in row.metrics else next(iter(row.metrics), "")
    return name, row.metrics.get(name)


# -- one adapter ----------------------------------------------------------------------------------------------------


def _detail_part(problem: gr.HTML) -> None:
    head = shell.html(elem_id="adapter-head")
    with parts.toolbar("adapter-actions"):
        steps = shell.html(elem_id="adapter-steps")
        merge = gr.Button("Merge into a full model", elem_id="adapter-merge", size="sm", visible=False)
        rename = parts.rename("adapter-rename")
        delete = shell.confirm("Delete", question="Delete this adapter?", yes="Delete the adapter",
                               detail="Its files and downloads go; the run that made it stays.",
                               elem_id="adapter-delete")
    state = shell.html(elem_id="adapter-exports")
    cancel = gr.Button("Cancel merging", elem_id="adapter-cancel", size="sm", visible=False)
    numbers = shell.html(elem_id="adapter-numbers")
    insight_view.part("adapter-insight", "adapter")
    batch_part.part(problem)
    lineage = parts.kept("adapter-lineage")
    gone = shell.address("adapter-address")
    timer = gr.Timer(1, active=False)
    progress = [state, merge, cancel, timer]
    view = [head, steps, numbers, lineage, rename, *progress]
    shell.load(_open, None, view, card=problem)
    shell.on([timer.tick], _progress, None, progress, card=problem, trigger_mode="once", clears=False)
    shell.on([merge.click], _merge, None, progress, card=problem, busy="minimal")
    shell.on([cancel.click], _cancel, None, progress, card=problem)
    shell.on([delete.click], _delete, None, [gone], card=problem)
    shell.on([rename.submit], _rename, [rename], view, card=problem)


def _one(request: gr.Request) -> tuple[User, Adapter]:
    user = session.user(request)
    return user, adapters.get(user, shell.query(request, "adapter"))


def _open(request: gr.Request) -> Any:
    user, wanted = session.user(request), shell.query(request, "adapter")
    row = parts.found(lambda: adapters.get(user, wanted)) if wanted else None
    return _view(user, row) if row else [gr.skip()] * 9


def _view(user: User, row: Adapter) -> tuple[Any, ...]:
    trial = [("Try it in the playground", f"/playground?adapter={row.id}")] if tasks.playable(row.task) else []
    trial += [("Predict a file", f"/predict?adapter={row.id}")] if trial else []
    more = [("Combine", f"/combine?adapters={row.id}")] if combine_view.combinable(row) else []
    steps = cards.links([*trial, ("Download", f"/download/adapters/{row.id}"), *more])
    return _head(row), steps, _numbers(row), _lineage(user, row), {"name": row.name}, *_exports(user, row)


def _head(row: Adapter) -> str:
    about = esc(" · ".join([_title(row), _task(row), row.model, f"made {ago(row.created_at)}"]))
    return (f'<div class="ps-run-head"><p class="ps-crumb"><a href="/adapters">All adapters</a></p>'
            f'<h2>{esc(row.name)}</h2><p class="ps-muted">{about}</p></div>')


def _numbers(row: Adapter) -> str:
    parameters = row.parameters
    if row.composed:
        return combine_result.numbers(row, _best(row))
    share = parameters.get("percent")
    name, value = _best(row)
    return cards.stats([
        (measures.title(name) or "Score", measures.score(name, value), "on the evaluation rows"),
        ("Trained parameters", short(parameters.get("trained")),
         f"{percent(share / 100)} of {short(parameters.get('total'))}" if share is not None else ""),
        ("Stored parameters", short(parameters.get("stored")), f"{short(parameters.get('head'))} of them the head"
         if parameters.get("head") else ""),
        ("Weights", size(row.bytes), "in the adapter's weight file")])


def _exports(user: User, row: Adapter) -> tuple[Any, ...]:
    """Return what came of merging, whether one may merge or cancel now, and the timer."""
    last = next((one for one in exports.find(user, adapter_id=row.id) if one.kind == "merge"), None)
    working = last is not None and last.state not in OVER
    mergeable = row.method in methods.every() and methods.get(row.method).card.mergeable and row.artifact == "adapter"
    offered = mergeable and not working and (last is None or last.state != "ready")
    return _merged(last), gr.Button(visible=offered), gr.Button(visible=working), gr.Timer(active=working)


def _merged(last: Export | None) -> str:
    if last is None:
        return ""
    if last.state == "ready":
        body = f"<p>A whole model of {esc(size(last.bytes))} that needs no peft.</p>"
        return cards.card("Merged model", body, actions=[("Download the merged model", f"/download/exports/{last.id}")])
    if last.state in OVER:
        cancelled = last.state == "cancelled" or not last.error
        return cards.note("Merging was cancelled.", "muted") if cancelled else cards.error(last.error or {})
    return cards.card("Merged model", cards.progress(last.progress or None, "Merging"))


def _lineage(user: User, row: Adapter) -> str:
    measured = "Measured on" if row.composed else "Dataset"
    made = ("Combined by", combine_result.origin(row)) if row.composed else ("Run", _run_link(user, row))
    rows = [made, (measured, _dataset_link(user, row)),
            ("Dataset sha256", f"<code>{esc(row.dataset_sha256 or '–')}</code>"),
            ("Base model", f'<a href="/models?ref={esc(row.model)}">{esc(row.model)}</a>'),
            ("Base model hash", f"<code>{esc(row.model_hash or '–')}</code>"),
            ("Adapter sha256", f"<code>{esc(row.sha256 or '–')}</code>"),
            ("Base model's licence", esc(_licence(row)))]
    body = "".join(f"<div><dt>{esc(label)}</dt><dd>{value}</dd></div>" for label, value in rows)
    pairs = [(measures.title(name), measures.score(name, value)) for name, value in row.metrics.items()]
    counts = [(name, count(value)) for name, value in row.parameters.items() if isinstance(value, int)]
    names = esc(", ".join(map(str, row.labels)))
    labels = cards.more(f"Labels ({len(row.labels)})", f"<p>{names}</p>") if row.labels else ""
    return (combine_result.lineage(row) + cards.card("Where it comes from", f'<dl class="ps-facts">{body}</dl>')
            + cards.more("Scores and parameters", cards.facts([*pairs, *counts], columns=True)) + labels)


def _run_link(user: User, row: Adapter) -> str:
    run = parts.found(lambda: runs.get(user, row.run_id or ""))
    return f'<a href="/runs?run={esc(run.id)}">{esc(run.name)}</a>' if run else "no longer here"


def _dataset_link(user: User, row: Adapter) -> str:
    if row.composed and not row.dataset_id:
        return "nothing"
    one = parts.found(lambda: datasets.get(user, row.dataset_id or ""))
    return f'<a href="/data?dataset={esc(one.id)}">{esc(one.name)}</a>' if one else "no longer here"


def _licence(row: Adapter) -> str:
    return starter.STARTERS[row.model].licence if row.model in starter.STARTERS else "see the base model's page"


def _progress(request: gr.Request) -> Any:
    user, wanted = session.user(request), shell.query(request, "adapter")
    row = parts.found(lambda: adapters.get(user, wanted)) if wanted else None
    return _exports(user, row) if row else (gr.skip(), gr.skip(), gr.skip(), gr.Timer(active=False))


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


def _rename(value: Any, request: gr.Request) -> Any:
    user, row = _one(request)
    return _view(user, adapters.rename(user, row.id, str((value or {}).get("name", ""))))
