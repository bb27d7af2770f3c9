"""The Train page's recommendation: what suits this data and base model, why, and the draft with it applied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from db.users import User
from engine import methods, tasks
from engine.advise import Advice, Reason
from engine.errors import StudioError
from engine.spec import ModelRef, Training
from studio import cards, form, service
from studio.choices import Chosen
from studio.draft import Draft
from studio.text import esc


def advice_for(user: User, draft: Draft) -> Advice | None:
    """Return what is recommended for the data, task and base model of a draft; None while any of them is missing."""
    if not (draft.dataset and draft.task and draft.model):
        return None
    try:
        return service.advise(user, draft.document()).advice
    except StudioError:
        # The preview beside it says what is wrong.
        return None


def applied(draft: Draft, advice: Advice) -> Draft:
    """Return the draft with the recommended method and settings; others keep their values, the method's their usual."""
    own = {name: value for name, value in advice.method.items() if name != "name"}
    values = dict(draft.values)
    values[f"method.{advice.method['name']}"] = own
    values["training"] = dict(values.get("training", {})) | advice.training
    values["model"] = dict(values.get("model", {})) | {"quantization": None} | advice.model
    return replace(draft, method=advice.method["name"], values=values)


def follows(draft: Draft, advice: Advice) -> bool:
    """Whether a draft already has every recommended setting."""
    wanted = applied(draft, advice)
    return draft.method == wanted.method and all(_value(draft, group, name) == value
                                                 for group, inner in wanted.values.items()
                                                 for name, value in inner.items())


def button(draft: Draft, advice: Advice | None) -> gr.Button:
    """Return the button that applies an advice: disabled where there is none or nothing is left to apply."""
    done = advice is not None and follows(draft, advice)
    return gr.Button("Applied" if done else "Apply", interactive=advice is not None and not done)


def card(advice: Advice | None, now: Chosen | None = None) -> str:
    """Return the recommended settings with rule and source each, warnings, and what would be worth comparing.

    Where there are none, it says why, as far as `now` tells.
    """
    if advice is None:
        return f'<p class="ps-under">{esc(_why_none(now))}</p>'
    warnings = "".join(cards.note(text, "warn") for text in advice.warnings)
    rows = "".join(_row(reason, advice.method["name"]) for reason in _last_word(advice.reasons))
    compare = "".join(f"<li><b>{esc(_title(name))}</b> <span>{esc(why)}</span></li>" for name, why in advice.compare)
    listing = f'<p class="ps-small-title">Worth comparing</p><ul class="ps-reasons">{compare}</ul>' if compare else ""
    return f'{warnings}<dl class="ps-advice">{rows}</dl>{listing}'


def _why_none(now: Chosen | None) -> str:
    """Return why nothing is recommended."""
    if now is not None and now.shape is not None and now.draft.task in tasks.every():
        if now.draft.task not in now.shape.task_heads:
            task = tasks.get(now.draft.task).card.title.lower()
            return (f"This base model cannot learn {task}, so no settings would suit. Choose another base model, or "
                    "another task.")
        if now.dataset is not None and now.dataset.state == "ready":
            return "Once what the preview names is put right, this says which method and settings suit."
    return "Once the data has been read and the base model measured, this says which method and settings suit them."


def _row(reason: Reason, method: str) -> str:
    if reason.setting == "method":
        name, value = "Method", _title(reason.value)
    else:
        name, value = _field(reason.setting, method, _read(reason.value))
    return (f"<div><dt>{esc(name)} <b>{esc(value)}</b></dt>"
            f'<dd>{esc(reason.rule)} <cite>{esc(reason.source)}</cite></dd></div>')


def _last_word(reasons: list[Reason]) -> list[Reason]:
    """Return the reason that decided each setting: a later rule may raise what an earlier one chose."""
    return list({reason.setting: reason for reason in reasons}.values())


def _field(name: str, method: str, value: Any) -> tuple[str, str]:
    """Return a setting's title and its value, as the form shows both."""
    for kind in (methods.get(method), Training, ModelRef):
        if (info := kind.model_fields.get(name)) is not None:
            return form.title(name, info), form.shown(info, value)
    return name.replace("_", " ").capitalize(), form.word(value)


def _title(method: str) -> str:
    kind = methods.every().get(method)
    return kind.card.title if kind else method


def _read(text: str) -> Any:
    return {"True": True, "False": False}.get(text, text)


def _value(draft: Draft, group: str, name: str) -> Any:
    """Return what the form shows for a setting: what was chosen, or the default."""
    chosen = draft.values.get(group, {})
    if name in chosen:
        return chosen[name]
    return next((form.defaults(each.model, each.skip).get(name) for each in draft.groups() if each.key == group), None)
