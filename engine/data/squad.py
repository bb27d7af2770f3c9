"""Questions about passages: SQuAD's nested documents as plain rows, and answers however they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """An answer's text, and the character where it starts in the passage if that is told."""

    text: str
    start: int | None = None


def is_article(value: Any) -> bool:
    """Tell whether a JSON object is an article of a SQuAD file: paragraphs, of which some have questions."""
    paragraphs = value.get("paragraphs") if isinstance(value, dict) else None
    return isinstance(paragraphs, list) and bool(paragraphs) and all(isinstance(part, dict) for part in paragraphs) \
        and any(isinstance(part.get("qas"), list) for part in paragraphs)


def is_paragraph(value: Any) -> bool:
    """Tell whether a JSON object is one passage with its questions, as in MRQA's lines."""
    return isinstance(value, dict) and isinstance(value.get("context"), str) and isinstance(value.get("qas"), list)


def is_answer(value: Any) -> bool:
    """Tell whether a value is an answer with its place, or a list of such: {text, answer_start}."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and {"text", "answer_start"} <= set(first)


def is_placed(value: Any) -> bool:
    """Tell whether a cell holds answers with their places, be it none: SQuAD's object, or its JSON."""
    if isinstance(value, str):
        if '"answer_start"' not in value:
            return False
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return is_answer(value)


def rows(article: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each question: `id`, `title`, `question`, `context`, and `answers` as SQuAD's JSON."""
    for paragraph in article["paragraphs"]:
        yield from questions(paragraph, article.get("title"))


def questions(paragraph: dict[str, Any], title: Any = None) -> Iterator[dict[str, Any]]:
    """Yield a row for each question of a passage; what a damaged file lacks is empty."""
    for question in paragraph.get("qas") or []:
        given = question if isinstance(question, dict) else {}
        found = [item if isinstance(item, dict) else {"text": item} for item in given.get("answers") or []]
        answers = {"text": [item.get("text") for item in found],
                   "answer_start": [item.get("answer_start") for item in found]}
        yield {"id": given.get("id", given.get("qid")), "title": title, "question": given.get("question"),
               "context": paragraph.get("context"), "answers": json.dumps(answers, ensure_ascii=False)}


def answers(value: Any) -> list[Answer]:
    """Return the answers in a cell; none for a question without an answer.

    A cell holds SQuAD's object {text, answer_start} (or its JSON), a list of answers, or one answer as plain text.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [Answer(value)]
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        texts = texts if isinstance(texts, list) else [texts]
        starts = starts if isinstance(starts, list) else [starts] * len(texts)
        pairs = zip(texts, [*starts, *[None] * (len(texts) - len(starts))], strict=False)
        return [Answer(str(text), _start(start)) for text, start in pairs if text]
    if isinstance(value, list):
        return [answer for item in value for answer in answers(item)]
    return [Answer(str(value))] if value is not None and str(value).strip() else []


def _start(value: Any) -> int | None:
    """Return the place told, None where none is, and -1 for one that is no number."""
    text = "" if value is None else str(value).strip().removesuffix(".0")
    return (int(text) if text.isdecimal() else -1) if text else None


def place(answer: Answer, passage: str) -> tuple[int, int] | None:
    """Return the characters (start, end) of an answer in its passage; None when it is not there.

    Where the start told is wrong, the occurrence nearest to it is taken, or the first when none is told.
    """
    text = answer.text if answer.text in passage else answer.text.strip()
    if not text:
        return None
    wanted = max(0, answer.start or 0)
    if answer.start == wanted and passage.startswith(text, wanted):
        return wanted, wanted + len(text)
    found, starts = passage.find(text), []
    while found >= 0:
        starts.append(found)
        found = passage.find(text, found + 1)
    if not starts:
        return None
    start = min(starts, key=lambda at: abs(at - wanted))
    return start, start + len(text)
