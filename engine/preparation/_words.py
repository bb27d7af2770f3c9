"""Where words begin and end in a text, to cut it between them."""

from __future__ import annotations

import re

_WORD = re.compile(r"\S+")


def words(text: str) -> list[tuple[int, int]]:
    """Return where each word begins and ends."""
    return [found.span() for found in _WORD.finditer(text)]


def units(text: str, unit: str) -> int:
    """Return how many words or characters a text has."""
    return len(text) if unit == "characters" else sum(1 for _ in _WORD.finditer(text))
