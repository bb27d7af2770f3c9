"""One setting of a method, task or training: its default, bounds, unit, help and how a form shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

Scale = Literal["linear", "log2", "log10"]


def knob(default: Any = ..., *, help: str, title: str | None = None, unit: str = "", scale: Scale = "linear",
         advanced: bool = False, step: float | None = None, slider: tuple[float, float] | None = None,
         shown_if: dict[str, Any] | None = None, default_factory: Callable[[], Any] | None = None,
         lines: bool = False, of: Literal["", "column", "columns"] = "",
         words: Mapping[Any, str] | None = None, **bounds: Any) -> Any:
    """Return a pydantic field that carries everything a form, a CLI flag and a docs page need.

    `bounds` are pydantic's own (ge, gt, le, lt, min_length ...). `slider` gives the usual range where the bounds are
    wider than a slider should be. `advanced` hides the field behind "Advanced". `shown_if` names a sibling field and
    the value it must have for this one to matter. `lines` asks for room to write: several lines of text, one item of a
    list or one pair a line. `of` says that the value names a column, or columns, of the data. `words` are shown for
    values whose own names say too little: {None: "All"}.
    """
    extra: dict[str, Any] = {"unit": unit, "scale": scale, "advanced": advanced}
    if step is not None:
        extra["step"] = step
    if slider is not None:
        extra["slider"] = list(slider)
    if shown_if is not None:
        extra["shown_if"] = shown_if
    if lines:
        extra["lines"] = True
    if of:
        extra["of"] = of
    if words:
        extra["words"] = {"" if value is None else str(value): shown for value, shown in words.items()}
    if default_factory is not None:
        return Field(default_factory=default_factory, description=help, title=title, json_schema_extra=extra, **bounds)
    return Field(default, description=help, title=title, json_schema_extra=extra, **bounds)


def spelled(info: FieldInfo, quote: str = "") -> str:
    """Return how a field's named values are written: "Written: none (all), or a number."; "" where it has none."""
    said = written(info, quote)
    return f"Written: {said}." if said else ""


def written(info: FieldInfo, quote: str = "") -> str:
    """Return a field's named values, each between `quote`s and with its words where it has others, and what else it
    takes: "`none` (all), or a number"; "" where it has no named values."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    words = extra.get("words")
    shown: Mapping[str, Any] = words if isinstance(words, dict) else {}
    named = _named(info.annotation)
    if not shown and not any(value is not None for value in named):
        return ""
    said = [_said(value, str(shown.get("" if value is None else str(value), "")), quote) for value in named]
    others = _others(info.annotation)
    if others:
        others[-1] = f"or {others[-1]}"
    return ", ".join([*said, *others])


def _said(value: Any, shown: str, quote: str) -> str:
    plain, words = str(value).lower(), shown.lower()
    same = words.replace("-", " ").startswith(plain.replace("_", " ").replace("-", " "))
    return f"{quote}{plain}{quote}" + ("" if same or not words else f" ({words})")


def _named(annotation: Any) -> list[Any]:
    """Return the words that a type allows, None among them."""
    if annotation is type(None):
        return [None]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) if get_origin(annotation) not in (list, dict)
            for value in _named(part)]


def _others(annotation: Any) -> list[str]:
    """Return what a type allows beside words: "a number", "a list", "a text", "pairs of name and value"."""
    origin = get_origin(annotation)
    if origin in (list, dict):
        return ["a list" if origin is list else "pairs of name and value"]
    if origin is Annotated:
        return _others(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return list(dict.fromkeys(kind for part in get_args(annotation) for kind in _others(part)))
    return {int: ["a number"], float: ["a number"], str: ["a text"]}.get(annotation, [])
