"""How well answers agree with those expected, as the official SQuAD script counts, and when to say there is none."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ASKING = re.compile(r"\b(who|whom|whose|what|which|when|where|why|how)\b", re.IGNORECASE)
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


def answerable(expected: Sequence[str]) -> bool:
    """Tell whether a question has an answer."""
    return bool(_options(expected)[0])


def by_question(questions: Sequence[str], exacts: Sequence[float],
                scores: Sequence[float]) -> dict[str, dict[str, float]]:
    """Return F1, exact match and number of `questions` by the word that asks, most frequent first; English only.

    Nothing where no question has such a word.
    """
    groups: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        found = _ASKING.search(question)
        groups.setdefault(found[0].lower() if found else "other", []).append(place)
    if set(groups) == {"other"}:
        return {}
    return {word: {"f1": sum(scores[i] for i in own) / len(own), "exact_match": sum(exacts[i] for i in own) / len(own),
                   "questions": len(own)} for word, own in sorted(groups.items(), key=lambda item: -len(item[1]))}


def best_margin(margins: Sequence[float], spoken: Sequence[float], silent: Sequence[float]) -> float:
    """Return the margin above which to say that there is no answer, so that the mean score is highest.

    `margins` tell by how much no answer is likelier than the best answer; `spoken` and `silent` are the scores of each
    row for the answer and for none. Of the margins that do equally well the one nearest to 0 is taken, else one in
    the middle between two rows. Source: find_best_thresh of evaluate-v2.0.py.
    """
    order = np.argsort(margins, kind="stable")
    sizes = np.asarray(margins, dtype=np.float64)[order]
    gain = (np.asarray(spoken, dtype=np.float64) - np.asarray(silent, dtype=np.float64))[order]
    # Place k: the first k rows are answered. Rows with equal margins are answered together.
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    possible = np.concatenate([[True], np.diff(sizes) > 0, [True]]) if len(sizes) else np.array([True])
    edges = np.concatenate([[-np.inf], sizes, [np.inf]])
    best = sums[possible].max()
    ranges = [(float(edges[k]), float(edges[k + 1])) for k in np.flatnonzero(possible & (sums >= best - 1e-9))]
    return min((_between(low, high) for low, high in ranges), key=abs)


def _between(low: float, high: float) -> float:
    """Return the number nearest to what separates `low` (at most it) from `high` (above it): 0 if it does."""
    if low <= 0 < high:
        return 0.0
    if np.isinf(low) or np.isinf(high):
        return high - 1.0 if np.isinf(low) else low
    return (low + high) / 2


def _options(expected: Sequence[str]) -> list[str]:
    """Return the expected answers that are not empty once normalised, or the empty one."""
    return [text for text in expected if normalised(text)] or [""]


def _overlap(predicted: list[str], expected: list[str]) -> float:
    if not predicted or not expected:
        return float(predicted == expected)
    same = (Counter(predicted) & Counter(expected)).total()
    return 2 * same / (len(predicted) + len(expected))
