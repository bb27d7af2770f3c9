"""Tags of whole texts, out of what a model says about their windows; and the replies of a tagger to a person."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import spans, verdicts, words
from engine.data import tags
from engine.drawing import Marked, Span
from engine.tasks.terms import Asked, Reply

if TYPE_CHECKING:
    from engine.tasks.token_classification import TokenClassification

#: The words told by a window, and for each a tag (words,) or the logarithms of its probabilities (words, labels).
Piece = tuple[np.ndarray, np.ndarray]

#: What is said of a text in which nothing was found.
NOTHING = "nothing found"
_LONGEST = 2000


class Tagged(Reply):
    """A reply with the words it is about and the tag of each."""

    words: list[str]
    tags: list[str]


def told(window: Mapping[str, Any], values: np.ndarray) -> Piece:
    """Return the words that a window tells, with the `values` (tokens, ...) of their first tokens."""
    places = np.flatnonzero(window["words"] >= 0)
    return window["words"][places], values[places]


def decoded(count: int, pieces: Sequence[Piece], labels: Sequence[str], allowed: np.ndarray | None) -> list[str]:
    """Return the tags of `count` words: the likeliest of each, or the likeliest row that is `allowed`.

    Words that no window tells belong to nothing.
    """
    found = [spans.OUTSIDE] * count
    if not pieces:
        return found
    places, values = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    order = np.argsort(places)
    values = values[order]
    if values.ndim > 1:
        values = values.argmax(-1) if allowed is None else spans.best(values, allowed)
    for place, label in zip(places[order].tolist(), values.tolist(), strict=True):
        found[place] = labels[label]
    return found


def shown(text: Sequence[str], given: Sequence[str], how: spans.Scheme) -> str:
    """Return the entities in words with tags: `Tim Berners-Lee [PER], London [LOC]`."""
    return ", ".join(f"{' '.join(text[first:last + 1])} [{kind}]"
                     for kind, first, last in spans.entities(given, how))[:_LONGEST]


def replies(task: TokenClassification, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
    """Return what a tagger marks in each row's `tokens`: a text as it was typed, or a list of words."""
    import pyarrow as pa
    import torch

    read = [_read(row.get("tokens") or row.get("text")) for row in rows]
    table = pa.table({"tokens": pa.array([[text[a:b] for a, b in places] for text, places in read],
                                         pa.list_(pa.string()))})
    limit = asked.limit or verdicts.UNLIMITED
    encoded = task.encode(table, {"tokens": "tokens"}, asked.tokenizer, limit, asked.labels).rows
    pieces: list[list[Piece]] = [[] for _ in rows]
    with torch.inference_mode():
        logits = verdicts.logits(task, asked, encoded, verdicts.padding(asked.model, asked.tokenizer))
    for window, scores in zip(encoded, logits, strict=True):
        pieces[window["row"]].append(told(window, scores.log_softmax(-1).numpy()))
    allowed = spans.following(asked.labels) if task.constrained else None
    return [_reply(text, places, own, asked.labels, allowed) for (text, places), own in zip(read, pieces, strict=True)]


def _read(value: Any) -> tuple[str, list[tuple[int, int]]]:
    """Return a text and where its words stand; a list of words is joined by blanks, also when it is written out."""
    if isinstance(value, str) and not (value.lstrip().startswith("[") and value.rstrip().endswith("]")):
        return value, words.split(value)
    given = [item or "" for item in tags.split(value) or []]
    starts = np.cumsum([0, *(len(word) + 1 for word in given)])[:-1].tolist()
    return " ".join(given), [(start, start + len(word)) for start, word in zip(starts, given, strict=True)]


def _reply(text: str, places: Sequence[tuple[int, int]], pieces: Sequence[Piece], labels: Sequence[str],
           allowed: np.ndarray | None) -> Tagged:
    given = decoded(len(places), pieces, labels, allowed)
    sure = np.zeros(len(places))
    number = {label: i for i, label in enumerate(labels)}
    for own, scores in pieces:
        sure[own] = np.exp(scores[np.arange(len(own)), [number[given[word]] for word in own]])
    marked = [Span(start=places[first][0], end=places[last][1], label=kind,
                   score=round(float(sure[first:last + 1].mean()), 6))
              for kind, first, last in spans.entities(given, spans.scheme(labels))]
    by_name: dict[str, float] = {}
    for span in marked:
        name = f"{text[span.start:span.end]} [{span.label}]"
        by_name[name] = max(by_name.get(name, 0.0), span.score or 0.0)
    unread = len(places) - sum(len(own) for own, _ in pieces)
    note = "There is no text." if not places else (
        f"{unread:,} of {len(places):,} words were not read, as in training." if unread else "")
    return Tagged(label=", ".join(by_name)[:_LONGEST] or NOTHING, scores=by_name, note=note,
                  drawing=Marked(text=text, spans=marked).model_dump(),
                  words=[text[start:end] for start, end in places], tags=given)


def columns(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file of predictions gets: `entities`, and the `words` and `tags` where the reply has them, JSON."""
    drawn = reply["drawing"]
    found = [{"text": drawn["text"][span["start"]:span["end"]], **span} for span in drawn["spans"]]
    more = {name: json.dumps(reply[name], ensure_ascii=False) for name in ("words", "tags") if name in reply}
    return {"entities": json.dumps(found, ensure_ascii=False)} | more
