"""ROUGE-L: how much of two texts is one and the same sequence of words."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")


def rouge_l(predicted: str, expected: str) -> float:
    """Return the F-measure of the longest common subsequence of words, case and punctuation aside, from 0 to 1.

    Words are kept as written, unstemmed. Source: Lin (2004), section 3.1, sentence level, β = 1.
    """
    first, second = (_WORD.findall(text.lower()) for text in (predicted, expected))
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
