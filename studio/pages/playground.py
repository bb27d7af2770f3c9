"""Playground: one base model and up to three of its adapters, asked the same thing side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from db import adapters, models
from db.tables import Adapter
from db.users import User
from engine import tasks
from engine.errors import Refused
from studio import cards, parts, play_view, service, session, shell
from studio.pages import Page
from studio.service.predictions import NotAnswered, told

PAGE = Page("playground", "Playground", icon="M3.5 4.5h13v8.5H9l-4 3.5V13H3.5z")

MOST = 3
BASE = "The base model itself"
EXAMPLES = "Evaluation rows to try"


class NothingToAsk(Refused):
    """There is nothing to ask yet."""

    kind = "nothing_to_ask"
    try_this = "Write a text first."


class NobodyChosen(Refused):
    """No model is chosen."""

    kind = "nobody_chosen"
    try_this = "Choose a base model, or one of its adapters."


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
        with gr.Column(visible=False, elem_id="playground-classify") as classify:
            asked = _classify_part(base, chosen, beside, problem)
        with gr.Column(visible=False, elem_id="playground-chat") as chat:
            said = _chat_part(base, chosen, beside, problem)
        where = shell.address("playground-address")
        view = [chosen, classify, chat, empty, *asked, *said]
        shell.load(_open, None, [base, who, lost, *view], card=problem)
        shell.on([base.input], _other_base, [base], [where, *view], card=problem)
        shell.on([chosen.input], _other_adapters, [base, chosen], [where, *view], card=problem)


# -- who is asked ---------------------------------------------------------------------------------------------------


def _open(request: gr.Request) -> Any:
    user = session.user(request)
    asked = [part for part in (shell.query(request, "adapter") or shell.query(request, "adapters")).split(",") if part]
    wanted = [row for part in asked if (row := parts.found(lambda one=part: adapters.get(user, one))) is not None]
    choices = _bases(user)
    start = _key(wanted[0].model, wanted[0].task) if wanted else shell.query(request, "base")
    base = start if start in choices else next(iter(choices), None)
    kept = [row.id for row in wanted if base == _key(row.model, row.task)][:MOST]
    if not asked and base:
        kept = [row.id for row in _of(user, base)[:1]]
    options = [{"value": key, "title": title} for key, title in choices.items()]
    missing = len(asked) - len(wanted)
    told_missing = cards.note("It may have been deleted. Choose another one.", "warn",
                              "The adapter in the address is not there any more.") if missing else ""
    return (shell.picks(options, base, label="Base model and task", elem_id="playground-base"),
            gr.Row(visible=bool(choices)), told_missing, *_view(user, base, kept))


def _key(model: str, task: str) -> str:
    return f"{model} · {task}"


def _bases(user: User) -> dict[str, str]:
    """Return every base model with every task it has adapters for, then those that can chat as they are."""
    pairs = dict.fromkeys((row.model, row.task) for row in adapters.find(user, limit=500))
    known = models.find(user, limit=200)
    for model in known:
        if model.state == "ready" and "causal_lm" in ((model.shape or {}).get("task_heads") or {}):
            pairs.setdefault((model.ref, "causal_lm"))
    titles = {row.ref: row.title for row in known}
    return {_key(model, task): f"{titles.get(model, model)} · {tasks.get(task).card.title}"
            for model, task in pairs if task in tasks.every()}


def _of(user: User, base: str | None) -> list[Adapter]:
    model, _, task = (base or "").partition(" · ")
    return adapters.find(user, models=[model], tasks=[task], limit=200) if task else []


def _other_base(base: Any, request: gr.Request) -> Any:
    user, key = session.user(request), shell.chosen(base)
    kept = [row.id for row in _of(user, key)[:1]]
    return _address(key, kept), *_view(user, key, kept)


def _other_adapters(base: Any, chosen: list[str] | None, request: gr.Request) -> Any:
    kept = (chosen or [])[:MOST]
    return _address(shell.chosen(base), kept), *_view(session.user(request), shell.chosen(base), kept)


def _address(base: str | None, kept: list[str]) -> str:
    return "?adapters=" + ",".join(kept) if kept else f"?base={base}" if base else "?"


def _view(user: User, base: str | None, kept: list[str]) -> tuple[Any, ...]:
    found = _of(user, base)
    task = (base or "").partition(" · ")[2]
    kind = tasks.get(task).playground if task in tasks.every() else ""
    chosen = gr.Dropdown(choices=[(row.name, row.id) for row in found], value=kept)
    nothing = "" if kind else _nobody(task)
    options, pair = play_view.examples(user, [row for row in found if row.id in kept])
    picks = shell.choices(options, None, label=EXAMPLES, titled=True, columns=2 if kind == "chat" else 1)
    return (chosen, gr.Column(visible=kind not in ("", "chat")), gr.Column(visible=kind == "chat"), nothing,
            gr.HTML(picks, visible=bool(options)), gr.Textbox(visible=pair), gr.HTML(picks, visible=bool(options)))


def _nobody(task: str) -> str:
    """Return what is shown in the place of a question: there is nobody to ask, or no way to ask yet."""
    if task in tasks.every():
        return cards.empty(
            f"{tasks.get(task).card.title} cannot be tried here yet",
            "The run's page shows predictions, and a downloaded adapter comes with the lines of code that ask it.",
            [("See the adapters", "/adapters"), ("See the runs", "/runs")])
    return cards.empty("Nobody to ask yet", "Train an adapter, or add a base model that can chat.",
                       [("Start with sample data", "/"), ("Add a base model", "/models")])


def _players(user: User, base: str | None, chosen: list[str] | None,
             beside: bool) -> tuple[list[str | None], list[str]]:
    """Return whom to ask (None is the base) and their names."""
    kept = [adapters.get(user, one) for one in (chosen or [])[:MOST]]
    ids: list[str | None] = [None] if beside or not kept else []
    if not base:
        raise NobodyChosen("playground")
    return [*ids, *(row.id for row in kept)], [*([BASE] if ids else []), *(row.name for row in kept)]


def _stop(asking: str, request: gr.Request) -> Any:
    user = session.user(request)
    for one in asking.split():
        service.stop_asking(user, one)
    return gr.Button(interactive=False)


# -- classify -------------------------------------------------------------------------------------------------------


def _classify_part(base: gr.HTML, chosen: gr.Dropdown, beside: gr.Checkbox, problem: gr.HTML) -> list[Any]:
    with gr.Row(elem_classes=["ps-ask"]):
        with gr.Column(elem_classes=["ps-ask-text"], min_width=0):
            text = gr.Textbox(label="Text", lines=3, elem_id="playground-text", placeholder="Write or paste a text")
            pair = gr.Textbox(label="Second text", lines=2, elem_id="playground-pair", visible=False)
            with parts.toolbar("playground-asking"):
                ask = gr.Button("Classify", variant="primary", elem_id="playground-ask")
                stop = gr.Button("Stop", elem_id="playground-ask-stop", interactive=False)
        result = shell.html(play_view.waiting("classify"), elem_id="playground-verdicts")
        examples = shell.choice([], None, label=EXAMPLES, elem_id="playground-examples", columns=1)
    asking = gr.State("")
    inputs, outputs = [base, chosen, beside, text, pair], [result, asking, stop]
    asked = shell.on([ask.click, text.submit], _classify, inputs, outputs, card=problem)
    picked = shell.on([examples.input], _fill, [examples], [text, pair], card=problem).then(
        shell.safely(_classify, outputs=3, card=problem), inputs, [*outputs, problem], show_progress="hidden",
        api_visibility="private")
    shell.on([stop.click], _stop, [asking], [stop], card=problem)
    shell.on([base.input, chosen.input], _forget, [asking], outputs, card=problem, cancels=[asked, picked])
    return [examples, pair]


def _fill(picked: Any) -> tuple[str, str]:
    return play_view.example(shell.chosen(picked))


def _forget(asking: str, request: gr.Request) -> Any:
    _stop(asking, request)
    return play_view.waiting("classify"), "", gr.Button(interactive=False)


def _classify(base: Any, chosen: list[str] | None, beside: bool, text: str, pair: str,
              request: gr.Request) -> Iterator[Any]:
    user, key = session.user(request), shell.chosen(base)
    ids, names = _players(user, key, chosen, beside)
    if not (text or "").strip():
        raise NothingToAsk("text")
    model, _, task = (key or "").partition(" · ")
    row = {"text": text} | ({"text_pair": pair} if (pair or "").strip() else {})
    made = service.ask(user, {"adapters": ids, "model": model, "task": task, "rows": [row]})
    answers: list[Any] = [None] * len(ids)
    yield play_view.verdicts(names, answers, "Asking"), made.id, gr.Button(interactive=True)
    for message in service.stream(user, made.id):
        if message["event"] == "state" and message.get("text"):
            yield play_view.verdicts(names, answers, message["text"]), made.id, gr.Button(interactive=True)
        elif message["event"] == "answer":
            answers[message["index"]] = message["answer"]
            yield play_view.verdicts(names, answers, "Asking"), made.id, gr.Button(interactive=True)
        elif message["event"] == "done":
            yield play_view.verdicts(names, answers, ""), "", gr.Button(interactive=False)
            if message["state"] == "failed":
                raise told(message.get("error"))
            return
    raise NotAnswered(made.id, seconds=120, state="no answer")


# -- chat -----------------------------------------------------------------------------------------------------------


def _chat_part(base: gr.HTML, chosen: gr.Dropdown, beside: gr.Checkbox, problem: gr.HTML) -> list[Any]:
    talk = shell.html(play_view.waiting("chat"), elem_id="playground-talk")
    with gr.Column(elem_classes=["ps-section"], elem_id="playground-say"):
        text = gr.Textbox(label="Message", lines=1, max_lines=8, elem_id="playground-message",
                          placeholder="Say something; Enter sends it, Shift and Enter begin a new line")
        with parts.toolbar("playground-saying"):
            send = gr.Button("Send", variant="primary", elem_id="playground-send")
            stop = gr.Button("Stop", elem_id="playground-stop", interactive=False)
            clear = gr.Button("Start over", elem_id="playground-clear")
        options = _chat_options()
    examples = shell.choice([], None, label=EXAMPLES, elem_id="playground-chat-examples", columns=2)
    history, asking = gr.State([]), gr.State("")
    inputs = [base, chosen, beside, text, history, *options]
    outputs = [talk, history, asking, text, send, stop]
    said = shell.on([send.click, text.submit], _chat, inputs, outputs, card=problem)
    shell.on([stop.click], _stop, [asking], [stop], card=problem)
    shell.on([clear.click, base.input, chosen.input, beside.input], _clear, [asking],
             [talk, history, asking, send, stop], card=problem, cancels=[said])
    shell.on([examples.input], _fill_message, [examples], [text], card=problem)
    return [examples]


def _chat_options() -> list[Any]:
    with gr.Accordion("How answers are written", open=False, elem_id="playground-options"):
        with gr.Row():
            temperature = gr.Slider(0, 2, value=0.7, step=0.05, label="Temperature", elem_id="playground-temperature",
                                    info="0 always takes the likeliest word; higher is more varied.")
            top_p = gr.Slider(0.05, 1, value=0.95, step=0.05, label="Top-p", elem_id="playground-top-p",
                              info="Only the likeliest words that together reach this probability are drawn from.")
        with gr.Row():
            longest = gr.Slider(8, 1024, value=160, step=8, label="Longest answer", elem_id="playground-longest",
                                info="In tokens.")
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, elem_id="playground-seed",
                             info="Same seed, same answer.")
    return [temperature, top_p, longest, seed]


def _fill_message(picked: Any) -> str:
    return _fill(picked)[0]


def _clear(asking: str, request: gr.Request) -> Any:
    _stop(asking, request)
    return play_view.waiting("chat"), [], "", gr.Button(interactive=True), gr.Button(interactive=False)


def _chat(base: Any, chosen: list[str] | None, beside: bool, text: str, history: list[Any], temperature: float,
          top_p: float, longest: int, seed: int | None, request: gr.Request) -> Iterator[Any]:
    """Ask each model in its own conversation; `history` holds one list of turns for each."""
    user, key = session.user(request), shell.chosen(base)
    ids, names = _players(user, key, chosen, beside)
    if not (text or "").strip():
        raise NothingToAsk("message")
    model, _, task = (key or "").partition(" · ")
    turns = [list(said) for said in history] if len(history) == len(ids) else [[] for _ in ids]
    options = {"temperature": temperature, "top_p": top_p, "max_new_tokens": int(longest), "seed": int(seed or 0)}
    made: list[str] = []
    for said, one in zip(turns, ids, strict=True):
        said.append({"role": "user", "content": text.strip()})
        question = {"adapters": [one], "model": model, "task": task, "messages": said, "options": options}
        made.append(service.ask(user, question).id)
    notes, going = ["Waiting"] * len(ids), [False] * len(ids)
    for said in turns:
        said.append({"role": "assistant", "content": ""})

    def state(busy: bool, words: Any = "") -> tuple[Any, ...]:
        return (play_view.talks(names, turns, going, notes), turns, " ".join(made) if busy else "", words,
                gr.Button(interactive=not busy), gr.Button(interactive=busy))

    yield state(True)
    for place, one in enumerate(made):
        for message in service.stream(user, one):
            if message["event"] == "done" and message["state"] == "failed":
                yield state(False, text)
                raise told(message.get("error"))
            _hear(message, place, turns, notes, going)
            if message["event"] in ("text", "state", "answer"):
                yield state(True)
    yield state(False)


def _hear(message: dict[str, Any], place: int, turns: list[list[dict[str, str]]], notes: list[str],
          going: list[bool]) -> None:
    """Put what a model said into its conversation."""
    last = turns[place][-1]
    if message["event"] == "state":
        notes[place] = message.get("text") or message["state"].capitalize()
    elif message["event"] == "text":
        last["content"] += message["text"]
        notes[place], going[place] = "", True
    elif message["event"] == "answer":
        last["content"] = message["answer"]["text"]
        notes[place], going[place] = play_view.footer(message["answer"]), False
    elif message["event"] == "done":
        going[place] = False
        if message["state"] == "cancelled":
            notes[place] = "Stopped."
