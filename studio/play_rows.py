"""The playground's rows: what a task reads is filled in, and each model's reply drawn in a column of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from engine import tasks
from engine.errors import StudioError
from engine.tasks import ColumnRole, Task
from studio import form, parts, play_view, play_who, service, session, shell, snippets
from studio.play_who import NothingToAsk
from studio.service import asked_rows
from studio.service.predictions import NotAnswered, told

WAITING = "Fill in what is asked, or take one of the evaluation rows, and see what each model says."
EXAMPLES = "Evaluation rows to try"
SETTINGS = "playground-row-settings"

#: No image, and no right answer known.
NOTHING: dict[str, str] = {}


def written(task: type[Task]) -> list[ColumnRole]:
    """Return the roles that are filled by writing."""
    return [role for role in task.asks if role.kind != "image"]


def seen(task: type[Task]) -> list[ColumnRole]:
    """Return the roles that are filled with an image."""
    return [role for role in task.asks if role.kind == "image"]


def build(base: gr.HTML, chosen: gr.Dropdown, beside: gr.Checkbox, problem: gr.HTML) -> list[Any]:
    """Draw the part and return what `view` changes: image, settings, its frame, examples, and a box for each text."""
    most = max(len(written(task)) for task in tasks.every().values() if task.playground != "chat")
    with gr.Row(elem_classes=["ps-ask"]):
        with gr.Column(elem_classes=["ps-ask-text"], min_width=0):
            boxes = [gr.Textbox(label=f"Text {i + 1}", lines=3, max_lines=14, visible=i == 0,
                                elem_id=f"playground-field-{i + 1}") for i in range(most)]
            upload = gr.File(label="Image", type="filepath", visible=False, elem_id="playground-image", height=120,
                             file_types=[".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tiff"])
            picture = shell.html(elem_id="playground-thumbnail")
            with parts.toolbar("playground-asking"):
                ask = gr.Button("Ask", variant="primary", elem_id="playground-ask")
                stop = gr.Button("Stop", elem_id="playground-ask-stop", interactive=False)
            with gr.Accordion("How answers are made", open=False, visible=False,
                              elem_id="playground-row-options") as how:
                settings = form.settings([], elem_id=SETTINGS)
        result = shell.html(play_view.waiting(WAITING), elem_id="playground-answers")
        examples = shell.choice([], None, label=EXAMPLES, elem_id="playground-examples", columns=1)
    script = parts.kept("playground-script")
    asking, image, expected = gr.State(""), gr.State(NOTHING), gr.State(NOTHING)
    said = [base, chosen, beside, image, expected, settings, *boxes]
    outputs = [result, asking, stop]
    event = shell.on([ask.click, *(box.submit for box in boxes)], _ask, said, outputs, card=problem)
    picked = shell.on([examples.input], _fill, [base, examples], [upload, image, picture, expected, *boxes],
                      card=problem).then(shell.safely(_ask, outputs=3, card=problem), said, [*outputs, problem],
                                         show_progress="hidden", api_visibility="private")
    shell.on([upload.upload, upload.clear], _look, [upload], [image, picture], card=problem)
    shell.on([stop.click], play_who.stop, [asking], [stop], card=problem)
    shell.on([base.input, chosen.input], _forget, [asking], outputs, card=problem, cancels=[event, picked])
    shell.on([*(box.change for box in boxes), image.change, settings.input, base.input, chosen.input, beside.input],
             _script, said, [script], trigger_mode="always_last")
    return [upload, settings, how, examples, *boxes]


def view(task: type[Task] | None, options: list[dict[str, Any]], usual: dict[str, Any], count: int,
         trained: Sequence[Collection[str]] = ()) -> list[Any]:
    """Return the updates of what `build` returned, for a task; `count` is how many components that were.

    `trained` are the roles that each of the adapters asked was trained with: others are not asked for, and what all of
    them were trained with is not called optional. None of them leaves that open.
    """
    roles, images = (written(task), seen(task)) if task is not None else ([], [])
    groups = [form.Group("options", "Settings", task.asking)] if task is not None else []
    chooses = bool(task is not None and task.asking.model_fields)
    picks = shell.choices(options, None, label=EXAMPLES, titled=True, columns=1)
    needed = task.lacks(()) if task is not None else []
    known = {*needed, *(name for names in trained for name in names)}
    expected = {*needed, *(name for name in known if trained and all(name in names for names in trained))}
    # A box that is hidden forgets its text: it would be asked with.
    boxes = [gr.Textbox(label=role.title + ("" if role.name in expected else " (may stay empty)"), visible=True,
                        placeholder=_hint(role)) if not trained or role.name in known else
             gr.Textbox(value="", visible=False) for role in roles]
    boxes += [gr.Textbox(visible=False) for _ in range(count - 4 - len(roles))]
    return [gr.File(label=images[0].title if images else "Image", visible=bool(images)),
            form.state(groups, {"options": usual}, elem_id=SETTINGS), gr.Accordion(visible=chooses),
            gr.HTML(picks, visible=bool(options)), *boxes]


def _hint(role: ColumnRole) -> str:
    """Return what a person is told in an empty box: a list of words is written as a sentence."""
    return "A sentence as it is written." if role.kind == "words" else role.help


def _fill(base: Any, picked: Any, request: gr.Request) -> tuple[Any, ...]:
    """Put an evaluation row into the boxes; an image is that of the run."""
    task = play_who.task_of(shell.chosen(base))
    option = play_view.example(shell.chosen(picked))
    asked = option.get("asked", {})
    texts = [asked.get(role.name, "") for role in written(task)] if task is not None else []
    most = max(len(written(kind)) for kind in tasks.every().values() if kind.playground != "chat")
    texts += [gr.skip()] * (most - len(texts))
    expected = {"answer": option.get("expected", ""), "asked": asked}
    places = [asked[role.name] for role in seen(task) if asked.get(role.name)] if task is not None else []
    if not places:
        return gr.skip(), gr.skip(), gr.skip(), expected, *texts
    path = service.run_file(session.user(request), option["run"], places[0])
    made = {"name": Path(option.get("text") or path.name).name, "path": str(path)}
    return None, made, play_view.thumbnail(path.read_bytes(), made["name"]), expected | {"image": str(path)}, *texts


def _look(upload: str | None) -> Iterator[tuple[dict[str, str], str]]:
    """Take an uploaded image, which lies where Gradio put it, and show it small; one that is broken is forgotten."""
    yield NOTHING, ""
    if upload:
        path = Path(upload)
        asked_rows.read_image(path)
        yield {"name": path.name, "path": str(path)}, play_view.thumbnail(path.read_bytes(), path.name)


def _forget(asking: str, request: gr.Request) -> Any:
    play_who.stop(asking, request)
    return play_view.waiting(WAITING), "", gr.Button(interactive=False)


def _row(task: type[Task], texts: tuple[str, ...]) -> dict[str, str]:
    return {role.name: text for role, text in zip(written(task), texts, strict=False) if (text or "").strip()}


def _ask(base: Any, chosen: list[str] | None, beside: bool, image: dict[str, str], expected: dict[str, Any],
         settings: Any, *texts: str, request: gr.Request) -> Iterator[Any]:
    user, key = session.user(request), shell.chosen(base)
    who, task = play_who.players(user, key, chosen, beside), tasks.get((key or "").partition(" · ")[2])
    row = _row(task, texts)
    pictures = {role.name: image["path"] for role in seen(task) if image}
    if lacking := [role.title for role in task.asks if role.name in task.lacks({*row, *pictures})]:
        raise NothingToAsk(lacking[0], try_this=f"Fill in: {', '.join(lacking)}.")
    right = expected.get("answer", "") if _same(expected, row, image) else ""
    sent = row | {role: asked_rows.read_image(Path(path), image["name"]) for role, path in pictures.items()}
    options = form.values(settings).get("options", {}) if task.asking.model_fields else {}
    made = service.ask(user, who.question() | {"rows": [sent], "options": options})
    heard: list[Any] = [None] * len(who.ids)

    def state(doing: str, busy: bool = True) -> tuple[Any, ...]:
        return (play_view.answers(who.names, heard, doing, right), made.id if busy else "",
                gr.Button(interactive=busy))

    yield state("Asking")
    for message in service.stream(user, made.id):
        if message["event"] == "state" and message.get("text"):
            yield state(message["text"])
        elif message["event"] == "answer":
            heard[message["index"]] = message
            yield state("Asking")
        elif message["event"] == "done":
            yield state("", busy=False)
            if message["state"] == "failed":
                raise told(message.get("error"))
            return
    raise NotAnswered(made.id, seconds=120, state="no answer")


def _same(expected: dict[str, Any], row: dict[str, str], image: dict[str, str]) -> bool:
    """Tell whether what is asked is still the evaluation row that was picked."""
    asked = expected.get("asked", {})
    return bool(asked) and expected.get("image", "") == image.get("path", "") and all(
        asked.get(role, "") == text for role, text in row.items())


def _script(base: Any, chosen: list[str] | None, beside: bool, image: dict[str, str], expected: dict[str, Any],
            settings: Any, *texts: str, request: gr.Request) -> str:
    """Return the commands that ask what is filled in, nothing while something is missing."""
    key = shell.chosen(base)
    task = play_who.task_of(key)
    if task is None or task.playground in ("", "chat"):
        return ""
    row, files = _row(task, texts), {role.name: image["name"] for role in seen(task) if image}
    if task.lacks({*row, *files}):
        return ""
    try:
        who = play_who.players(session.user(request), key, chosen, beside)
    except StudioError:
        return ""
    options = form.values(settings).get("options", {}) if task.asking.model_fields else {}
    return play_who.script(snippets.Question(who.task, who.model, who.ids, row=row, files=files, options=options), who,
                           request)
