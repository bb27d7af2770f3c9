"""Train: choose data, model, method and settings, see what they mean, start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from db import runs
from db.users import User
from engine.advise import Advice
from engine.errors import ModelError, StudioError
from studio import advice_view, cards, choices, form, method_view, plots, preview, rate_view, service, session, shell
from studio.draft import USUAL, Draft, from_query
from studio.pages import Page

PAGE = Page("train", "Train", icon="M10.5 2.5 5 11h4.5l-1 6.5L15 8.5h-4.5z")


class NothingChosen(StudioError):
    """No {missing} is chosen yet."""

    kind = "nothing_chosen"
    try_this = "Choose one above."


@dataclass(frozen=True)
class Parts:
    """The page's components, in the order handlers take and return them."""

    dataset: gr.HTML
    eval: gr.HTML
    task: gr.HTML
    model: gr.HTML
    method: gr.HTML
    settings: gr.HTML
    notes: list[gr.HTML]
    shown: list[Any]
    apply: gr.Button
    rate: list[Any]

    @property
    def inputs(self) -> list[Any]:
        """What a person chooses."""
        return [self.dataset, self.eval, self.task, self.model, self.method, self.settings]


def build() -> None:
    """Draw the page."""
    with shell.frame(PAGE, title="Train", lead="Choose what to teach, to which model, and how. "
                     "The card beside it shows what that means before anything is loaded."):
        card, lost = shell.html(elem_id="train-error"), shell.html(elem_id="train-lost")
        with gr.Row(elem_classes=["ps-two"]):
            with gr.Column():
                dataset, other, notes, task, model, method, settings, apply = _choices()
                with shell.section("Learning rate", elem_id="train-rate"):
                    rate = rate_view.components()
            with gr.Column(elem_classes=["ps-stay"]):
                shown, name, start = _card()
        go = shell.address("train-address")
        timer = gr.Timer(1.0, active=False)
        parts = Parts(dataset, other, task, model, method, settings, notes, [*shown, start, apply, go, timer], apply,
                      rate)
        _wire(parts, name, start, go, timer, card)
        shell.load(_lost, None, [lost])


def _choices() -> tuple[Any, ...]:
    with shell.section("Data", elem_id="train-data"):
        dataset = shell.picker(label="Dataset", elem_id="train-dataset")
        data_note = shell.html(elem_id="train-dataset-note")
        other = shell.picker(label="Evaluate on", elem_id="train-eval")
        task = shell.choice(label="Task", elem_id="train-task", columns=2)
    with shell.section("Base model", elem_id="train-base"):
        model = shell.picker(label="Base model", elem_id="train-model")
        model_note = shell.html(elem_id="train-model-note")
    with shell.section("Recommended settings", elem_id="train-advised"):
        advice = shell.html(elem_id="train-advice")
        apply = gr.Button("Apply", elem_id="train-apply", size="sm", interactive=False)
    with shell.section("Method", elem_id="train-how"):
        about = shell.html(elem_id="train-about")
        method = shell.choice(label="Method", elem_id="train-method", columns=2)
    with shell.section("Settings", elem_id="train-set"):
        settings = form.settings(Draft().groups(), elem_id=choices.SETTINGS)
    return dataset, other, [data_note, model_note, advice, about], task, model, method, settings, apply


def _card() -> tuple[list[Any], gr.Textbox, gr.Button]:
    with shell.section("Preview", elem_id="train-preview"):
        name = gr.Textbox(label="Name of the run", placeholder="Made from the dataset and method", elem_id="train-name",
                          max_length=200)
        # On a phone this is a bar at the foot of the window.
        with gr.Column(elem_classes=["ps-go"]):
            verdict = shell.html(elem_id="train-verdict")
            start = gr.Button("Start training", variant="primary", elem_id="train-start", interactive=False)
        with gr.Column(elem_classes=["ps-rest"]):
            reasons = shell.html(elem_id="train-reasons")
            numbers = shell.html(elem_id="train-numbers")
            shell.html('<h3 class="ps-small-title">Where the trained parameters sit</h3>')
            figure = plots.figure(elem_id="train-chart", label="Where the trained parameters sit")
            details = shell.html(elem_id="train-details")
    return [verdict, reasons, numbers, figure, details], name, start


def _wire(parts: Parts, name: gr.Textbox, start: gr.Button, go: gr.HTML, timer: gr.Timer, card: gr.HTML) -> None:
    everything = [*parts.inputs, *parts.notes, *parts.shown]
    shell.load(_open, None, everything, card=card)
    shell.on(parts.dataset.input, _other_dataset, parts.inputs, everything, card=card)
    shell.on([parts.task.input, parts.method.input], _changed, parts.inputs, everything, card=card,
             trigger_mode="always_last")
    shell.on(parts.settings.input, _set, parts.inputs, parts.shown, card=card, trigger_mode="always_last")
    # Settings that are typed while an answer is on its way must not be overwritten by it.
    without_settings = [*parts.inputs[:-1], *parts.notes, *parts.shown]
    shell.on([parts.eval.input, parts.model.input], _waited, parts.inputs, without_settings, card=card,
             trigger_mode="always_last")
    shell.on(parts.apply.click, _apply, parts.inputs, everything, card=card, trigger_mode="once")
    run, _, _, _, find, stop, use, ticks = parts.rate
    shell.on(find.click, _find_rate, parts.inputs, parts.rate, card=card, trigger_mode="once")
    shell.on(stop.click, _stop_rate, [run], parts.rate, card=card)
    shell.on(ticks.tick, _watch_rate, [run], parts.rate, card=card, trigger_mode="once", clears=False)
    shell.on(use.click, _use_rate, [*parts.inputs, run], everything, card=card)
    shell.on(timer.tick, _waited, parts.inputs, without_settings, card=card)
    shell.on(start.click, _start, [*parts.inputs, name], [go], card=card, busy="minimal")


# -- handlers ----------------------------------------------------------------------------------------------------------

def _open(request: gr.Request) -> list[Any]:
    user = session.user(request)
    query = shell.queries(request)
    if run := query.get("from"):
        draft = rate_view.draft_of(user, run)
        return _everything(user, replace(draft, own=choices.own_options(user, draft)))
    return _everything(user, choices.completed(user, from_query(query)))


def _lost(request: gr.Request) -> str:
    """Return what the address names that is not here."""
    query = shell.queries(request)
    return "" if query.get("from") else choices.absent(session.user(request), from_query(query))


def _other_dataset(*chosen: Any, request: gr.Request) -> list[Any]:
    user = session.user(request)
    return _everything(user, choices.with_dataset(user, _draft(chosen, request)))


def _changed(*chosen: Any, request: gr.Request) -> list[Any]:
    return _everything(session.user(request), _draft(chosen, request))


def _waited(*chosen: Any, request: gr.Request) -> list[Any]:
    made = _everything(session.user(request), _draft(chosen, request))
    return [*made[:5], *made[6:]]


def _apply(*chosen: Any, request: gr.Request) -> list[Any]:
    user, draft = session.user(request), _draft(chosen, request)
    found = advice_view.advice_for(user, draft)
    return _everything(user, advice_view.applied(draft, found) if found else draft)


def _set(*chosen: Any, request: gr.Request) -> list[Any]:
    user, draft = session.user(request), _draft(chosen, request)
    return _shown(user, draft, advice_view.advice_for(user, draft))


def _start(*chosen: Any, request: gr.Request) -> str:
    user, draft = session.user(request), _draft(chosen[:-1], request)
    problems = _missing(draft)
    if problems:
        raise problems[0]
    row = service.start_run(user, draft.document(), name=str(chosen[-1] or ""))
    return f"/runs?run={row.id}"


def _find_rate(*chosen: Any, request: gr.Request) -> list[Any]:
    user, draft = session.user(request), _draft(chosen, request)
    problems = _missing(draft)
    if problems:
        raise problems[0]
    row = service.start_run(user, draft.document() | {"rate_test": {}}, name=f"Learning rates, {draft.method}")
    return rate_view.values(user, row.id)


def _watch_rate(run: str, request: gr.Request) -> list[Any]:
    return rate_view.values(session.user(request), run)


def _stop_rate(run: str, request: gr.Request) -> list[Any]:
    user = session.user(request)
    service.stop_run(user, run, "save")
    return rate_view.values(user, run)


def _use_rate(*chosen: Any, request: gr.Request) -> list[Any]:
    user, draft = session.user(request), _draft(chosen[:-1], request)
    rate = rate_view.suggested(runs.get(user, str(chosen[-1])))
    return _everything(user, rate_view.with_rate(draft, rate) if rate is not None else draft)


def _draft(chosen: tuple[Any, ...], request: gr.Request) -> Draft:
    dataset, other, task, model, method, settings = chosen
    ref, _, revision = (shell.chosen(model) or "").partition("@")
    draft = Draft(shell.chosen(dataset) or "", shell.chosen(other) or USUAL, shell.chosen(task) or "", ref,
                  revision or None, shell.chosen(method) or "lora", form.values(settings))
    draft = draft.with_own(choices.own_options(session.user(request), draft))
    # Steps that came from a run are kept in the address, as long as its dataset is.
    known = from_query(shell.queries(request))
    return replace(draft, steps=known.steps) if known.dataset == draft.dataset else draft


def _missing(draft: Draft) -> list[StudioError]:
    needed = {"dataset": draft.dataset, "task": draft.task or not draft.dataset, "base model": draft.model}
    return [NothingChosen(name, missing=name) for name, value in needed.items() if not value]


def _everything(user: User, draft: Draft) -> list[Any]:
    """Return values for every component: the choices, what is said about them, the settings and the preview."""
    trouble = ""
    try:
        choices.add_model(user, draft)
    except ModelError as problem:
        trouble = cards.error(problem)
    now, advice = choices.look(user, draft), advice_view.advice_for(user, draft)
    return [choices.datasets_shown(now), choices.evals_shown(now), choices.tasks_shown(now), choices.models_shown(now),
            choices.methods_shown(now), choices.settings_shown(user, draft),
            choices.dataset_note(now), trouble or choices.model_note(now),
            advice_view.card(advice, now), method_view.about(draft.method), *_shown(user, draft, advice)]


def _shown(user: User, draft: Draft, advice: Advice | None) -> list[Any]:
    """Return the preview card, the buttons to start and to apply the advice, the address and the timer."""
    problems, found = _missing(draft), None
    if not problems:
        try:
            found = service.check(user, draft.document())
            problems = list(found.obstacles)
        except StudioError as problem:
            problems = [problem]
    waiting = choices.waiting_for(found.dataset, found.model) if found else ""
    if waiting:
        problems = [p for p in problems if p.kind not in ("dataset_not_ready", "model_not_ready")]
    return [preview.verdict(found, problems, waiting if not problems else ""), preview.reasons(found, problems),
            preview.numbers(found),
            preview.chart(found), preview.details(draft, found), gr.Button(interactive=not problems and not waiting),
            advice_view.button(draft, advice), draft.url(), gr.Timer(active=bool(waiting) or _counting(user, found))]


def _counting(user: User, found: service.Check | None) -> bool:
    """Whether the rows' tokens are being counted: the advice and what is cut follow."""
    return found is not None and (look := service.lengths.look(user, found.spec, found.dataset)).working and \
        not look.lost


def changed_to(draft: Draft, **values: Any) -> str:
    """Return the URL of this page with a draft changed; other pages link with it."""
    return PAGE.path + replace(draft, **values).url()
