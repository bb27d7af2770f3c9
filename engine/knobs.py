"""One setting of a method, task or training: its default, bounds, unit, help and how a form shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

Scale = Literal["linear", "log2", "log10"]


def knob(default: Any = ..., *, help: str, title: str | None = None, unit: str = "", scale: Scale = "linear",
         advanced: bool = False, step: float | None = None, slider: tuple[float, float] | None = None,
         shown_if: dict[str, Any] | None = None, default_factory: Callable[[], Any] | None = None,
         lines: bool = False, of: Literal["", "column", "columns"] = "", **bounds: Any) -> Any:
    """Return a pydantic field that carries everything a form, a CLI flag and a docs page need.

    `bounds` are pydantic's own (ge, gt, le, lt, min_length ...). `slider` gives the usual range where the bounds are
    wider than a slider should be. `advanced` hides the field behind "Advanced". `shown_if` names a sibling field and
    the value it must have for this one to matter. `lines` asks for room to write: several lines of text, one item of a
    list or one pair a line. `of` says that the value names a column, or columns, of the data.
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
    if default_factory is not None:
        return Field(default_factory=default_factory, description=help, title=title, json_schema_extra=extra, **bounds)
    return Field(default, description=help, title=title, json_schema_extra=extra, **bounds)
