"""How well an answer agrees with those expected: exact match and F1 over words, as the official SQuAD script counts."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return a text in lower case, without punctuation, articles and spare blanks.

    Source: Rajpurkar et al. (2018), evaluate-v2.0.py.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(predicted: str, expected: Sequence[str]) -> float:
    """Return 1 when the answer is one of those expected, 0 otherwise; none expected means that "" is right."""
    return max(float(normalised(predicted) == normalised(text)) for text in _options(expected))


def f1(predicted: str, expected: Sequence[str]) -> float:
    """Return the largest F1 between the answer's words and those of an expected answer."""
    return max(_overlap(normalised(predicted).split(), normalised(text).split()) for text in _options(expected))


def _options(expected: Sequence[str]) -> list[str]:
    """Return the expected answers that are not empty once normalised, or the empty one."""
    return [text for text in expected if normalised(text)] or [""]


def _overlap(predicted: list[str], expected: list[str]) -> float:
    if not predicted or not expected:
        return float(predicted == expected)
    same = (Counter(predicted) & Counter(expected)).total()
    return 2 * same / (len(predicted) + len(expected))
