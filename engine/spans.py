"""Entities in rows of tags: how tags are read, which may follow each other, and the best row of tags there is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

#: (type, first word, last word) of an entity.
Span = tuple[str, int, int]
#: How tags make entities: "marked" ones tell where one begins (B-PER, I-PER), "runs" are equal tags in a row beside O,
#: and of "words" each stands for itself (parts of speech).
Scheme = Literal["marked", "runs", "words"]

#: The tag of a word that belongs to nothing.
OUTSIDE = "O"
_PREFIXED = re.compile(r"[BIESLU]-.")
#: BILOU's letters in the words of BIOES.
_SAME = {"L": "E", "U": "S"}


def scheme(tags: Iterable[str]) -> Scheme:
    """Return how a set of tags is to be read."""
    known = set(tags)
    if any(_PREFIXED.match(tag) for tag in known):
        return "marked"
    return "runs" if OUTSIDE in known else "words"


def entities(tags: Sequence[str], how: Scheme = "marked") -> list[Span]:
    """Return the entities in a row of tags as conlleval counts them: B, I, O, and E and S where they are used.

    An I- that follows no entity of its type begins one. Source: Tjong Kim Sang and Buchholz (2000), conlleval.
    """
    if how == "words":
        return [(tag, place, place) for place, tag in enumerate(tags)]
    found: list[Span] = []
    begun, open_type, before = 0, "", "O"
    for place, tag in enumerate([*tags, OUTSIDE]):
        mark, kind = parts(tag, how)
        if open_type and (mark in "BSO" or before in "ES" or kind != open_type):
            found.append((open_type, begun, place - 1))
            open_type = ""
        if mark != "O" and not open_type:
            begun, open_type = place, kind
        before = mark
    return found


def parts(tag: str, how: Scheme = "marked") -> tuple[str, str]:
    """Return the mark (B, I, E, S or O) and the type of a tag."""
    if how == "words":
        return "S", tag
    if not tag or tag == OUTSIDE:
        return "O", ""
    if how == "marked" and _PREFIXED.match(tag):
        return _SAME.get(tag[0], tag[0]), tag[2:]
    return "I", tag


def begins(labels: Iterable[str]) -> bool:
    """Tell whether these tags mark beginnings, so that an entity that begins with I- is a slip."""
    return any(tag.startswith("B-") for tag in labels)


def repaired(tags: Sequence[str]) -> list[str]:
    """Return the tags with B- for each I- that begins an entity: the first word of one, or one of another type."""
    fixed: list[str] = []
    before, last = "O", ""
    for tag in tags:
        mark, kind = parts(tag)
        goes_on = before in "BI" and kind == last
        fixed.append(f"B-{kind}" if tag.startswith("I-") and not goes_on else tag)
        before, last = ("B" if fixed[-1] != tag else mark), kind
    return fixed


def following(labels: Sequence[str]) -> np.ndarray:
    """Return which tag may follow which, bool (labels + 1, labels + 1): from row to column.

    The last row stands for the beginning of a text, the last column for its end. I- and E- go on with what B- or I- of
    the same type began; where a type has E- tags, what was begun must also end. A type without B- begins anyhow.
    """
    how = scheme(labels)
    pairs = [*(parts(label, how) for label in labels), ("O", "")]
    known = set(pairs)
    allowed = np.ones((len(pairs), len(pairs)), dtype=bool)
    if how != "marked":
        return allowed
    for i, (before, last) in enumerate(pairs):
        for j, (mark, kind) in enumerate(pairs):
            open_here = before in "BI" and last == kind
            if mark in "IE" and ("B", kind) in known:
                allowed[i, j] = open_here
            elif before in "BI" and ("E", last) in known:
                allowed[i, j] = open_here and mark in "IE"
    return allowed


def best(scores: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return the tags of the likeliest row that keeps to what is `allowed`, int (words); Viterbi's algorithm.

    `scores` (words, labels) are logarithms of probabilities.
    """
    if not len(scores):
        return np.zeros(0, dtype=np.int64)
    cost = np.where(allowed, 0.0, -np.inf)
    sums = scores[0] + cost[-1, :-1]
    came = np.zeros(scores.shape, dtype=np.int64)
    for place in range(1, len(scores)):
        ways = sums[:, None] + cost[:-1, :-1]
        came[place] = ways.argmax(0)
        sums = ways.max(0) + scores[place]
    path = [int((sums + cost[:-1, -1]).argmax())]
    for place in range(len(scores) - 1, 0, -1):
        path.append(int(came[place, path[-1]]))
    return np.array(path[::-1])
