"""The tab "Prepare" of a dataset: its steps of preparation, and what each does to the first rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from db.tables import Dataset
from db.users import User
from engine import preparation
from engine.errors import Refused, StudioError
from engine.registry import name_of
from studio import cards, data_chat, data_looks, form, prepare_view, service, shell
from studio.text import plural
from studio.widgets import asset, drawn_by

FORM = "prepare-settings"


class NoStep(Refused):
    """No step is chosen."""

    kind = "no_step"
    try_this = "Choose a step first."


@dataclass(frozen=True)
class Parts:
    """The tab's components, in the order in which handlers return them."""

    steps: gr.HTML
    about: gr.HTML
    adding: gr.Column
    kind: gr.HTML
    settings: gr.HTML
    trial: gr.HTML
    save: gr.Button
    cancel: gr.Button
    place: gr.State

    @property
    def all(self) -> list[Any]:
        """Every component."""
        return list(vars(self).values())


def tab(problem: gr.HTML) -> None:
    """Draw the tab; it is filled when it is opened."""
    with gr.Tab("Prepare", id="prepare") as made:
        with gr.Column(elem_classes=["ps-section"], elem_id="dataset-prepare"):
            shell.html('<h2 class="ps-card-title">Steps of preparation</h2><p class="ps-lead">Every run takes them in '
                       "this order before it learns. They are kept with the run, so it can be repeated; the file stays "
                       "as it is.</p>")
            box = gr.HTML({}, html_template="", apply_default_css=False, padding=False, elem_id="prepare-steps",
                          label="Steps", elem_classes=["ps-widget"],
                          head=f'<script src="{asset("prepare.js")}"></script>',
                          js_on_load=drawn_by("studioPrepare", "steps"))
            about = shell.html(elem_id="prepare-about")
        with gr.Column(elem_classes=["ps-section"], elem_id="prepare-adding", visible=False) as adding:
            kind = shell.picker(label="Step", elem_id="prepare-kind")
            settings = form.settings([], elem_id=FORM)
            trial = shell.html(elem_id="prepare-trial")
            with gr.Row(elem_classes=["ps-toolbar"]):
                save = gr.Button("Add this step", variant="primary", elem_id="prepare-save", visible=False)
                cancel = gr.Button("Cancel", elem_id="prepare-cancel", visible=False)
        data_chat.part(problem)
        # Not beside the tabs: what is not a tab there would count as one.
        place = gr.State(None)
    parts = Parts(box, about, adding, kind, settings, trial, save, cancel, place)
    shell.load(_opened, None, parts.all, card=problem)
    shell.on([made.select], _shown, None, parts.all, card=problem)
    shell.on([box.input], _act, [box], parts.all, card=problem)
    shell.on([kind.input], _pick, [kind, parts.place], parts.all[3:], card=problem)
    shell.on([settings.input], _typed, [kind, settings, parts.place], [trial], card=problem, trigger_mode="always_last")
    shell.on([save.click], _save, [kind, settings, parts.place], parts.all, card=problem, busy="minimal")
    shell.on([cancel.click], _shown, None, parts.all, card=problem)


def _opened(request: gr.Request) -> list[Any]:
    return _shown(request) if shell.query(request, "tab") == "prepare" else [gr.skip()] * 9


def _shown(request: gr.Request) -> list[Any]:
    """Return the tab with its steps as they are kept, and nothing being added."""
    user, row = data_looks.opened(request)
    if row is None or row.state != "ready":
        note = data_looks.later(row)
        return [{"steps": [], "empty": ""}, note, gr.Column(visible=False), *_nothing()]
    found = service.preparation.preview_steps(user, row.id)
    fixed = row.eval_of_id is not None
    value = prepare_view.listing(found, fixed=fixed)
    value["steps"] += prepare_view.untried(service.preparation.steps_of(user, row), found)
    return [value, _about(row, found), gr.Column(visible=not fixed), *_nothing()]


def _about(row: Dataset, found: Any) -> str:
    if row.eval_of_id is not None:
        return cards.note("These rows go through the steps of the data they evaluate, but for those that draw rows.",
                          "info")
    if not found.steps or found.whole:
        return ""
    return cards.note(f"The counts are those of the first {found.looked_at:,} of {plural(found.rows, 'row')}; a run "
                      "takes the steps over all of them.", "info")


def _nothing() -> list[Any]:
    """Return the choice of steps with nothing chosen."""
    return [prepare_view.kinds(), prepare_view.settings(None, [], None, FORM), "", gr.Button(visible=False),
            gr.Button(visible=False), None]


def _act(value: Any, request: gr.Request) -> list[Any]:
    """Move, take out or open a step of the list."""
    user, row = _ready(request)
    act = value.get("act") if isinstance(value, Mapping) else None
    steps, place = list(row.steps), act.get("index") if isinstance(act, Mapping) else None
    if not isinstance(place, int) or not isinstance(act, Mapping) or not 0 <= place < len(steps):
        return _shown(request)
    what = act.get("do")
    if what == "edit":
        kind = preparation.get(steps[place]["name"])
        return [gr.skip()] * 3 + _editing(user, row, kind, steps[place], place)
    if what == "remove":
        del steps[place]
    elif what in ("up", "down") and 0 <= (other := place + (1 if what == "down" else -1)) < len(steps):
        steps[place], steps[other] = steps[other], steps[place]
    service.preparation.set_steps(user, row.id, steps)
    return _shown(request)


def _pick(kind: Any, place: Any, request: gr.Request) -> list[Any]:
    """Return the form of the chosen step."""
    user, row = _ready(request)
    name = shell.chosen(kind)
    return _editing(user, row, preparation.get(name), None, place) if name else _nothing()


def _editing(user: User, row: Dataset, kind: type[preparation.Step], values: Mapping[str, Any] | None,
             place: Any) -> list[Any]:
    """Return picker, form, preview and buttons for a step that is added or, at a place, changed."""
    columns = _columns(user, row, place)
    given = {name: value for name, value in (values or {}).items() if name != "name"}
    state = prepare_view.settings(kind, columns, given, FORM)
    known = f"Save step {place + 1}" if isinstance(place, int) else "Add this step"
    return [prepare_view.kinds(name_of(kind)), state, _trial(user, row, kind, form.values(state), place),
            gr.Button(known, visible=True), gr.Button(visible=True), place]


def _columns(user: User, row: Dataset, place: Any) -> list[str]:
    """Return the columns there are where a step is added or changed."""
    before = row.steps[:place] if isinstance(place, int) else row.steps
    return service.preparation.preview_steps(user, row.id, before, shown=0).columns_after


def _typed(kind: Any, settings: Any, place: Any, request: gr.Request) -> str:
    user, row = _ready(request)
    name = shell.chosen(kind)
    return _trial(user, row, preparation.get(name), form.values(settings), place) if name else ""


def _trial(user: User, row: Dataset, kind: type[preparation.Step], values: Mapping[str, Mapping[str, Any]],
           place: Any) -> str:
    """Return what the step would do as it is set now, or what is to be filled in first, or corrected."""
    if missing := prepare_view.unfilled(kind, values.get(name_of(kind), {})):
        return cards.note(f"Fill in {missing} to see what this step would do.", "muted")
    steps, at = _with(row, kind, values, place)
    try:
        found = service.preparation.preview_steps(user, row.id, steps)
    except StudioError as error:
        # Of a step that is being made, it goes without saying that it is to be corrected.
        return cards.note(str(error.facts["problem"]), "warn") if isinstance(error, preparation.StepInvalid) else \
            cards.note(error.try_this, "warn", error.what)
    if len(found.steps) <= at:
        return cards.note("A step before it cannot be done; look at the list.", "warn")
    shown = prepare_view.trial(found.steps[at], found.columns_before(at), prepare_view.looked_at(found))
    later = [one for one in found.steps[at + 1:] if "error" in one]
    return shown + "".join(cards.error(one["error"]) for one in later)


def _save(kind: Any, settings: Any, place: Any, request: gr.Request) -> list[Any]:
    user, row = _ready(request)
    name = shell.chosen(kind)
    if not name:
        raise NoStep("step")
    steps, _ = _with(row, preparation.get(name), form.values(settings), place)
    service.preparation.set_steps(user, row.id, steps)
    return _shown(request)


def _with(row: Dataset, kind: type[preparation.Step], values: Mapping[str, Mapping[str, Any]],
          place: Any) -> tuple[list[dict[str, Any]], int]:
    """Return the steps with the one that is being made, and its place; what was left empty is left out."""
    name = name_of(kind)
    given = {key: value for key, value in values.get(name, {}).items() if value is not None}
    steps, step = list(row.steps), {"name": name} | given
    if isinstance(place, int) and 0 <= place < len(steps):
        steps[place] = step
        return steps, place
    return [*steps, step], len(steps)


def _ready(request: gr.Request) -> tuple[User, Dataset]:
    user, row = data_looks.opened(request)
    if row is None:
        raise NoStep("step", try_this="Reload the page.")
    return user, row
