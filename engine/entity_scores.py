"""How well entities found agree with those there: precision, recall and F1, over all and by type, and mix-ups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.spans import OUTSIDE, Scheme, entities

#: Of one type: entities found that are there, found that are not there, and there but not found.
Tally = list[int]


def tally(expected: Sequence[str], predicted: Sequence[str], how: Scheme) -> dict[str, Tally]:
    """Count the entities of a row of tags, by type. One is right when its type, first and last word are."""
    real, found = set(entities(expected, how)), set(entities(predicted, how))
    counts: dict[str, Tally] = {}
    for place, group in enumerate((real & found, found - real, real - found)):
        for kind, _, _ in group:
            counts.setdefault(kind, [0, 0, 0])[place] += 1
    return counts


def added(tallies: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, Tally]:
    """Return the sum of tallies, types in alphabetical order."""
    total: dict[str, Tally] = {}
    for counts in tallies:
        for kind, (right, wrong, missed) in counts.items():
            own = total.setdefault(kind, [0, 0, 0])
            own[0] += right
            own[1] += wrong
            own[2] += missed
    return dict(sorted(total.items()))


def figures(right: int, wrong: int, missed: int) -> dict[str, float]:
    """Return `f1`, `precision` and `recall`; 0 where nothing is there to be divided by, as seqeval does."""
    precision, recall = share(right, right + wrong), share(right, right + missed)
    return {"f1": share(2 * precision * recall, precision + recall), "precision": precision, "recall": recall}


def by_type(total: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and `support`, how many there are, for each type."""
    return {kind: figures(*counts) | {"support": counts[0] + counts[2]} for kind, counts in total.items()}


def confusion(rows: Iterable[tuple[Sequence[str], Sequence[str]]], how: Scheme) -> dict[str, Any]:
    """Return which types were taken for which: `labels`, and `counts` from the type there to the type found.

    Each entity there is held against the one found that shares most words with it, O when there is none; entities
    found where nothing is stand in the row of O. `rows` are pairs of expected and predicted tags.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for expected, predicted in rows:
        told = entities(predicted, how)
        owner = {word: number for number, (_, first, last) in enumerate(told) for word in range(first, last + 1)}
        met: set[int] = set()
        for kind, first, last in entities(expected, how):
            shared = Counter(owner[word] for word in range(first, last + 1) if word in owner)
            met |= set(shared)
            pairs[kind, told[shared.most_common(1)[0][0]][0] if shared else OUTSIDE] += 1
        pairs.update((OUTSIDE, kind) for number, (kind, _, _) in enumerate(told) if number not in met)
    kinds = sorted({kind for pair in pairs for kind in pair} - {OUTSIDE})
    labels = [*kinds, OUTSIDE] if any(OUTSIDE in pair for pair in pairs) else kinds
    return {"labels": labels, "counts": [[pairs[real, found] for found in labels] for real in labels]}


def share(part: float, whole: float) -> float:
    """Return a part of a whole, 0 of nothing."""
    return part / whole if whole else 0.0
