"""From a pydantic model to a form and back: every field of a method, task or training without naming one.

`settings([Group("training", "Training", Training)], elem_id="train-settings")` makes the component. Its `.input` event
fires on each change; `values(value)` is {"training": {"epochs": 3, …}}, ready for pydantic, which has the last word.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import gradio as gr
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from studio.widgets import scripted

Values = Mapping[str, Mapping[str, Any]]

#: The most a text of a form may hold.
LONGEST = 10_000
VOWELS = frozenset("aeiouy")


@dataclass(frozen=True)
class Group:
    """A model whose fields stand together under `title`; their values are kept under `key`.

    `off` tells of a field which of its words cannot be chosen here, and why; `choices` gives a field's options
    {value, label, disabled} where only what is there can be chosen.
    """

    key: str
    title: str
    model: type[BaseModel]
    skip: tuple[str, ...] = ("name",)
    off: Mapping[str, Mapping[Any, str]] = dataclasses.field(default_factory=dict)
    choices: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)


def settings(groups: Sequence[Group], values: Values | None = None, *, elem_id: str) -> gr.HTML:
    """Return a component with a control for every field; change what it shows by returning `state(...)`."""
    return scripted("settings", state(groups, values, elem_id=elem_id), elem_id=elem_id, label="Settings")


def state(groups: Sequence[Group], values: Values | None = None, *, elem_id: str) -> dict[str, Any]:
    """Return the value of a `settings` component: what to show, and defaults overlaid with `values`."""
    given = values or {}
    shown = [{"key": g.key, "title": g.title,
              "fields": _chosen_from(_without(fields(g.model, g.skip), g.off), g.choices)} for g in groups]
    return {"id": elem_id, "groups": [g for g in shown if g["fields"]],
            "values": {g.key: defaults(g.model, g.skip) | _known(g, given.get(g.key, {})) for g in groups}}


def values(value: Any) -> dict[str, dict[str, Any]]:
    """Return what a person chose, {group: {field: value}}; anything that is not plain data is left out."""
    chosen = value.get("values") if isinstance(value, Mapping) else None
    if not isinstance(chosen, Mapping):
        return {}
    return {str(key): _plain(inner) for key, inner in chosen.items() if isinstance(inner, Mapping)}


def defaults(model: type[BaseModel], skip: Iterable[str] = ("name",)) -> dict[str, Any]:
    """Return the default of every field as plain data."""
    return {name: _default(info) for name, info in model.model_fields.items() if name not in set(skip)}


def changes(model: type[BaseModel], chosen: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (title, value, default) of each field of `chosen` that differs from its default, as words where shown so.

    What has words of its own (all, no limit) stands as these.
    """
    usual, known = defaults(model), model.model_fields
    return [(title(name, known[name]), _shown(known[name], value) or value, _shown(known[name], usual[name]) or
             usual[name]) for name, value in chosen.items() if name in usual and value != usual[name]]


def fields(model: type[BaseModel], skip: Iterable[str] = ("name",)) -> list[dict[str, Any]]:
    """Return the description of each field's control, in the order of the class, base classes' fields last."""
    own = [name for name in model.model_fields if name not in set(skip)]
    own.sort(key=lambda name: name not in model.__annotations__)
    return [field(name, model.model_fields[name]) for name in own]


def _without(made: list[dict[str, Any]], off: Mapping[str, Mapping[Any, str]]) -> list[dict[str, Any]]:
    """Return controls with the reason beside each word that cannot be chosen."""
    for control in made:
        reasons = off.get(control["name"], {})
        control["options"] = [option | ({"disabled": reasons[option["value"]]} if option["value"] in reasons else {})
                              for option in control["options"]]
    return made


def _chosen_from(made: list[dict[str, Any]],
                 choices: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return controls that offer nothing but their `choices`, where they have any."""
    return [control | {"kind": "several" if control["kind"] == "list" else "choice",
                       "options": [dict(one) for one in choices[control["name"]]]}
            if control["name"] in choices else control for control in made]


def title(name: str, info: FieldInfo) -> str:
    """Return the label of a field."""
    return info.title or name.replace("_", " ").capitalize()


def field(name: str, info: FieldInfo) -> dict[str, Any]:
    """Return one control: what kind, its label, help, unit, bounds, slider, options and default."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    kind, options, part = _kind(info.annotation)
    low, high, inside = _bounds(info)
    default = _default(info)
    options = [option | {"label": _shown(info, option["value"]) or option["label"]} for option in options]
    made: dict[str, Any] = {
        "name": name, "title": title(name, info), "help": info.description or "", "kind": kind, "options": options,
        "unit": extra.get("unit", ""), "scale": extra.get("scale", "linear"), "advanced": bool(extra.get("advanced")),
        "shown_if": extra.get("shown_if"), "step": extra.get("step"), "min": low, "max": high, "default": default,
        "shown_default": shown(info, default), "lines": bool(extra.get("lines")),
    }
    if kind in ("integer", "number"):
        made["slider"] = _slider(made, extra.get("slider"), inside)
        made["start"] = _start(made)
    if part is not None:
        made |= {"fields": fields(part), "start": defaults(part)}
    return made


def shown(info: FieldInfo, value: Any) -> str:
    """Return a value of a field as it is shown."""
    return _shown(info, value) or word(value)


def _shown(info: FieldInfo, value: Any) -> str:
    """Return the word that a field has for a value, "" for none of its own."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    own = extra.get("words")
    if not isinstance(own, dict) or not isinstance(value, str | int | float | bool | None):
        return ""
    return str(own.get("" if value is None else str(value), ""))


def word(value: Any) -> str:
    """Return a setting's value as it is shown: Auto, MLP, none, 16, q=8."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(word(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={word(item)}" for key, item in value.items()) or "none"
    if not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    plain = value.replace("_", " ")
    letters = plain.replace(" ", "").replace("-", "")
    if not letters.isalpha() or not letters.islower():
        return plain
    # Letters that nobody can say as a word are an abbreviation's: MLP, LSTM, Q.
    return plain.upper() if len(letters) == 1 or not VOWELS & set(letters) else plain[0].upper() + plain[1:]


# -- what a type asks for ------------------------------------------------------------------------------------------

def _kind(annotation: Any) -> tuple[str, list[dict[str, Any]], type[BaseModel] | None]:
    """Return the kind of control for a type, the words that may stand instead of a value, and a nested model."""
    kinds: set[str] = set()
    options: list[dict[str, Any]] = []
    part: type[BaseModel] | None = None
    for item in _members(annotation):
        if item is type(None):
            options.append({"value": None, "label": "None"})
        elif get_origin(item) is Literal:
            options += [{"value": value, "label": word(value)} for value in get_args(item)]
        elif isinstance(item, type) and issubclass(item, BaseModel):
            part = item
        else:
            kinds.add(_simple(item))
    if part is not None:
        return "part", [], part
    if not kinds:
        return "choice", options, None
    if "list" in kinds and kinds & {"integer", "number"}:
        return "mixed", options, None
    for kind in ("pairs", "list", "number", "integer", "flag"):
        if kind in kinds:
            return kind, options, None
    return "text", options, None


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for item in get_args(annotation) for inner in _members(item)]
    return [annotation]


def _simple(item: Any) -> str:
    origin = get_origin(item) or item
    if origin in (list, tuple, set, Sequence):
        return "list"
    if origin in (dict, Mapping):
        return "pairs"
    return {bool: "flag", int: "integer", float: "number"}.get(origin, "text")


def _bounds(info: FieldInfo) -> tuple[float | None, float | None, tuple[bool, bool]]:
    """Return the bounds of a number and whether each is itself forbidden."""
    low = high = None
    inside = [False, False]
    inner = [m for item in _annotated(info.annotation) for m in get_args(item)[1:]]
    found = [*info.metadata, *(c for m in inner for c in (m.metadata if isinstance(m, FieldInfo) else [m]))]
    for item in found:
        if isinstance(item, annotated_types.Ge | annotated_types.Gt):
            low, inside[0] = getattr(item, "ge", getattr(item, "gt", None)), isinstance(item, annotated_types.Gt)
        elif isinstance(item, annotated_types.Le | annotated_types.Lt):
            high, inside[1] = getattr(item, "le", getattr(item, "lt", None)), isinstance(item, annotated_types.Lt)
    return _number(low), _number(high), (inside[0], inside[1])


def _annotated(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return [annotation]
    return [found for item in get_args(annotation) if get_origin(annotation) in (Union, types.UnionType)
            for found in _annotated(item)]


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _slider(made: Mapping[str, Any], usual: Any, inside: tuple[bool, bool]) -> list[float] | None:
    """Return the slider's ends, or None: the usual range, else the bounds when they are near enough to slide over.

    A forbidden bound is kept away from by one step.
    """
    low, high = usual or (made["min"], made["max"])
    if low is None or high is None or low >= high:
        return None
    if not usual:
        step = made["step"] or (1 if made["kind"] == "integer" else (high - low) / 100)
        low, high = round(low + step * inside[0], 10), round(high - step * inside[1], 10)
    if made["scale"] != "linear":
        return [low, high] if low > 0 else None
    if usual or high - low <= 1 or (made["kind"] == "integer" and high - low <= 200):
        return [low, high]
    return None


def _start(made: Mapping[str, Any]) -> float:
    """Return the number that appears when a word such as Auto is exchanged for a number."""
    if isinstance(made["default"], int | float):
        return made["default"]
    if made["slider"]:
        low, high = made["slider"]
        middle = math.sqrt(low * high) if made["scale"] != "linear" else (low + high) / 2
        return round(middle) if made["kind"] == "integer" else float(f"{middle:.1g}")
    return made["min"] or 1


# -- values --------------------------------------------------------------------------------------------------------

def _default(info: FieldInfo) -> Any:
    value = None if info.is_required() else info.get_default(call_default_factory=True)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else _plain(value)


def _known(group: Group, given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in given.items()
            if name in group.model.model_fields and name not in group.skip}


def _plain(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return value[:LONGEST]
    if isinstance(value, Mapping) and depth < 5:
        return {str(key)[:200]: _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set) and depth < 5:
        return [_plain(item, depth + 1) for item in value][:LONGEST]
    return value if isinstance(value, int | float | bool | None) else str(value)[:LONGEST]
