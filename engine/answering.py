"""The replies of a reader to a person: answers marked in their passage, the likeliest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import passages, verdicts
from engine.drawing import Marked, Span
from engine.passages import Found
from engine.tasks.terms import Asked, Reply

if TYPE_CHECKING:
    from engine.tasks.question_answering import QuestionAnswering

#: What is said where the passage holds no answer.
NONE = "no answer"
#: Answers that share one probability, as in the official n-best list.
COMPARED = 20


def replies(task: QuestionAnswering, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[Reply]:
    """Return the likeliest answers to each row's `question` in its `context`."""
    import pyarrow as pa
    import torch

    table = pa.table({role: pa.array([str(row.get(role) or "") for row in rows], pa.string())
                      for role in ("question", "context")})
    limit = asked.limit or verdicts.UNLIMITED
    encoded = task.encode(table, {"question": "question", "context": "context"}, asked.tokenizer, limit, asked.labels)
    with torch.inference_mode():
        scores = verdicts.logits(task, asked, encoded.rows, verdicts.padding(asked.model, asked.tokenizer))
    found: list[list[Found]] = [[] for _ in rows]
    none = [np.inf] * len(rows)
    for window, own in zip(encoded.rows, scores, strict=True):
        row, values = window["row"], own.numpy()
        found[row] += passages.likeliest(values, window["offsets"], task.longest_answer, COMPARED)
        none[row] = min(none[row], passages.nothing(window, values))
    most = int(asked.options.get("shown", 5))
    questions, texts = (table.column(name).to_pylist() for name in ("question", "context"))
    cut = passages.cut_questions(asked.tokenizer, questions, limit)
    return [_reply(task, question, text, own, silent, most, cut=question != kept)
            for question, text, own, silent, kept in zip(questions, texts, found, none, cut, strict=True)]


def _reply(task: QuestionAnswering, question: str, text: str, found: Sequence[Found], silent: float, most: int, *,
           cut: bool) -> Reply:
    """Return the reply for one passage; `silent` is the score of there being no answer."""
    note = _note(question, text, cut)
    best = _distinct(text, found)[:COMPARED]
    if not best:
        return Reply(label=NONE, scores={}, note=note, drawing=Marked(text=text).model_dump())
    values = [*(one.score for one in best), *([silent] if task.unanswerable else [])]
    chances = np.exp(np.array(values) - max(values))
    chances /= chances.sum()
    named = {text[one.start:one.end]: round(float(chance), 6) for one, chance in zip(best, chances, strict=False)}
    scores = dict(list(named.items())[:most])
    if task.unanswerable:
        scores[NONE] = round(float(chances[-1]), 6)
    if task.unanswerable and silent - best[0].score > task.least_margin:
        return Reply(label=NONE, scores=scores, note=note, drawing=Marked(text=text).model_dump())
    first = best[0]
    span = Span(start=first.start, end=first.end, label="answer", score=next(iter(named.values())))
    return Reply(label=text[first.start:first.end], scores=scores, note=note,
                 drawing=Marked(text=text, spans=[span]).model_dump())


def _distinct(text: str, found: Sequence[Found]) -> list[Found]:
    """Return the answers, best first, without white space around them, each text once."""
    kept: dict[str, Found] = {}
    for one in sorted(found, key=lambda item: -item.score):
        own = text[one.start:one.end]
        start = one.start + len(own) - len(own.lstrip())
        if own.strip():
            kept.setdefault(own.strip(), Found(one.score, start, start + len(own.strip())))
    return list(kept.values())


def _note(question: str, text: str, cut: bool) -> str:
    if not question.strip() or not text.strip():
        return "There is no question." if text.strip() else "There is no passage."
    return "The question is too long: its end was not read." if cut else ""


def columns(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file of predictions gets: `answer` (empty for none), its `score`, and `start`, its character."""
    marked = reply["drawing"]["spans"]
    if marked:
        return {"answer": reply["label"], "score": marked[0]["score"], "start": marked[0]["start"]}
    return {"answer": "", "score": reply["scores"].get(NONE), "start": None}
