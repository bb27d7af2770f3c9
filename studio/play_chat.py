"""The playground's conversations: each model answers in one of its own, word by word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from db.users import User
from engine.errors import StudioError
from engine.tasks import Task
from studio import form, parts, play_view, play_who, service, session, shell, snippets
from studio.play_who import NothingToAsk
from studio.service.predictions import told

WAITING = "Each model answers in a conversation of its own."
EXAMPLES = "Evaluation rows to try"
SETTINGS = "playground-chat-settings"

#: A conversation: each turn has role and content, and where an answer was cut off says so in "stopped".
Turns = list[dict[str, str]]


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
    turns = [answered(said) for said in history] if len(history) == len(who.ids) else [[] for _ in who.ids]
    options = form.values(settings).get("options", {})
    made: list[str] = []
    for said, one in zip(turns, who.ids, strict=True):
        said.append({"role": "user", "content": text.strip()})
        asked = {"adapters": [one], "messages": messages(said), "options": options}
        made.append(service.ask(user, who.question() | asked).id)
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
                _end(made, turns, user)
                yield state(False, text)
                raise told(message.get("error"))
            hear(message, place, turns, notes, going)
            if message["event"] in ("text", "state", "answer"):
                yield state(True)
    yield state(False)


def _end(made: list[str], turns: list[Turns], user: User) -> None:
    """Stop every answer under way, and take out of the conversations what was not said."""
    for one in reversed(made):
        service.stop_asking(user, one)
    for said in turns:
        if said and not said[-1]["content"]:
            said.pop()


def answered(said: Turns) -> Turns:
    """Return a conversation up to its last answer: what a model was stopped before answering is asked no more."""
    return said[:-1] if said and said[-1]["role"] == "user" else list(said)


def messages(said: Turns) -> Turns:
    """Return the turns as they are sent: who speaks and what, without what is only shown."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in said]


def hear(message: dict[str, Any], place: int, turns: list[Turns], notes: list[str], going: list[bool]) -> None:
    """Put what a model said into its conversation; of one that was stopped before it said anything no answer stays."""
    if turns[place][-1]["role"] != "assistant":
        return
    last = turns[place][-1]
    if message["event"] == "state":
        notes[place] = message.get("text") or message["state"].capitalize()
    elif message["event"] == "text":
        last["content"] += message["text"]
        notes[place], going[place] = "", True
    elif message["event"] == "answer":
        last["content"] = message["answer"]["text"]
        notes[place], going[place] = play_view.footer(message["answer"]), False
        if message["answer"].get("stopped") == "cancelled":
            last["stopped"] = play_view.STOPPED
    elif message["event"] == "done":
        going[place] = False
        if message["state"] == "cancelled":
            last["stopped"] = play_view.STOPPED
            if not last["content"]:
                turns[place].pop()
                notes[place] = play_view.NOT_BEGUN


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
    turns = [messages(said) for said in history] if len(history) == len(who.ids) else [[] for _ in who.ids]
    if (text or "").strip():
        turns = [[*answered(said), {"role": "user", "content": text.strip()}] for said in turns]
    elif turns and turns[0]:
        turns = [said[:-1] if said[-1]["role"] == "assistant" else said for said in turns]
    else:
        return ""
    options = form.values(settings).get("options", {})
    return play_who.script(snippets.Question(who.task, who.model, who.ids, conversations=turns, options=options), who,
                           request)
