"""Column types for loosely typed rows: each column gets the narrowest kind that holds all its values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import pyarrow as pa

from engine.data import chat
from engine.data.faults import Faults

Kind = Literal["null", "int", "float", "string", "strings", "messages", "json"]
TYPES: dict[str, pa.DataType] = {
    "null": pa.string(), "int": pa.int64(), "float": pa.float64(), "string": pa.string(),
    "strings": pa.list_(pa.string()), "messages": chat.MESSAGES, "json": pa.string()}
_SMALL = 1 << 63


class Widened(Exception):
    """A later row needs a wider kind than the rows before it: read again from the start."""


def kind_of(value: Any) -> Kind:
    """Return the narrowest kind that holds a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, (str, bool)):
        return "string"
    if isinstance(value, int):
        return "int" if -_SMALL <= value < _SMALL else "string"
    if isinstance(value, float):
        return "float"
    if isinstance(value, list):
        if chat.is_messages(value):
            return "messages"
        return "strings" if all(item is None or isinstance(item, (str, int, float)) for item in value) else "json"
    return "json"


def join(first: Kind, second: Kind) -> Kind:
    """Return the narrowest kind that holds both."""
    if first == second or second == "null":
        return first
    if first == "null":
        return second
    pair = {first, second}
    if "messages" in pair:
        return "messages"
    if pair == {"int", "float"}:
        return "float"
    if "json" in pair:
        return "json"
    if "strings" in pair:
        return "strings"
    return "string"


def column_kind(values: Sequence[Any]) -> Kind:
    """Return the kind of a whole column."""
    types = set(map(type, values))
    found: Kind = "null"
    for plain in types & {str, bool}:
        found = join(found, kind_of(plain()))
    if float in types:
        found = join(found, "float")
    if int in types:
        numbers = [value for value in values if type(value) is int]
        found = join(join(found, kind_of(min(numbers))), kind_of(max(numbers)))
    if types - {str, bool, int, float, type(None)}:
        for value in values:
            if isinstance(value, (list, dict)):
                found = join(found, kind_of(value))
    return found


def array(values: Sequence[Any], kind: Kind, name: str, first_row: int, faults: Faults) -> pa.Array:
    """Return the values as an Arrow array of their kind; unusable conversations become null and are noted."""
    if kind == "messages":
        return _messages(values, name, first_row, faults)
    if kind in ("int", "float"):
        return pa.array(values, TYPES[kind])
    if kind == "strings":
        return pa.array([_strings(value) for value in values], TYPES[kind])
    with suppress(pa.ArrowException, UnicodeEncodeError, TypeError):
        # The usual column, texts all through, goes without a step in Python for each cell.
        return pa.array(values, pa.string())
    return pa.array([_text(value) for value in values], pa.string())


def _messages(values: Sequence[Any], name: str, first_row: int, faults: Faults) -> pa.Array:
    found: list[Any] = []
    for row, value in enumerate(values, first_row):
        messages, wrong = chat.normalise(value)
        if wrong:
            faults.add("messages_malformed", row, f"Row {row}: {wrong} (column '{name}').",
                       chat.EXPECTED)
        elif messages and chat.calls_tools(value):
            messages = chat.without_tools(value, messages)
            faults.add("tool_calls", row, f"Row {row}: the assistant calls a tool. Tools are not learned: the call and "
                       f"what the tool said were left out (column '{name}').", "The answers after it are learned as if "
                       "no tool had been asked. Go on, or remove these rows.", always=True)
        found.append(messages)
    return pa.array(found, chat.MESSAGES)


def _strings(value: Any) -> list[str | None] | None:
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    return [_text(item) for item in items]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value if value.isascii() else _without_surrogates(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return _without_surrogates(json.dumps(value, ensure_ascii=False, default=str))


def _without_surrogates(text: str) -> str:
    """Replace lone halves of surrogate pairs, which JSON escapes can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text
