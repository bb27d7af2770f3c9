"""Playground: one base model and up to three of its adapters, asked the same thing side by side."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import adapters
from db.users import User
from studio import cards, parts, play_chat, play_rows, play_view, play_who, session, shell
from studio.pages import Page
from studio.play_who import MOST

PAGE = Page("playground", "Playground", icon="M3.5 4.5h13v8.5H9l-4 3.5V13H3.5z")


def build() -> None:
    """Draw the page."""
    lead = "Ask a base model and up to three of its adapters the same thing, side by side."
    with shell.frame(PAGE, title="Playground", lead=lead, width="wide"):
        problem, lost = shell.html(elem_id="playground-error"), shell.html(elem_id="playground-lost")
        with gr.Row(elem_classes=["ps-filters"], visible=False, elem_id="playground-who") as who:
            base = shell.picker(label="Base model and task", elem_id="playground-base")
            chosen = gr.Dropdown([], label="Adapters (up to three)", multiselect=True, max_choices=MOST,
                                 elem_id="playground-adapters", scale=3)
            beside = gr.Checkbox(True, label="Ask the base model too", elem_id="playground-beside", scale=1)
        empty = shell.html(elem_id="playground-empty")
        with gr.Column(visible=False, elem_id="playground-rows") as rows:
            asked = play_rows.build(base, chosen, beside, problem)
        with gr.Column(visible=False, elem_id="playground-chat") as chat:
            said = play_chat.build(base, chosen, beside, problem)
        where = shell.address("playground-address")
        boxes = gr.State(len(asked))
        view = [chosen, rows, chat, empty, *asked, *said]
        shell.load(_open, [boxes], [base, who, lost, *view], card=problem)
        shell.on([base.input], _other_base, [base, boxes], [where, *view], card=problem)
        shell.on([chosen.input], _other_adapters, [base, chosen, boxes], [where, *view], card=problem)


def _open(boxes: int, request: gr.Request) -> Any:
    user = session.user(request)
    asked = [part for part in (shell.query(request, "adapter") or shell.query(request, "adapters")).split(",") if part]
    wanted = [row for part in asked if (row := parts.found(lambda one=part: adapters.get(user, one))) is not None]
    choices = play_who.bases(user)
    start = play_who.key(wanted[0].model, wanted[0].task) if wanted else shell.query(request, "base")
    base = start if start in choices else next(iter(choices), None)
    kept = [row.id for row in wanted if base == play_who.key(row.model, row.task)][:MOST]
    if not asked and base:
        kept = [row.id for row in play_who.adapters_of(user, base)[:1]]
    options = [{"value": key, "title": title} for key, title in choices.items()]
    missing = len(asked) - len(wanted)
    told_missing = cards.note("It may have been deleted. Choose another one.", "warn",
                              "The adapter in the address is not there any more.") if missing else ""
    return (shell.picks(options, base, label="Base model and task", elem_id="playground-base"),
            gr.Row(visible=bool(choices)), told_missing, *view(user, base, kept, boxes))


def _other_base(base: Any, boxes: int, request: gr.Request) -> Any:
    user, key = session.user(request), shell.chosen(base)
    kept = [row.id for row in play_who.adapters_of(user, key)[:1]]
    return _address(key, kept), *view(user, key, kept, boxes)


def _other_adapters(base: Any, chosen: list[str] | None, boxes: int, request: gr.Request) -> Any:
    kept = (chosen or [])[:MOST]
    return _address(shell.chosen(base), kept), *view(session.user(request), shell.chosen(base), kept, boxes)


def _address(base: str | None, kept: list[str]) -> str:
    return "?adapters=" + ",".join(kept) if kept else f"?base={base}" if base else "?"


def view(user: User, base: str | None, kept: list[str], boxes: int) -> tuple[Any, ...]:
    """Return how the page looks with a base model and adapters chosen: what is asked follows from the task."""
    found = play_who.adapters_of(user, base)
    task = play_who.task_of(base)
    kind = task.playground if task is not None else ""
    chosen = gr.Dropdown(choices=[(row.name, row.id) for row in found], value=kept)
    beside = [row for row in found if row.id in kept]
    options = play_view.examples(user, beside)
    usual = play_who.usual(user, task, beside) if task is not None else {}
    asks_rows, chats = kind not in ("", "chat"), kind == "chat"
    said = play_who.held(user, beside) if kind else play_who.nobody(base)
    return (chosen, gr.Column(visible=asks_rows), gr.Column(visible=chats), said,
            *play_rows.view(task if asks_rows else None, options if asks_rows else [], usual, boxes,
                            play_who.trained(beside)),
            *play_chat.view(task if chats else None, options if chats else [], usual))
