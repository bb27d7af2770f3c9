"""Beneath the steps of a dataset of conversations: its first rows in a base model's chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from db import models
from db.tables import Dataset
from engine.generation.templates import NAMED
from studio import cards, data_looks, parts, service, shell
from studio.data_tokens import NoModel
from studio.form import word
from studio.text import count, esc

TASK = "causal_lm"


def part(problem: gr.HTML) -> None:
    """Draw the section; it is there for data a language model learns from."""
    with gr.Column(elem_classes=["ps-section"], elem_id="prepare-chat", visible=False) as section:
        shell.html('<h2 class="ps-card-title">As a chat model reads it</h2><p class="ps-lead">The first rows, after '
                   "the steps above, in the chat template of a base model. What is learned is marked.</p>")
        with gr.Row(elem_classes=["ps-filters", "ps-beside"]):
            model = shell.picker(label="Base model", elem_id="prepare-chat-model")
            template = shell.picker(label="Chat template", elem_id="prepare-chat-template")
            go = gr.Button("Show the text", elem_id="prepare-chat-show")
        box = parts.kept("prepare-chat-text", ["ps-stacked-cards"])
    asked, timer = gr.State(None), gr.Timer(data_looks.SOON, active=False)
    shell.load(_open, None, [section, model, template], card=problem)
    shell.on([go.click], _ask, [model, template], [box, asked, timer], card=problem, busy="minimal")
    shell.on([timer.tick], _look, [asked], [box, timer], card=problem, trigger_mode="once", clears=False)


def _open(request: gr.Request) -> Any:
    user, row = data_looks.opened(request)
    if row is None or row.state != "ready" or row.task != TASK:
        return gr.Column(visible=False), gr.skip(), gr.skip()
    able = [one for one in models.find(user, states=["ready"]) if TASK in ((one.shape or {}).get("task_heads") or {})]
    picked = shell.picks([{"value": one.ref, "title": one.title} for one in able], able[0].ref if able else None,
                         label="Base model", elem_id="prepare-chat-model",
                         empty="Choose a base model" if able else "Add a base model first")
    own = str(row.options.get("template") or "auto")
    names = list(dict.fromkeys(["auto", *NAMED, own]))
    options = [{"value": name, "title": {"auto": "The model's own", own: word(own)[:40]}.get(name, word(name))}
               for name in names]
    return gr.Column(visible=True), picked, shell.picks(options, own, label="Chat template",
                                                        elem_id="prepare-chat-template")


def _ask(model: Any, template: Any, request: gr.Request) -> Any:
    ref = shell.chosen(model)
    if not ref:
        raise NoModel("model")
    wanted = {"model": ref, "template": shell.chosen(template) or "auto"}
    user, row = data_looks.opened(request)
    if row is not None:
        service.looks.chat(user, row.id, **wanted, again=True)
    return _look(wanted, request)[0], wanted, gr.Timer(data_looks.SOON, active=True)


def _look(wanted: Mapping[str, str] | None, request: gr.Request) -> Any:
    user, row = data_looks.opened(request)
    if row is None or not wanted:
        return gr.skip(), gr.Timer(active=False)
    look = service.looks.chat(user, row.id, wanted["model"], wanted["template"])
    return (data_looks.shown(look, lambda found: draw(row, found), "Writing it in the template"),
            gr.Timer(data_looks.SOON, active=look.working))


def draw(row: Dataset, found: Mapping[str, Any]) -> str:
    """Return conversations as text with the learned parts marked; `found` is a ChatPreview."""
    told = cards.note(found["note"], "info") if found["note"] else ""
    texts = "".join(_conversation(one) for one in found["conversations"])
    return told + (texts or cards.note("There are no rows.", "muted"))


def _conversation(one: Mapping[str, Any]) -> str:
    text, made, at = one["text"], "", 0
    for start, end in one["spans"]:
        made += f"{esc(text[at:start])}<mark>{esc(text[start:end])}</mark>"
        at = end
    more = f'<p class="ps-muted">{count(one["cut"])} more characters.</p>' if one["cut"] else ""
    return (f'<div class="ps-code"><div class="ps-code-head"><span>Row {count(one["row"])}</span></div>'
            f'<pre class="ps-chat-text" tabindex="0" aria-label="Row {count(one["row"])} in the template">'
            f"<code>{made}{esc(text[at:])}</code></pre></div>{more}")
