"""Guesses which column plays which part, and with that the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from engine.data import annotated, names
from engine.data.profiles import NUMBER, Profile, profiles
from engine.data.source import Preview


class Guess(BaseModel):
    """A task, the column of each role and the task's options, with reasons; `task` is "" when nothing fits.

    `confidence` from 0 to 1: above 0.8 by names, around 0.5 by content alone.
    """

    task: str = ""
    columns: dict[str, str] = {}
    options: dict[str, Any] = {}
    confidence: float = 0.0
    why: list[str] = []


def guess(data: Preview | pa.Table) -> Guess:
    """Return the likeliest task and roles of a preview or a table; looks at its first 2,000 rows."""
    marked = _annotated(data)
    if marked is not None:
        return marked
    found = profiles(data)
    usable = [item for item in found if item.kind != "empty"]
    for attempt in (_images, _messages, _exchange, _pair_with_label, _labelled, _misshapen, _unnamed_exchange,
                    _plain_text):
        result = attempt(usable)
        if result is not None:
            return result
    return Guess(why=["No column of texts was found."])


def _annotated(data: Preview | pa.Table) -> Guess | None:
    """Find words with their tags, or questions whose answers stand in a passage, or are meant to."""
    words = annotated.tagged(data)
    if words is not None:
        return Guess(task="token_classification", columns=words, confidence=0.95, why=[
            f"'{words['tags']}' holds a tag for each word in '{words['tokens']}'."])
    questions = annotated.answered(data)
    if questions is None:
        return None
    columns, some_empty = questions
    return Guess(task="question_answering", columns=columns, options={"unanswerable": True} if some_empty else {},
                 confidence=0.95, why=[f"The answers in '{columns['answers']}' are parts of '{columns['context']}'."])


def _images(found: list[Profile]) -> Guess | None:
    pictures = [item for item in found if item.kind == "image"]
    if not pictures:
        return None
    best = min(pictures, key=lambda item: item.plain not in ("image", "img", "picture", "photo"))
    label = _label([item for item in found if item.kind != "image"])
    columns = {"image": best.name} | ({"label": label.name} if label else {})
    why = [f"'{best.name}' holds images."] + ([_problem(label)[1]] if label else [])
    return Guess(task="image_classification", columns=columns, confidence=0.95 if label else 0.5, why=why)


def _messages(found: list[Profile]) -> Guess | None:
    chats = [item for item in found if item.kind == "messages"]
    if not chats:
        return None
    best = min(chats, key=lambda item: names.MESSAGES.index(item.plain) if item.plain in names.MESSAGES else 99)
    columns = {"messages": best.name} | _system(found)
    return Guess(task="causal_lm", columns=columns, confidence=0.98,
                 why=[f"'{best.name}' holds conversations: lists of messages with role and content."])


def _exchange(found: list[Profile]) -> Guess | None:
    """Find prompt and completion by name; an answer that is one of a few short ones is a label instead."""
    by_name = {item.plain: item for item in found if item.kind == "text"}
    for first, second in names.EXCHANGES:
        prompt, answer = by_name.get(first), by_name.get(second)
        if prompt is None or answer is None or (answer.labelly and answer.repeated > 0.5 and answer.words < 3):
            continue
        if prompt.labelly and prompt.plain not in ("prompt", "instruction") and not prompt.texty:
            continue
        return Guess(task="causal_lm", confidence=0.9, columns={
            "prompt": prompt.name, "completion": answer.name} | _system(found),
            why=[f"'{prompt.name}' and '{answer.name}' are usual names of a prompt and its answer."])
    return None


def _pair_with_label(found: list[Profile]) -> Guess | None:
    by_name = {item.plain: item for item in found if item.kind == "text"}
    for first, second in names.PAIRS:
        if first in by_name and second in by_name:
            one, two = by_name[first], by_name[second]
            label = _label([item for item in found if item not in (one, two)])
            if label is not None:
                return _classify({"text": one.name, "text_pair": two.name}, label, 0.95, [
                    f"'{one.name}' and '{two.name}' are usual names of two texts judged together."])
    return None


def _labelled(found: list[Profile]) -> Guess | None:
    """Find one text (or, without names, two) and a label."""
    label = _label(found)
    if label is None:
        return None
    rest = [item for item in found if item is not label and item.kind == "text" and item.plain not in names.IDS]
    texty = [item for item in rest if item.texty]
    named = [item for item in rest if item.plain in names.TEXTS and (item.texty or (item.numeric < 0.5 and not texty))]
    nameless = [item for item in texty if item.plain.startswith("column_")]
    if len(nameless) == 2 and not named and min(item.words for item in nameless) >= 4:
        return _classify({"text": nameless[0].name, "text_pair": nameless[1].name}, label, 0.55,
                         ["Two columns hold texts and a third a few short values."])
    if not named and not texty:
        rest = [item for item in rest if item.numeric < 0.5 and not (item.labelly and item.repeated > 0.8)]
        if not rest or label.plain not in names.LABELS:
            return None
        texty = rest
    text = min(named, key=lambda item: (names.TEXTS.index(item.plain), -item.length)) if named else \
        max(texty, key=lambda item: item.length)
    if named and not text.plain.startswith("text"):
        text = max(named, key=lambda item: (item.length > 3 * text.length, item is text))
    sure = (0.45 if named and text.plain in names.TEXTS else 0.25) + (0.5 if label.plain in names.LABELS else 0.3)
    return _classify({"text": text.name}, label, sure, [f"'{text.name}' holds texts."])


def _classify(columns: dict[str, str], label: Profile, confidence: float, why: list[str]) -> Guess:
    problem, reason = _problem(label)
    return Guess(task="text_classification", columns=columns | {"label": label.name}, confidence=round(confidence, 2),
                 options={} if problem == "single_label" else {"problem": problem}, why=[*why, reason])


def _label(found: list[Profile]) -> Profile | None:
    """Return the likeliest label: a usual name first, then short repeated values, 0 and 1 above all."""
    scored = [(score, item) for item in found if (score := _label_score(item)) > 0]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def _label_score(item: Profile) -> float:
    named = names.LABELS.index(item.plain) if item.plain in names.LABELS else -1
    if item.plain in names.IDS or item.plain.endswith("_id") or item.filled < 0.5:
        return 0.0
    if item.kind == "list":
        few = item.longest <= 64 and item.distinct <= max(3, item.count)
        if not few or (named < 0 and item.distinct >= item.count / 2):
            return 0.0
        return 10 - named / 10 if named >= 0 else 2.0
    if item.kind != "text":
        return 0.0
    fractional = item.numeric > 0.95 and item.whole < 0.95
    if named >= 0 and (item.labelly or fractional or item.count < 10 or (item.longest <= 64 and item.words <= 4)):
        return 10 - named / 10 if not item.texty or item.labelly else 1.0
    if not item.labelly:
        return 3.0 if item.numeric > 0.95 and item.plain in names.NUMBERS else 0.0
    if item.distinct == 1:
        return 0.1
    counting = item.numeric > 0.99 and item.whole > 0.99
    small = counting and {int(float(value)) for value in item.values if NUMBER.match(value)} <= set(range(10))
    few = 1.0 - min(1.0, item.distinct / 200)
    return (3.5 if small else 0.5 if counting else 2.0) + few + item.filled


def _problem(label: Profile) -> tuple[str, str]:
    if label.kind == "list":
        return "multi_label", f"'{label.name}' holds a list of labels a row."
    if label.numeric > 0.95 and label.whole < 0.95:
        return "regression", f"'{label.name}' holds numbers with fractions: a score."
    if label.numeric > 0.95 and label.distinct > 30 and label.distinct > 0.05 * label.count and label.count >= 50:
        return "regression", f"'{label.name}' holds {label.distinct} different numbers: a score."
    if label.numeric > 0.95 and label.plain in names.NUMBERS and not label.labelly:
        return "regression", f"'{label.name}' holds numbers, and is a usual name of one to be told from a text."
    mark = _joined_by(label.values)
    if mark:
        return "multi_label", f"'{label.name}' holds several labels a row, joined by '{mark}'."
    many = f"{label.distinct} different short values" if label.distinct > 1 else "short values"
    return "single_label", f"'{label.name}' holds {many}: classes."


def _joined_by(values: Sequence[str]) -> str:
    """Return the mark that joins labels in cells: its parts are short, few and come back in other cells."""
    for mark in ("|", ";", ","):
        several = [value for value in values if mark in value]
        if len(several) < max(2, 0.1 * len(values)):
            continue
        parts = [part.strip() for value in values for part in value.split(mark) if part.strip()]
        short = all(len(part.split()) <= 3 and len(part) <= 40 for part in parts)
        if short and len(set(parts)) < len(set(values)) and len(set(parts)) <= max(3, len(parts) / 3):
            return mark
    return ""


def _misshapen(found: list[Profile]) -> Guess | None:
    """Take a column called messages for conversations though it holds none: checking says what is wrong with it."""
    named = next((item for item in found if item.plain in names.CONVERSATIONS), None)
    if named is None:
        return None
    return Guess(task="causal_lm", columns={"messages": named.name} | _system(found), confidence=0.5,
                 why=[f"'{named.name}' is the usual name of conversations, though it holds something else."])


def _unnamed_exchange(found: list[Profile]) -> Guess | None:
    texty = [item for item in found if item.texty and item.plain not in names.IDS]
    named = [item for item in texty if item.plain == "text"]
    if len(texty) != 2 or named:
        return None
    return Guess(task="causal_lm", columns={"prompt": texty[0].name, "completion": texty[1].name}, confidence=0.5,
                 why=["Two columns hold texts and none a label: taken as prompt and answer."])


def _plain_text(found: list[Profile]) -> Guess | None:
    texts = [item for item in found if item.kind == "text" and item.numeric < 0.5 and item.plain not in names.IDS
             and (item.texty or not item.labelly)]
    if not texts:
        return None
    best = max(texts, key=lambda item: (item.plain in ("text", "content", "texts", "document"), item.length))
    return Guess(task="causal_lm", columns={"text": best.name} | _system([x for x in found if x is not best]),
                 confidence=0.6 if best.plain in names.TEXTS else 0.4,
                 why=[f"'{best.name}' holds texts, and no other column a label or an answer."])


def _system(found: list[Profile]) -> dict[str, str]:
    return next(({"system": item.name} for item in found if item.plain in names.SYSTEM and item.kind == "text"), {})
