"""The fine-tuning methods: one file each, found by looking at this folder."""

from __future__ import annotations

import sys
from functools import cache

from engine.errors import SpecError
from engine.methods.base import Card, Method, Piece
from engine.registry import discover

__all__ = ["Card", "Method", "Piece", "UnknownMethod", "every", "get"]


class UnknownMethod(SpecError):
    """There is no method '{name}'."""

    kind = "unknown_method"
    try_this = "Use one of: {known}."


@cache
def every() -> dict[str, type[Method]]:
    """Return all methods by name, in the order of their cards."""
    found = discover(sys.modules[__name__], Method)
    return dict(sorted(found.items(), key=lambda item: (item[1].card.order, item[0])))


def get(name: str) -> type[Method]:
    """Return the method called `name`; raises UnknownMethod."""
    if name not in every():
        raise UnknownMethod("method.name", name=name, known=", ".join(every()))
    return every()[name]
