"""Combine: make one adapter of several, and see how it compares with its parts."""

from __future__ import annotations

from typing import Any

import gradio as gr

from db import compositions
from db.tables import Composition
from db.users import User
from studio import cards, combine_result, combine_view, form, parts, plots, service, session, shell, source_view
from studio.combine_view import MOST, Draft
from studio.pages import Page

PAGE = Page("combine", "Combine", icon="M4 4v3a4 4 0 0 0 4 4h4a4 4 0 0 1 4 4v1M16 4v3a4 4 0 0 1-4 4")

SETTINGS = "combine-settings"
WAY = "Way of combining"
#: Seconds between two looks while adapters are being combined.
SOON = 1
EARLIER = 10


def build() -> None:
    """Draw the page."""
    lead = "Make one adapter of several that share a base model and a task. Nothing is trained."
    with shell.frame(PAGE, title="Combine", lead=lead):
        problem = shell.html(elem_id="combine-error")
        shown = _result_part(problem)
        empty = shell.html(elem_id="combine-empty")
        with gr.Column(visible=False, elem_id="combine-form") as choosing:
            inputs, name, start, verdict = _form_part()
        source_view.part(problem)
        earlier = parts.kept("combine-earlier", ["ps-stack"])
        where = shell.address("combine-address")
        base, chosen, how, dataset, settings, *weights = inputs
        view = [*inputs, verdict, start]
        shell.load(_open, None, [choosing, empty, earlier, *view, *shown], card=problem)
        everything = [where, *view]
        shell.on([base.input, chosen.input, how.input, dataset.input], _changed, inputs, everything, card=problem,
                 trigger_mode="always_last")
        # What is being typed must not be overwritten by an answer on its way.
        shell.on([settings.input, *(box.input for box in weights)], _set, inputs, [where, verdict, start], card=problem,
                 trigger_mode="always_last")
        shell.on([start.click], _start, [*inputs, name], [where], card=problem, busy="minimal")


def _result_part(problem: gr.HTML) -> list[Any]:
    state = parts.kept("combine-state")
    cancel = gr.Button("Stop combining", elem_id="combine-cancel", size="sm", visible=False)
    with gr.Column(visible=False, elem_id="combine-search", min_width=0) as search:
        figure = parts.chart("What was tried", "combine-curve")
    timer = gr.Timer(SOON, active=False)
    shown = [state, search, figure, cancel, timer]
    shell.on([timer.tick], _progress, None, shown, card=problem, trigger_mode="once", clears=False)
    shell.on([cancel.click], _cancel, None, shown, card=problem)
    return shown


def _form_part() -> tuple[list[Any], gr.Textbox, gr.Button, gr.HTML]:
    with shell.section("Adapters", elem_id="combine-what"):
        base = shell.picker(label="Base model and task", elem_id="combine-base")
        chosen = gr.Dropdown([], label="Adapters", multiselect=True, max_choices=MOST, elem_id="combine-adapters")
    with shell.section("How", elem_id="combine-way"):
        how = shell.choice(label=WAY, elem_id="combine-how", columns=2)
        with gr.Row(elem_id="combine-weights", elem_classes=["ps-weights"]):
            weights = [gr.Number(label="Weight", visible=False, elem_id=f"combine-weight-{place}", step=0.1,
                                 min_width=150) for place in range(MOST)]
    with shell.section("Settings", elem_id="combine-set"):
        settings = form.settings(combine_view.groups("cat"), elem_id=SETTINGS)
    with shell.section("Measure it", elem_id="combine-data"):
        dataset = shell.picker(label="Dataset", elem_id="combine-dataset")
    with shell.section("Combine", elem_id="combine-go"):
        name = gr.Textbox(label="Name of the new adapter", placeholder="Made from the adapters and the way",
                          elem_id="combine-name", max_length=200)
        verdict = shell.html(elem_id="combine-verdict")
        start = gr.Button("Combine", variant="primary", elem_id="combine-start", interactive=False)
    return [base, chosen, how, dataset, settings, *weights], name, start, verdict


# -- choosing -------------------------------------------------------------------------------------------------------


def _open(request: gr.Request) -> tuple[Any, ...]:
    user, query = session.user(request), shell.queries(request)
    row = _row(user, query.get("composition", ""))
    # The address holds choices made since, if there are any.
    draft = (combine_view.from_row(user, row) if row is not None and "adapters" not in query
             else combine_view.from_query(user, query))
    some = bool(combine_view.bases(user))
    nothing = "" if some else cards.empty(
        "Two adapters are needed", "Train two LoRA adapters of one base model for one task, then combine them here.",
        [("Train", "/train"), ("All adapters", "/adapters")])
    if query.get("composition") and row is None:
        nothing = cards.note("It may have been deleted.", "warn", "That combination is not there any more.") + nothing
    nothing = parts.absent([("adapter", id, combine_view.there(user, id))
                            for id in query.get("adapters", "").split(",")]) + nothing
    others = [one for one in compositions.find(user, limit=EARLIER + 1) if row is None or one.id != row.id]
    return (gr.Column(visible=some), nothing, combine_result.earlier(others[:EARLIER]), *_view(user, draft),
            *_shown(row))


def _changed(*chosen: Any, request: gr.Request) -> tuple[Any, ...]:
    user = session.user(request)
    draft = combine_view.completed(user, _draft(chosen))
    return draft.url(shell.query(request, "composition")), *_view(user, draft)


def _set(*chosen: Any, request: gr.Request) -> tuple[Any, ...]:
    draft = _draft(chosen)
    said, ready = combine_view.verdict(session.user(request), draft)
    return draft.url(shell.query(request, "composition")), said, gr.Button(interactive=ready)


def _start(*chosen: Any, request: gr.Request) -> str:
    user, draft = session.user(request), _draft(chosen[:-1])
    made = service.compose(user, draft.adapters, draft.recipe(), name=str(chosen[-1] or ""),
                           dataset_id=draft.dataset or None)
    return f"/combine?composition={made.id}"


def _draft(chosen: tuple[Any, ...]) -> Draft:
    base, adapters, how, dataset, settings, *weights = chosen
    picked = tuple((adapters or [])[:MOST])
    given = tuple(None if value is None else float(value) for value in weights[:len(picked)])
    values = {name: value for name, value in form.values(settings).get("recipe", {}).items()
              if name not in combine_view.OWN}
    return Draft(shell.chosen(base) or "", picked, shell.chosen(how) or "cat", given, shell.chosen(dataset) or "",
                 values)


def _view(user: User, draft: Draft) -> tuple[Any, ...]:
    """Return values for every component of the form, in its order, then the verdict and the button."""
    found = combine_view.chosen_rows(user, draft)
    base, dataset = combine_view.picks(user, draft)
    options = combine_view.way_options(found)
    said, ready = combine_view.verdict(user, draft)
    chosen = gr.Dropdown(choices=combine_view.adapter_choices(user, draft.base), value=list(draft.adapters))
    return (base, chosen, shell.choices(options, draft.how, label=WAY, columns=2), dataset,
            combine_view.settings_state(draft, SETTINGS), *_weights(draft, combine_view.names(found)), said,
            gr.Button(interactive=ready))


def _weights(draft: Draft, names: list[str]) -> list[gr.Number]:
    """Return a box for each adapter's weight, empty ones for the usual weights; LoraHub finds them itself."""
    usual = combine_view.usual(draft)
    boxes: list[gr.Number] = []
    for place in range(MOST):
        there = place < len(names) and draft.how != "lorahub"
        given = draft.weights[place] if place < len(draft.weights) else None
        label = f"Weight of {names[place]}" if place < len(names) else "Weight"
        boxes.append(gr.Number(label=label, visible=there, value=given, placeholder=f"{usual:.3g}"))
    return boxes


# -- what comes of it -----------------------------------------------------------------------------------------------


def _row(user: User, id: str) -> Composition | None:
    return parts.found(lambda: compositions.get(user, id)) if id else None


def _shown(row: Composition | None) -> tuple[Any, ...]:
    """Return how far it is, what was tried, whether one may stop it, and the timer."""
    if row is None:
        return "", gr.Column(visible=False), plots.blank("What was tried"), gr.Button(visible=False), \
            gr.Timer(active=False)
    figure = combine_result.curve(row)
    working = row.state not in compositions.ENDED
    return (combine_result.status(row), gr.Column(visible=figure is not None), figure or plots.blank("What was tried"),
            gr.Button(visible=working), gr.Timer(active=working))


def _progress(request: gr.Request) -> tuple[Any, ...]:
    return _shown(_row(session.user(request), shell.query(request, "composition")))


def _cancel(request: gr.Request) -> tuple[Any, ...]:
    user = session.user(request)
    return _shown(service.cancel_composition(user, shell.query(request, "composition")))
