"""ROUGE: how many words, pairs of words, or words in the same order two texts have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")


def scores(predicted: str, expected: str) -> dict[str, float]:
    """Return `rouge1`, `rouge2` and `rougeL`: F-measures from 0 to 1, case and punctuation aside.

    Words are kept as written, unstemmed. Source: Lin (2004), sections 2 and 3.1, sentence level, β = 1.
    """
    first, second = words(predicted), words(expected)
    return {"rouge1": _grams(first, second, 1), "rouge2": _grams(first, second, 2), "rougeL": _sequence(first, second)}


def rouge_l(predicted: str, expected: str) -> float:
    """Return the F-measure of the longest common subsequence of words, from 0 to 1."""
    return _sequence(words(predicted), words(expected))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower())


def _grams(first: Sequence[str], second: Sequence[str], size: int) -> float:
    one, two = (Counter(zip(*(text[i:] for i in range(size)), strict=False)) for text in (first, second))
    common = (one & two).total()
    return 2 * common / (one.total() + two.total()) if common else 0.0


def _sequence(first: Sequence[str], second: Sequence[str]) -> float:
    common = _common(first, second)
    return 2 * common / (len(first) + len(second)) if common else 0.0


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence; one row of the table is kept."""
    row = [0] * (len(second) + 1)
    for word in first:
        corner = 0
        for place, other in enumerate(second, 1):
            above = row[place]
            row[place] = corner + 1 if word == other else max(above, row[place - 1])
            corner = above
    return row[-1]
