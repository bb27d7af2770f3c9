"""Playground: one base model and up to three of its adapters, asked the same thing side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from db import adapters, models
from db.tables import Adapter
from db.users import User
from engine import tasks
from engine.errors import Refused, StudioError
from studio import cards, play_view, service, session, shell
from studio.pages import Page
from studio.service.predictions import NotAnswered, told

PAGE = Page("playground", "Playground", icon="M3.5 4.5h13v8.5H9l-4 3.5V13H3.5z")

MOST = 3
EXAMPLES = 6
BASE = "The base model itself"


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
        problem = shell.html(elem_id="playground-error")
        with gr.Row(elem_classes=["ps-filters"]):
            base = gr.Dropdown([], label="Base model and task", elem_id="playground-base", scale=2)
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
        shell.load(_open, None, [base, *view], card=problem)
        shell.on([base.input], _other_base, [base], [where, *view], card=problem)
        shell.on([chosen.input], _other_adapters, [base, chosen], [where, *view], card=problem)


# -- who is asked ---------------------------------------------------------------------------------------------------


def _open(request: gr.Request) -> Any:
    user = session.user(request)
    asked = shell.query(request, "adapter") or shell.query(request, "adapters")
    wanted = [row for row in (_adapter(user, part) for part in asked.split(",") if part) if row is not None]
    choices = _bases(user)
    start = _key(wanted[0].model, wanted[0].task) if wanted else shell.query(request, "base")
    values = [value for _, value in choices]
    base = start if start in values else (values[0] if values else None)
    kept = [row.id for row in wanted if base == _key(row.model, row.task)][:MOST]
    if not asked and base:
        kept = [row.id for row in _of(user, base)[:1]]
    return gr.Dropdown(choices=choices, value=base), *_view(user, base, kept)


def _adapter(user: User, adapter_id: str) -> Adapter | None:
    try:
        return adapters.get(user, adapter_id)
    except StudioError:
        return None


def _key(model: str, task: str) -> str:
    return f"{model} · {task}"


def _bases(user: User) -> list[tuple[str, str]]:
    """Return every base model with every task it has adapters for, then those that can chat as they are."""
    pairs = dict.fromkeys((row.model, row.task) for row in adapters.find(user, limit=500))
    for model in models.find(user, states=["ready"], limit=200):
        if "causal_lm" in ((model.shape or {}).get("task_heads") or {}):
            pairs.setdefault((model.ref, "causal_lm"))
    titles = {row.ref: row.title for row in models.find(user, limit=200)}
    return [(f"{titles.get(model, model)} · {tasks.get(task).card.title}", _key(model, task))
            for model, task in pairs if task in tasks.every()]


def _of(user: User, base: str | None) -> list[Adapter]:
    model, _, task = (base or "").partition(" · ")
    return adapters.find(user, models=[model], tasks=[task], limit=200) if task else []


def _other_base(base: str | None, request: gr.Request) -> Any:
    user = session.user(request)
    kept = [row.id for row in _of(user, base)[:1]]
    return ("?adapters=" + ",".join(kept) if kept else f"?base={base}" if base else "?"), *_view(user, base, kept)


def _other_adapters(base: str | None, chosen: list[str] | None, request: gr.Request) -> Any:
    kept = (chosen or [])[:MOST]
    return ("?adapters=" + ",".join(kept) if kept else f"?base={base}"), *_view(session.user(request), base, kept)


def _view(user: User, base: str | None, kept: list[str]) -> tuple[Any, ...]:
    found = _of(user, base)
    task = (base or "").partition(" · ")[2]
    kind = tasks.get(task).playground if task in tasks.every() else ""
    chosen = gr.Dropdown(choices=[(row.name, row.id) for row in found], value=kept)
    nothing = "" if kind else cards.empty(
        "Nobody to ask yet", "Train an adapter, or add a base model that can chat.",
        [("Start with sample data", "/"), ("Add a base model", "/models")])
    examples = _examples(user, [row for row in found if row.id in kept])
    pair = any("text_pair" in example for example in examples)
    options = [{"value": json.dumps(example, ensure_ascii=False), "title": _short(example["text"]),
                "tag": str(example.get("expected", ""))[:40]} for example in examples]
    label = "Evaluation rows to try"
    heading = f'<h2 class="ps-chart-title">{label}</h2>' if options else ""
    return (chosen, gr.Column(visible=kind == "classify"), gr.Column(visible=kind == "chat"), nothing, heading,
            gr.HTML(shell.choices(options, None, label=label), visible=bool(options)), gr.Textbox(visible=pair),
            heading, gr.HTML(shell.choices([option | {"tag": ""} for option in options], None, label=label, columns=3),
                             visible=bool(options)))


def _examples(user: User, chosen: list[Adapter]) -> list[dict[str, Any]]:
    """Return some evaluation rows of the run behind the first adapter, the hardest and the easiest in turn."""
    for row in chosen:
        try:
            path = service.run_file(user, row.run_id, "examples.json") if row.run_id else None
            found = json.loads(path.read_text(encoding="utf-8")) if path else {}
        except (StudioError, OSError, ValueError):
            continue
        mixed = [record for pair in zip(found.get("best", []), found.get("worst", []), strict=False) for record in pair]
        return [example for record in mixed[:EXAMPLES] if (example := _example(record))]
    return []


def _example(record: dict[str, Any]) -> dict[str, Any]:
    asked = record.get("input")
    if isinstance(asked, dict):
        return {**{key: str(value) for key, value in asked.items()}, "expected": record.get("expected")}
    return {"text": str(asked), "expected": record.get("expected")}


def _short(text: str) -> str:
    return text if len(text) <= 110 else text[:109] + "…"


def _players(user: User, base: str | None, chosen: list[str] | None,
             beside: bool) -> tuple[list[str | None], list[str]]:
    """Return whom to ask (None is the base) and their names."""
    kept = [adapters.get(user, one) for one in (chosen or [])[:MOST]]
    ids: list[str | None] = [None] if beside or not kept else []
    if not base:
        raise NobodyChosen("playground")
    return [*ids, *(row.id for row in kept)], [*([BASE] if ids else []), *(row.name for row in kept)]


# -- classify -------------------------------------------------------------------------------------------------------


def _classify_part(base: gr.Dropdown, chosen: gr.Dropdown, beside: gr.Checkbox, problem: gr.HTML) -> list[Any]:
    title = shell.html(elem_id="playground-examples-title")
    examples = shell.choice([], None, label="Evaluation rows to try", elem_id="playground-examples", columns=3)
    text = gr.Textbox(label="Text", lines=3, elem_id="playground-text", placeholder="Write or paste a text")
    pair = gr.Textbox(label="Second text", lines=2, elem_id="playground-pair", visible=False)
    ask = gr.Button("Classify", variant="primary", elem_id="playground-ask")
    result = shell.html(elem_id="playground-verdicts")
    inputs, outputs = [base, chosen, beside, text, pair], [result]
    shell.on([ask.click, text.submit], _classify, inputs, outputs, card=problem)
    shell.on([examples.input], _fill, [examples], [text, pair], card=problem).then(
        shell.safely(_classify, outputs=1, card=problem), inputs, [result, problem], show_progress="hidden",
        api_visibility="private")
    return [title, examples, pair]


def _fill(picked: Any) -> tuple[str, str]:
    value = shell.chosen(picked)
    example = json.loads(value) if value else {}
    return str(example.get("text", "")), str(example.get("text_pair", ""))


def _classify(base: str | None, chosen: list[str] | None, beside: bool, text: str, pair: str,
              request: gr.Request) -> Iterator[str]:
    user = session.user(request)
    ids, names = _players(user, base, chosen, beside)
    if not (text or "").strip():
        raise NothingToAsk("text")
    model, _, task = (base or "").partition(" · ")
    row = {"text": text} | ({"text_pair": pair} if (pair or "").strip() else {})
    made = service.ask(user, {"adapters": ids, "model": model, "task": task, "rows": [row]})
    answers: list[Any] = [None] * len(ids)
    yield play_view.verdicts(names, answers)
    for message in service.stream(user, made.id):
        if message["event"] == "answer":
            answers[message["index"]] = message["answer"]
            yield play_view.verdicts(names, answers)
        elif message["event"] == "done":
            if message["state"] == "failed":
                raise told(message.get("error"))
            return
    raise NotAnswered(made.id, seconds=120, state="no answer")


# -- chat -----------------------------------------------------------------------------------------------------------


def _chat_part(base: gr.Dropdown, chosen: gr.Dropdown, beside: gr.Checkbox, problem: gr.HTML) -> list[Any]:
    title = shell.html(elem_id="playground-chat-examples-title")
    examples = shell.choice([], None, label="Evaluation rows to try", elem_id="playground-chat-examples", columns=3)
    talk = shell.html(elem_id="playground-talk")
    text = gr.Textbox(label="Message", lines=2, elem_id="playground-message", placeholder="Say something")
    with gr.Row(elem_classes=["ps-actions"]):
        send = gr.Button("Send", variant="primary", elem_id="playground-send")
        stop = gr.Button("Stop", elem_id="playground-stop", interactive=False)
        clear = gr.Button("Start over", elem_id="playground-clear")
    with gr.Accordion("How answers are written", open=False, elem_id="playground-options"):
        with gr.Row():
            temperature = gr.Slider(0, 2, value=0.7, step=0.05, label="Temperature", elem_id="playground-temperature",
                                    info="0 always takes the likeliest word; higher is more varied.")
            top_p = gr.Slider(0.05, 1, value=0.95, step=0.05, label="Top-p", elem_id="playground-top-p",
                              info="Only the likeliest words that together reach this probability are drawn from.")
        with gr.Row():
            longest = gr.Slider(8, 1024, value=160, step=8, label="Longest answer", elem_id="playground-longest",
                                info="Tokens.")
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, elem_id="playground-seed",
                             info="Same seed, same answer.")
    history, asking = gr.State([]), gr.State("")
    inputs = [base, chosen, beside, text, history, temperature, top_p, longest, seed]
    outputs = [talk, history, asking, text, send, stop]
    shell.on([send.click, text.submit], _chat, inputs, outputs, card=problem)
    shell.on([stop.click], _stop, [asking], [stop], card=problem)
    shell.on([clear.click, base.change, chosen.change], _clear, None, [talk, history], card=problem)
    shell.on([examples.input], _fill_message, [examples], [text], card=problem)
    return [title, examples]


def _fill_message(picked: Any) -> str:
    return _fill(picked)[0]


def _clear() -> tuple[str, list[Any]]:
    return "", []


def _stop(asking: str, request: gr.Request) -> Any:
    user = session.user(request)
    for one in asking.split():
        service.stop_asking(user, one)
    return gr.Button(interactive=False)


def _chat(base: str | None, chosen: list[str] | None, beside: bool, text: str, history: list[Any], temperature: float,
          top_p: float, longest: int, seed: int | None, request: gr.Request) -> Iterator[Any]:
    """Ask each model in its own conversation; `history` holds one list of turns for each."""
    user = session.user(request)
    ids, names = _players(user, base, chosen, beside)
    if not (text or "").strip():
        raise NothingToAsk("message")
    model, _, task = (base or "").partition(" · ")
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
