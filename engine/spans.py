"""Entities in rows of tags, and how well those found agree with those there: precision, recall and F1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

#: (type, first word, last word) of an entity.
Span = tuple[str, int, int]

_PREFIXED = re.compile(r"[BIESLU]-.")
#: BILOU's letters in the words of BIOES.
_SAME = {"L": "E", "U": "S"}


def prefixed(tags: Iterable[str]) -> bool:
    """Tell whether the tags mark where entities begin or go on (B-PER, I-PER); otherwise a tag is a type by itself."""
    return any(_PREFIXED.match(tag) for tag in tags)


def entities(tags: Sequence[str], marked: bool = True) -> list[Span]:
    """Return the entities in a row of tags as conlleval counts them: B, I, O, and E and S where they are used.

    An I- that follows no entity of its type begins one. Unless `marked`, an entity is a run of equal tags other than O.
    Source: Tjong Kim Sang and Buchholz (2000), conlleval.
    """
    found: list[Span] = []
    begun, open_type, before = 0, "", "O"
    for place, tag in enumerate([*tags, "O"]):
        mark, kind = _parts(tag, marked)
        if open_type and (mark in "BSO" or before in "ES" or kind != open_type):
            found.append((open_type, begun, place - 1))
            open_type = ""
        if mark != "O" and not open_type:
            begun, open_type = place, kind
        before = mark
    return found


def _parts(tag: str, marked: bool) -> tuple[str, str]:
    """Return the mark (B, I, E, S or O) and the type of a tag."""
    if not tag or tag == "O":
        return "O", ""
    if marked and _PREFIXED.match(tag):
        return _SAME.get(tag[0], tag[0]), tag[2:]
    return "I", tag


def scores(expected: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return `precision`, `recall` and `f1` over the entities of all rows, and `accuracy` over all words.

    An entity is right when its type, first and last word are. Equal to seqeval's micro average for B, I and O.
    """
    marked = prefixed(tag for row in expected for tag in row)
    right, there, told = Counter[str](), Counter[str](), Counter[str]()
    for wanted, given in zip(expected, predicted, strict=True):
        real, found = set(entities(wanted, marked)), set(entities(given, marked))
        right.update(kind for kind, _, _ in real & found)
        there.update(kind for kind, _, _ in real)
        told.update(kind for kind, _, _ in found)
    words = [a == b for wanted, given in zip(expected, predicted, strict=True)
             for a, b in zip(wanted, given, strict=True)]
    precision, recall = _share(right.total(), told.total()), _share(right.total(), there.total())
    return {"f1": _share(2 * precision * recall, precision + recall), "precision": precision, "recall": recall,
            "accuracy": _share(sum(words), len(words))}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
