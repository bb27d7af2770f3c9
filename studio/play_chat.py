"""The playground's conversations: each model answers in one of its own, word by word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from engine.errors import StudioError
from engine.tasks import Task
from studio import form, parts, play_view, play_who, service, session, shell, snippets
from studio.play_who import NothingToAsk
from studio.service.predictions import told

WAITING = "Each model answers in a conversation of its own."
EXAMPLES = "Evaluation rows to try"
SETTINGS = "playground-chat-settings"


def build(base: gr.HTML, chosen: gr.Dropdown, beside: gr.Checkbox, problem: gr.HTML) -> list[Any]:
    """Draw the part and return what `view` changes: settings and examples."""
    talk = shell.html(play_view.waiting(WAITING), elem_id="playground-talk")
    with gr.Column(elem_classes=["ps-section"], elem_id="playground-say"):
        text = gr.Textbox(label="Message", lines=1, max_lines=8, elem_id="playground-message",
                          placeholder="Say something; Enter sends it, Shift and Enter begin a new line")
        with parts.toolbar("playground-saying"):
            send = gr.Button("Send", variant="primary", elem_id="playground-send")
            stop = gr.Button("Stop", elem_id="playground-stop", interactive=False)
            clear = gr.Button("Start over", elem_id="playground-clear")
        with gr.Accordion("How answers are written", open=False, elem_id="playground-options"):
            settings = form.settings([], elem_id=SETTINGS)
    examples = shell.choice([], None, label=EXAMPLES, elem_id="playground-chat-examples", columns=2)
    script = parts.kept("playground-chat-script")
    history, asking = gr.State([]), gr.State("")
    said = [base, chosen, beside, text, history, settings]
    outputs = [talk, history, asking, text, send, stop]
    event = shell.on([send.click, text.submit], _chat, said, outputs, card=problem)
    shell.on([stop.click], play_who.stop, [asking], [stop], card=problem)
    shell.on([clear.click, base.input, chosen.input, beside.input], _clear, [asking],
             [talk, history, asking, send, stop], card=problem, cancels=[event])
    shell.on([examples.input], lambda picked: play_view.example(shell.chosen(picked)).get("text", ""), [examples],
             [text], card=problem)
    shell.on([text.change, history.change, settings.input, base.input, chosen.input, beside.input], _script, said,
             [script], trigger_mode="always_last")
    return [settings, examples]


def view(task: type[Task] | None, options: list[dict[str, Any]], usual: dict[str, Any]) -> list[Any]:
    """Return the updates of what `build` returned, for a task."""
    groups = [form.Group("options", "Settings", task.asking)] if task is not None else []
    picks = shell.choices(options, None, label=EXAMPLES, titled=True, columns=2)
    return [form.state(groups, {"options": usual}, elem_id=SETTINGS), gr.HTML(picks, visible=bool(options))]


def _clear(asking: str, request: gr.Request) -> Any:
    play_who.stop(asking, request)
    return play_view.waiting(WAITING), [], "", gr.Button(interactive=True), gr.Button(interactive=False)


def _chat(base: Any, chosen: list[str] | None, beside: bool, text: str, history: list[Any], settings: Any,
          request: gr.Request) -> Iterator[Any]:
    """Ask each model in its own conversation; `history` holds one list of turns for each."""
    user = session.user(request)
    who = play_who.players(user, shell.chosen(base), chosen, beside)
    if not (text or "").strip():
        raise NothingToAsk("message")
    turns = [list(said) for said in history] if len(history) == len(who.ids) else [[] for _ in who.ids]
    options = form.values(settings).get("options", {})
    made: list[str] = []
    for said, one in zip(turns, who.ids, strict=True):
        said.append({"role": "user", "content": text.strip()})
        made.append(service.ask(user, who.question() | {"adapters": [one], "messages": said, "options": options}).id)
    notes, going = ["Waiting"] * len(made), [False] * len(made)
    for said in turns:
        said.append({"role": "assistant", "content": ""})

    def state(busy: bool, words: Any = "") -> tuple[Any, ...]:
        return (play_view.talks(who.names, turns, going, notes), turns, " ".join(made) if busy else "", words,
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


def _script(base: Any, chosen: list[str] | None, beside: bool, text: str, history: list[Any], settings: Any,
            request: gr.Request) -> str:
    """Return the commands that send the message being written, or the last one that was sent."""
    key = shell.chosen(base)
    task = play_who.task_of(key)
    if task is None or task.playground != "chat":
        return ""
    try:
        who = play_who.players(session.user(request), key, chosen, beside)
    except StudioError:
        return ""
    turns = [list(said) for said in history] if len(history) == len(who.ids) else [[] for _ in who.ids]
    if (text or "").strip():
        turns = [[*said, {"role": "user", "content": text.strip()}] for said in turns]
    elif turns and turns[0]:
        turns = [said[:-1] for said in turns]
    else:
        return ""
    options = form.values(settings).get("options", {})
    return play_who.script(snippets.Question(who.task, who.model, who.ids, conversations=turns, options=options), who,
                           request)
