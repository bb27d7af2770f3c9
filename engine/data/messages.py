"""What can be wrong with conversations, checked for whole columns at a time."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine.data import cells, chat
from engine.data.compute import pc
from engine.data.findings import EMPTY, error, some
from engine.findings import Finding, Level

ROLES = ("system", "user", "assistant", "tool")


def conversations(table: pa.Table, column: str) -> list[Finding]:
    """Return faults of a column of conversations: empty, unknown roles, no text, no answer, roles out of order."""
    if not cells.is_messages(table.column(column)):
        return [_no_conversations(table.column(column), column)]
    turns = _Turns(cells.whole(table.column(column)), column)
    unanswered = turns.unanswered()
    found = [
        some("error", "conversation_empty", EMPTY, *_rows(turns.empty),
             "Remove these rows.", column),
        turns.told("error", "role_unknown", f"A message has {turns.strange()}", turns.role < 0,
                   "Use system, user, assistant or tool."),
        turns.told("error", "content_missing", "A message has no content", turns.lacking,
                   "Give every message a `content` text."),
        turns.told("error", "system_late", "A system message stands after other messages",
                   (turns.role == 0) & ~turns.first, "Put it first, or join it with another message."),
        some("error", "no_answer", "The assistant never answers", *_rows(unanswered),
             "Add the answer, or remove these rows; answers are what is learned.", column),
        turns.told("warning", "role_order", "Roles are out of order (user and assistant should take turns, user first)",
                   turns.misplaced() & ~unanswered[turns.parent],
                   "Many chat templates refuse this; correct these conversations."),
        some("warning", "ends_with_question", "The conversation does not end with an answer",
             *_rows(turns.open_ended()), "The last message is not learned from. Go on, or remove it.", column),
        turns.told("warning", "content_blank", "A message is empty", turns.blank & ~turns.lacking,
                   "An empty answer teaches to say nothing. Go on, or fill or remove it.")]
    return [item for item in found if item.count]


def _no_conversations(values: pa.ChunkedArray, column: str) -> Finding:
    """Return what the first filled cell of a column without conversations holds instead."""
    filled = pc.is_valid(cells.whole(values))
    rows, count = cells.rows_where(filled)
    if not rows:
        return error("not_messages", f"The column '{column}' is empty in every row.", column, chat.EXPECTED)
    if pt.is_list(values.type) and not pc.sum(pc.list_value_length(values)).as_py():
        return some("error", "conversation_empty", EMPTY, rows, count, f"Remove these rows. {chat.EXPECTED}", column)
    value = values[rows[0] - 1].as_py()
    text = value if isinstance(value, str) else ""
    with suppress(ValueError, RecursionError):
        value = json.loads(text) if text.lstrip()[:1] in ("[", "{") else value
    wrong = chat.normalise(value)[1] or ("the conversation is empty, a list without messages" if value == [] else
                                         "the conversation is a text that spells JSON, not a list")
    hint = "Save the file as jsonl or parquet, where a cell can be a list." if text and isinstance(value, list) else ""
    return Finding(kind="not_messages", level="error", where=f"row {rows[0]}, column {column}", rows=rows, count=count,
                   what=f"Row {rows[0]}: {wrong} (column '{column}').",
                   try_this=" ".join(filter(None, (hint, chat.EXPECTED, "Or map another column."))))


def _rows(mask: np.ndarray) -> tuple[list[int], int]:
    return cells.rows_where(pa.array(mask))


class _Turns:
    """All messages of a column side by side: `parent` is the row of each, `role` its number in ROLES or -1."""

    def __init__(self, array: pa.Array, column: str) -> None:
        self.column = column
        self.count = len(array)
        lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64)
        self.empty = lengths == 0
        self.parent = np.repeat(np.arange(self.count), lengths)
        self.roles = cells.message_field(array, "role")
        texts = cells.message_field(array, "content")
        self.role = np.asarray(pc.fill_null(pc.index_in(self.roles, value_set=pa.array(ROLES)), -1))
        self.lacking = np.asarray(pc.is_null(texts)) & (self.role != 2)
        self.blank = np.asarray(cells.blank(texts))
        size = len(self.parent)
        self.first = np.ones(size, dtype=bool)
        self.first[1:] = self.parent[1:] != self.parent[:-1]
        self.last = np.ones(size, dtype=bool)
        self.last[:-1] = self.first[1:]

    def told(self, level: Level, kind: str, what: str, mask: np.ndarray, try_this: str) -> Finding:
        """Return a finding about the messages in `mask`; the first of each row is named."""
        rows, count = _rows(self.any(mask))
        if not count:
            return Finding(kind=kind, level=level, what=what)
        starts = np.searchsorted(self.parent, np.array(rows) - 1)
        turns = [int(np.argmax(mask[start:])) + 1 for start in starts]
        return some(level, kind, what, rows, count, try_this, self.column, turns)

    def any(self, mask: np.ndarray) -> np.ndarray:
        """Return, for each row, whether one of its messages is in `mask`."""
        found = np.zeros(self.count, dtype=bool)
        found[self.parent[mask]] = True
        return found

    def strange(self) -> str:
        """Return the first unknown role, as shown to a person."""
        places = np.flatnonzero(self.role < 0)
        value = self.roles[int(places[0])].as_py() if len(places) else ""
        return f"the role '{value}', which is not known" if value else "no role"

    def unanswered(self) -> np.ndarray:
        """Return the rows without a message of the assistant."""
        return ~self.any(self.role == 2) & ~self.empty

    def open_ended(self) -> np.ndarray:
        """Return the rows whose last message is not the assistant's, though another is."""
        return self.any(self.last & (self.role != 2) & (self.role >= 0)) & ~self.unanswered()

    def misplaced(self) -> np.ndarray:
        """Return the messages that break the turns: an answer first, or two questions or answers in a row."""
        previous = np.concatenate([[-2], self.role[:-1]])
        opening = self.first | ((previous == 0) & ~self.first)
        same = ~self.first & (self.role == previous) & np.isin(self.role, (1, 2))
        return same | (opening & (self.role == 2))
