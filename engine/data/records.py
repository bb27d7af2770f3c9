"""JSON and YAML as record batches: one object a line, an array, a document around an array, or whole columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.data import chat, kinds, names, nested, squad, yaml_text
from engine.data.doubles import Decoder
from engine.data.errors import (
    BadJson,
    ColumnarTooLarge,
    DataError,
    JsonTooDeep,
    NoRecords,
    TooManyColumns,
    UnequalColumns,
)
from engine.data.faults import Faults
from engine.data.json_text import JsonText
from engine.data.layout import Layout
from engine.data.source import Source
from engine.data.stream import BOMS, Hooks, clean, lines, size_text

SIZE = 20_000
BYTES = 16 << 20
COLUMNAR = 64 << 20
DEEPEST = 64
_FIX = "Correct these lines (one JSON object a line), or leave them out."
_ENCODING = "Look whether accented letters are right in these rows; if not, save the file as UTF-8."
_NESTED = frozenset((dict, list))
MOST_COLUMNS = 10_000


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks, layout: Layout,
            rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """Yield batches whose columns follow `layout`; raises Widened when it has to start again, or DataError."""
    held: list[dict[str, Any]] = []
    room, number, first = rows or SIZE, 0, 1
    weight = 0
    if source.format == "yaml":
        found = yaml_text.rows(path, source, faults, hooks)
    elif source.format == "jsonl":
        found = _lines(path, source, faults, hooks)
    else:
        found = _document(path, source, faults, hooks)
    for number, value, length in found:
        try:
            held.append(flat(value, layout))
        except RecursionError:
            raise JsonTooDeep(f"{path.name}, row {number}", row=number, limit=DEEPEST) from None
        weight += length
        if len(held) >= room or weight > BYTES:
            yield batch(held, layout, first, faults, path.name)
            held, first, weight = [], number + 1, 0
    if held:
        yield batch(held, layout, first, faults, path.name)


def flat(row: dict[str, Any], layout: Layout, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Return a row with nested objects, and lists of one object, spread into dotted columns."""
    if not prefix and not any(type(value) in _NESTED for value in row.values()):
        return row
    found: dict[str, Any] = {}
    for key, value in row.items():
        name = prefix + str(key).replace("\n", " ")
        if not prefix and name in names.CONVERSATIONS:
            # What is wrong with it can be said only while it is whole.
            found[name] = value
            continue
        if name == "answers" and squad.is_answer(value):
            layout.keep_whole(name)
        inner = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, list) and value and isinstance(value[0], dict) and not chat.is_message(value[0]) and (
                len(value) > 1):
            layout.keep_whole(name)
        if isinstance(inner, dict) and not (isinstance(value, list) and chat.is_message(inner)) \
                and name not in layout.whole:
            if depth < 2 and inner and not any(isinstance(item, (dict, list)) for item in inner.values()):
                layout.spread.add(name)
                found |= flat(inner, layout, name + ".", depth + 1)
                continue
            layout.keep_whole(name)
        found[name] = value
    return found


def batch(rows: list[dict[str, Any]], layout: Layout, first: int, faults: Faults, where: str = "") -> pa.RecordBatch:
    """Return rows, the first of which is number `first`, as a batch.

    Raises Widened when the layout has to widen, and TooManyColumns, of the file called `where`.
    """
    seen = dict.fromkeys(name for row in rows for name in row)
    if len(seen | layout.kinds) > MOST_COLUMNS:
        raise TooManyColumns(where, count=len(seen | layout.kinds), limit=MOST_COLUMNS)
    values = {name: [row.get(name) for row in rows] for name in (layout.kinds | seen)}
    for name, column in values.items():
        layout.learn(name, "json" if name in layout.whole else kinds.column_kind(column))
        if layout.kinds[name] in ("string", "strings"):
            layout.notice(name, column, first)
    layout.started = True
    arrays = [kinds.array(values[name], kind, name, first, faults) for name, kind in layout.kinds.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(layout.kinds))


def _lines(path: Path, source: Source, faults: Faults, hooks: Hooks) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Yield (row, object, size) for each line; broken lines are noted and left out."""
    number, decoder = 0, Decoder()
    foreign = source.encoding not in BOMS
    for line in lines(path, source, hooks):
        if not line.strip():
            continue
        number += 1
        if foreign and not line.isascii():
            _not_utf8(number, source, faults)
        try:
            value = decoder.decode(line)
        except ValueError as error:
            faults.add("broken_rows", number, f"Row {number} is not valid JSON ({_reason(error)}).", _FIX)
            continue
        except RecursionError:
            raise JsonTooDeep(f"{path.name}, row {number}", row=number, limit=sys.getrecursionlimit()) from None
        if not isinstance(value, dict):
            faults.add("broken_rows", number, f"Row {number} is {_kind(value)}, not a JSON object.", _FIX)
            continue
        if number == 1 and set(value) == {"header"} and isinstance(value["header"], dict):
            # MRQA's files begin with a line about themselves.
            number = 0
            continue
        decoder.note(number, faults)
        several = nested.rows(value)
        if several is None:
            yield number, value, len(line)
        else:
            yield from _apart(number, several, len(line))
            number += len(several) - 1


def _apart(number: int, several: list[dict[str, Any]], length: int) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Yield the rows of one nested object, numbered from `number`."""
    yield from ((number + i, row, length // len(several)) for i, row in enumerate(several))


def _not_utf8(row: int, source: Source, faults: Faults) -> None:
    """Note a row with bytes beyond ASCII in a JSON file that is not UTF-8, as JSON has to be (RFC 8259, 8.1)."""
    faults.add("invalid_utf8", row, f"Row {row} is not valid UTF-8, as JSON has to be; it was read as "
               f"{source.encoding}.", _ENCODING, always=True)


def _document(path: Path, source: Source, faults: Faults, hooks: Hooks) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Yield (row, object, size) of an array of objects, wherever it stands at the top of the document."""
    text = JsonText(path, source, hooks)
    opening = text.peek()
    if opening == "{":
        names = _find_array(text)
        text.decoder.note_document(faults)
        if not names:
            yield from _columns(path, source, faults, hooks)
            return
    else:
        names: list[str] = []
        text.take()
    number = 0
    while (mark := text.peek()) != "]":
        if mark == "":
            raise text.broken("the file ends inside the list of examples")
        value, length = text.value()
        number += 1
        text.decoder.note(number, faults)
        if source.encoding not in BOMS and not text.text[text.at - length:text.at].isascii():
            _not_utf8(number, source, faults)
        several = nested.rows(value)
        if several is not None:
            yield from _apart(number, several, length)
            number += len(several) - 1
        elif isinstance(value, dict):
            yield number, value, length
        else:
            faults.add("broken_rows", number, f"Row {number} is {_kind(value)}, not a JSON object.",
                       "Write each example as an object with named fields.")
        if text.peek() == ",":
            text.take()
            if text.peek() == "]":
                raise text.broken("a comma stands before the closing bracket")
        elif text.peek() not in ("]", ""):
            raise text.broken("a comma is missing between two examples")
    text.take()
    if opening == "[" and text.peek():
        raise text.broken("something follows the closing bracket")
    if names and text.peek() == ",":
        # A second list of that name would be passed over.
        text.take()
        if text.peek() == '"':
            text.decoder.see([*names, str(text.value()[0])])
            text.decoder.note_document(faults, "first")


def _find_array(text: JsonText) -> list[str]:
    """Step into the first list of objects of a document, and return the names up to that, its own as the last.

    None are returned when the document stores whole columns.
    """
    text.take()
    names: list[str] = []
    while text.peek() == '"':
        names.append(str(text.value()[0]))
        if text.peek() != ":":
            raise text.broken("a colon is missing after a name")
        text.take()
        mark = text.peek()
        if mark == "[":
            text.take()
            if text.peek() != "{":
                return []
            text.decoder.see(names)
            return names
        if mark == "{":
            return []
        text.value()
        if text.peek() == ",":
            text.take()
    return []


def _columns(path: Path, source: Source, faults: Faults, hooks: Hooks) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Yield the rows of {"column": [values]} or {"column": {"row": value}}, or of a single object."""
    data = bytearray()
    for chunk in clean(path, source, hooks):
        data += chunk
        if len(data) > COLUMNAR:
            raise ColumnarTooLarge(path.name, limit=size_text(COLUMNAR))
    try:
        decoder = Decoder()
        value = decoder.decode(data.decode("utf-8"))
    except ValueError as error:
        raise _bad(path, error) from None
    except RecursionError:
        raise JsonTooDeep(path.name, row=1, limit=sys.getrecursionlimit()) from None
    decoder.note_document(faults)
    records = value.get("data") if isinstance(value.get("data"), list) else None
    if records and isinstance(value.get("columns"), list) and all(isinstance(row, list) for row in records):
        value = {str(name): [row[place] if place < len(row) else None for row in records]
                 for place, name in enumerate(value["columns"])}
    columns = {name: list(item.values()) if isinstance(item, dict) else item for name, item in value.items()}
    lists = {name: item for name, item in columns.items() if isinstance(item, list)}
    if not lists or len(lists) != len(columns):
        if any(isinstance(item, (str, int, float)) for item in value.values()) and len(lists) < 2:
            yield 1, value, len(data)
            return
        raise NoRecords(path.name, what="an object with the fields " + ", ".join(map(repr, list(value)[:8])))
    lengths = {name: len(item) for name, item in lists.items()}
    if len(set(lengths.values())) > 1:
        raise UnequalColumns(path.name, lengths=", ".join(f"{name} {count}" for name, count in lengths.items()))
    size = len(data) // max(1, *lengths.values())
    for number, row in enumerate(zip(*lists.values(), strict=True), 1):
        yield number, dict(zip(lists, row, strict=True)), size


def _bad(path: Path, error: ValueError) -> DataError:
    line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
    return BadJson(f"{path.name}, line {line}", line=line, column=column, reason=_reason(error))


def _reason(error: ValueError) -> str:
    return f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
