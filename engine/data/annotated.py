"""Which columns hold words with their tags, or questions with answers that stand in a passage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from engine.data import names, squad, tags
from engine.data.source import Preview

#: Rows looked at; passages are long.
_LOOKED_AT = 200
#: Share of the rows that must have as many tags as words: of lists, and of texts, whose names say less.
_LISTS_ALIKE, _TEXTS_ALIKE = 0.5, 0.9


def tagged(data: Preview | pa.Table) -> dict[str, str] | None:
    """Return the columns of `tokens` and `tags`: usual names, lists (or texts), and as many tags as words in most rows.

    Texts hold words with blanks between, or lists as they are written; one of them at least has several. Rows whose
    numbers differ are slips, which checking names.
    """
    found = _columns(data)
    words, given = _named(found, names.TOKENS), _named(found, names.TAGS)
    if words is None or given is None:
        return None
    pairs = [(a, b) for a, b in zip(found[words], found[given], strict=True) if a is not None or b is not None]
    if not pairs or not all(isinstance(cell, list | str | None) for pair in pairs for cell in pair):
        return None
    sizes = [tuple(len(tags.split(cell) or ()) for cell in pair) for pair in pairs]
    several = any(isinstance(cell, list) for cell in pairs[0]) or any(max(pair) > 1 for pair in sizes)
    listed = all(isinstance(cell, list) for pair in pairs for cell in pair if cell is not None)
    alike = sum(a == b for a, b in sizes) / len(sizes)
    fits = alike == 1 or alike > (_LISTS_ALIKE if listed else _TEXTS_ALIKE)
    return {"tokens": words, "tags": given} if several and fits else None


def answered(data: Preview | pa.Table) -> tuple[dict[str, str], bool] | None:
    """Return the columns of `question`, `context` and `answers`, and whether some questions have no answer.

    Answers with their places are meant to stand in their passages: where they do not, checking says so by row. Of plain
    answers, nearly all must stand there; otherwise they are answers in free form.
    """
    found = _columns(data)
    question, passage = _named(found, (names.QUESTION,)), _named(found, names.PASSAGES)
    answers = _named(found, names.ANSWERS) or _named(found, ("answers_text",))
    if question is None or passage is None or answers is None:
        return None
    rows = [(str(text or ""), squad.answers(value))
            for text, value in zip(found[passage], found[answers], strict=True)]
    filled = [value for value in found[answers] if value is not None]
    columns = {"question": question, "context": passage, "answers": answers}
    if filled and sum(map(squad.is_placed, filled)) >= 0.9 * len(filled):
        return columns, not all(known for _, known in rows)
    given = [any(squad.place(answer, text) for answer in known) for text, known in rows if known]
    if not given or sum(given) < 0.9 * len(given):
        return None
    return columns, len(given) < len(rows)


def _columns(data: Preview | pa.Table) -> dict[str, Sequence[Any]]:
    if isinstance(data, Preview):
        return {name: [row.get(name) for row in data.rows[:_LOOKED_AT]] for name in data.columns}
    head = data.slice(0, _LOOKED_AT)
    return {name: head.column(name).to_pylist() for name in head.column_names}


def _named(found: dict[str, Sequence[Any]], wanted: Sequence[str]) -> str | None:
    plain = {names.plain(name): name for name in reversed(found)}
    return next((plain[name] for name in wanted if name in plain), None)
