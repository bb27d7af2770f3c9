"""The tab "Tokens" of a dataset: its first rows as a base model sees them, in colour, and how many rows are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from db import models
from db.tables import Dataset, Model
from db.users import User
from engine import starter, tasks
from engine.errors import Refused
from studio import cards, data_looks, parts, service, session, shell
from studio.text import count, esc, percent, plural

#: Tokens shown of a row before the rest opens, and the choice of maximum lengths.
OPEN = 256
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
USUAL = 128
LEARNED = {"rows": "The answer of each row is learned: one for the whole text.",
           "tokens": "Coloured tokens are learned: the loss counts these and no others.",
           "targets": "What is to be written is learned: the loss counts these tokens."}


class NoModel(Refused):
    """No base model is chosen."""

    kind = "no_model"
    try_this = "Choose the base model whose tokens are to be shown."


def tab(problem: gr.HTML) -> None:
    """Draw the tab; the base models are listed when the page opens."""
    with gr.Tab("Tokens", id="tokens"):
        with gr.Column(elem_classes=["ps-section"], elem_id="dataset-batch"):
            shell.html('<h2 class="ps-card-title">The first rows as a base model sees them</h2>'
                       '<p class="ps-lead">Exactly what training would make of them, with these roles and options.</p>')
            with gr.Row(elem_classes=["ps-filters", "ps-beside"]):
                model = shell.picker(label="Base model", elem_id="dataset-batch-model")
                length = shell.picker(label="Max length", elem_id="dataset-batch-length")
                go = gr.Button("Show the tokens", elem_id="dataset-batch-show")
        box = parts.kept("dataset-tokens", ["ps-stacked-cards"])
        asked, timer = gr.State(None), gr.Timer(data_looks.SOON, active=False)
    shell.load(_open, None, [model, length, box], card=problem)
    shell.on([model.input], _model_chosen, [model, length], [length], card=problem)
    shell.on([go.click], _ask, [model, length], [box, asked, timer], card=problem, busy="minimal")
    shell.on([timer.tick], _look, [asked], [box, timer], card=problem, trigger_mode="once", clears=False)


def _open(request: gr.Request) -> Any:
    user, row = data_looks.opened(request)
    if row is None:
        return [gr.skip()] * 3
    shown = _models(models.find(user, states=["ready"]), row.task)
    return shown, _lengths(models.by_ref(user, shown["chosen"] or "")), _nothing(row)


def _model_chosen(model: Any, length: Any, request: gr.Request) -> dict[str, Any]:
    chosen = int(shell.chosen(length) or USUAL)
    return _lengths(models.by_ref(session.user(request), shell.chosen(model) or ""), chosen)


def _models(found: Sequence[Model], task: str | None) -> dict[str, Any]:
    """Return the base models that can be trained for a task, and the starter models that were not added yet."""
    able = {row.ref: row.title for row in found if task is None or task in ((row.shape or {}).get("task_heads") or {})}
    able |= {one.id: one.title for one in starter.STARTERS.values()
             if (task is None or task in one.tasks) and starter.installed(one)}
    # Tokens can be looked at with any other as well.
    able = able or {row.ref: row.title for row in found}
    return shell.picks([{"value": ref, "title": title} for ref, title in able.items()], next(iter(able), None),
                       label="Base model", elem_id="dataset-batch-model",
                       empty="Choose a base model" if able else "Add a base model first")


def _lengths(model: Model | None, chosen: int = USUAL) -> dict[str, Any]:
    """Return the lengths to choose from: up to what the base model takes, where that is known."""
    most = service.looks.longest(model)
    offered = sorted({length for length in LENGTHS if length <= most} | ({most} if most < LENGTHS[-1] else set()))
    return shell.picks([{"value": str(length), "title": f"{count(length)} tokens"} for length in offered],
                       str(min(chosen, most)), label="Max length", elem_id="dataset-batch-length")


def _nothing(row: Dataset) -> str:
    if tasks.every().get(row.task or "") is not None and tasks.get(row.task or "").reads != "text":
        return cards.note("Images are not turned into tokens; see them under Rows.", "muted")
    return data_looks.later(row)


def _ask(model: Any, length: Any, request: gr.Request) -> Any:
    ref = shell.chosen(model)
    if not ref:
        raise NoModel("model")
    most = int(shell.chosen(length) or USUAL)
    wanted = {"model": ref, "max_length": most}
    user, row = data_looks.opened(request)
    if row is not None:
        service.looks.batch(user, row.id, ref, most, again=True)
    return (_look(wanted, request)[0], wanted, gr.Timer(data_looks.SOON, active=True))


def _look(wanted: Mapping[str, Any] | None, request: gr.Request) -> Any:
    user, row = data_looks.opened(request)
    if row is None or not wanted:
        return gr.skip(), gr.Timer(active=False)
    look = service.looks.batch(user, row.id, wanted["model"], wanted["max_length"])
    html = data_looks.shown(look, lambda found: draw(user, row, found), "Turning text into tokens")
    return html, gr.Timer(data_looks.SOON, active=look.working)


def draw(user: User, row: Dataset, found: dict[str, Any]) -> str:
    """Return the first batch as cards; `found` is an `engine.data.first_batch.Batch`."""
    lengths, counted = found["lengths"], found["counted"]
    share = found["truncated"] / counted if counted else 0
    windows = f"{count(found['windows'])} windows" if found["windows"] != counted else ""
    stats = cards.stats([
        ("Cut", percent(share), f"of {plural(counted, 'row')} {'are' if counted != 1 else 'is'} longer than "
                                f"{count(found['max_length'])} tokens"),
        ("Typical length", count(lengths["median"]), f"tokens; 95 % have at most {count(lengths['p95'])}, once cut"),
        ("Longest", count(lengths["longest"]), windows or "tokens, once cut"),
        ("Padding", percent(found["padding"], 2), "of these rows side by side, as they stand")])
    told = cards.note(found["note"], "info") if found["note"] else ""
    legend = (f'<p>{esc(LEARNED[found["learns"]])}</p><ul class="ps-legend"><li><i class="ps-token-learned"></i>learned'
              '</li><li><i class="ps-token-read"></i>only read</li><li><i class="ps-token-special"></i>added by the '
              'tokenizer</li></ul>')
    examples = "".join(_example(row.id, one) for one in found["examples"])
    return cards.card("", stats) + told + cards.card("The first batch", legend, f'<ol class="ps-batch">{examples}</ol>')


def _example(dataset_id: str, one: dict[str, Any]) -> str:
    answer = f' <span class="ps-badge ps-accent">{esc(one["answer"])}</span>' if one["answer"] else ""
    learned = f'<span class="ps-muted">{esc(plural(one["targets"], "target"))}</span>' if one["targets"] > 1 else ""
    pieces = "".join(_sequence(piece, one["row"]) for piece in one["sequences"])
    return f'<li><p>Row {data_looks.link(dataset_id, one["row"])}{answer} {learned}</p>{pieces}</li>'


def _sequence(piece: dict[str, Any], number: int) -> str:
    tokens = piece["tokens"]
    title = piece["title"].capitalize() or "Tokens"
    head = f'<p class="ps-small-title">{esc(title)} <span class="ps-muted">{count(piece["length"])}</span></p>'
    name = f"{title} of row {number}"
    shown = f'<div class="ps-tokens" role="group" aria-label="{esc(name)}">{"".join(map(_token, tokens[:OPEN]))}</div>'
    if len(tokens) > OPEN:
        shown += cards.more(f"{count(len(tokens) - OPEN)} more tokens of row {number}",
                            f'<div class="ps-tokens">{"".join(map(_token, tokens[OPEN:]))}</div>')
    cut = f'<p class="ps-muted">{count(piece["cut"])} more are not shown.</p>' if piece["cut"] else ""
    return head + shown + cut


def _token(one: dict[str, Any]) -> str:
    kind = "learned" if one["learned"] else "special" if one["special"] else "read"
    tag = f"<em>{esc(one['tag'])}</em>" if one["tag"] else ""
    return f'<span class="ps-token ps-token-{kind}">{esc(one["text"])}<small>{one["id"]}</small>{tag}</span>'
