"""What an expression gives for each row of a table, computed for whole columns at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine.data import cells
from engine.data.compute import pc
from engine.preparation._expression import Call, Column, Node, Value, Within, fault
from engine.preparation.base import hint

Kind = Literal["text", "number", "truth", "list", "chat", "other"]
WORDS = {"text": "a text", "number": "a number", "truth": "yes or no", "list": "a list", "chat": "a conversation",
         "other": "no plain value"}
COMPARE: dict[str, str] = {"=": "equal", "!=": "equal", "<": "less", "<=": "less_equal", ">": "greater",
                           ">=": "greater_equal"}
SEARCH: dict[str, str] = {"contains": "match_substring", "startswith": "starts_with", "endswith": "ends_with",
                          "matches": "match_substring_regex"}
CHANGE: dict[str, str] = {"lower": "utf8_lower", "upper": "utf8_upper", "trim": "utf8_trim_whitespace"}


@dataclass(frozen=True)
class _Found:
    """What a part of an expression gives: an array, or one value for all rows."""

    kind: Kind
    value: Any
    fixed: bool = False


def mask(node: Node, table: pa.Table, text: str) -> pa.Array:
    """Return where an expression holds, without nulls; raises ExpressionError for parts that do not go together.

    `text` is the expression as it was written. An empty cell is not equal to anything, not smaller and not greater.
    """
    return _Evaluation(table, text).whole(node)


class _Evaluation:
    """One expression over one table."""

    def __init__(self, table: pa.Table, text: str) -> None:
        self.table = table
        self.text = text

    def whole(self, node: Node) -> pa.Array:
        """Return the mask of the whole expression."""
        return self._rows(self._truth(node))

    def _rows(self, value: Any) -> pa.Array:
        if isinstance(value, bool):
            return pa.repeat(pa.scalar(value), self.table.num_rows)
        return value

    def of(self, node: Node) -> _Found:
        """Return what a part gives."""
        if isinstance(node, Value):
            kind: Kind = "truth" if isinstance(node.value, bool) else "text" if isinstance(node.value, str) \
                else "number"
            return _Found(kind, node.value, fixed=True)
        if isinstance(node, Column):
            return self._column(node)
        if isinstance(node, Within):
            return self._within(node)
        assert isinstance(node, Call)
        return _DO[node.name](self, node)

    def _column(self, node: Column) -> _Found:
        if node.name not in self.table.column_names:
            raise fault(self.text, node.at, f"there is no column '{node.name}'",
                        hint(node.name, self.table.column_names))
        column = self.table.column(node.name)
        kind = column.type
        if cells.is_messages(column):
            return _Found("chat", cells.whole(column))
        if cells.is_list(column):
            return _Found("list", cells.whole(column))
        if pt.is_boolean(kind):
            return _Found("truth", cells.whole(column))
        if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
            return _Found("number", cells.whole(column))
        return _Found("text", cells.strings(column)) if cells.is_text(column) else _Found("other", cells.whole(column))

    # -- from one kind to another ----------------------------------------------------------------------------------

    def _text(self, found: _Found, node: Node) -> Any:
        if found.kind == "text":
            return found.value
        if found.fixed:
            return str(found.value).lower() if found.kind == "truth" else f"{found.value:g}" \
                if isinstance(found.value, float) else str(found.value)
        if found.kind == "other":
            raise fault(self.text, node.at, "this is no plain value", "Only 'is empty' can be asked of it.")
        return cells.strings(pa.chunked_array([found.value]))

    def _number(self, found: _Found, node: Node) -> Any:
        if found.kind == "number":
            return found.value
        if found.kind == "truth":
            return int(found.value) if found.fixed else pc.cast(found.value, pa.int64())
        if found.kind == "text" and not found.fixed:
            return cells.numbers(pa.chunked_array([found.value]))
        if found.kind == "text":
            raise fault(self.text, node.at, "a number is needed here, not a text", "Write the number without quotes.")
        raise fault(self.text, node.at, f"a number is needed here, not {WORDS[found.kind]}",
                    "length() gives how long it is.")

    def _truth(self, node: Node) -> Any:
        found = self.of(node)
        if found.kind != "truth":
            raise fault(self.text, node.at, f"this is {WORDS[found.kind]}, where yes or no is needed",
                        "Compare it with something, for example: label != \"other\".")
        return found.value if found.fixed else pc.fill_null(found.value, False)

    # -- what each name does ---------------------------------------------------------------------------------------

    def logic(self, node: Call) -> _Found:
        """Return what and, or and not give."""
        values = [self._rows(self._truth(part)) for part in node.parts]
        if node.name == "not":
            return _Found("truth", pc.invert(values[0]))
        return _Found("truth", functools.reduce(getattr(pc, f"{node.name}_"), values))

    def compare(self, node: Call) -> _Found:
        """Return what a comparison gives: as numbers when one side is a number, else as texts."""
        sides = [self.of(part) for part in node.parts]
        written = next((side for side in sides if side.fixed), None)
        kinds = {side.kind for side in sides}
        as_numbers = kinds <= {"number", "truth"} or ("number" in kinds and (
            written is None or written.kind == "number" or node.name not in ("=", "!=")))
        convert = self._number if as_numbers else self._text
        if kinds == {"truth"}:
            convert = self._plain
        left, right = (convert(side, part) for side, part in zip(sides, node.parts, strict=True))
        answer = self._compared(node, left, right)
        return _Found("truth", bool(answer.as_py()), fixed=True) if isinstance(answer, pa.Scalar) else \
            _Found("truth", answer)

    def _plain(self, found: _Found, node: Node) -> Any:
        return found.value

    def _compared(self, node: Call, left: Any, right: Any) -> Any:
        function: Callable[..., Any] = getattr(pc, COMPARE[node.name])
        try:
            answer = pc.fill_null(function(left, right), False)
        except pa.ArrowInvalid:
            answer = pc.fill_null(function(pc.cast(left, pa.float64()), pc.cast(right, pa.float64())), False)
        return pc.invert(answer) if node.name == "!=" else answer

    def arithmetic(self, node: Call) -> _Found:
        """Return what a sum, product or negative gives, in double precision; nothing where it is not defined."""
        found = [self.of(part) for part in node.parts]
        values = [_double(self._number(one, part)) for one, part in zip(found, node.parts, strict=True)]
        made = pc.negate(values[0]) if len(values) == 1 else _arithmetic(node.name, *values)
        if not all(one.fixed for one in found):
            return _Found("number", made)
        if made.as_py() is None:
            raise fault(self.text, node.at, "it divides by zero")
        return _Found("number", made.as_py(), fixed=True)

    def search(self, node: Call) -> _Found:
        """Return where a text is found in another, or a value in a list."""
        part, wanted = node.parts
        if not isinstance(wanted, Value) or not isinstance(wanted.value, str):
            raise fault(self.text, wanted.at, f"{node.name} needs a text in quotes")
        found = self.of(part)
        if found.kind == "list" and node.name == "contains":
            return _Found("truth", self._has(found.value, wanted.value))
        texts = self._text(found, part)
        array = pa.array([texts]) if found.fixed else texts
        try:
            answer = getattr(pc, SEARCH[node.name])(array, pattern=wanted.value)
        except pa.ArrowInvalid as error:
            problem = str(error).partition(":")[2].strip() or str(error)
            raise fault(self.text, wanted.at, f"the pattern cannot be read ({problem})",
                        "See RE2's syntax: it has no look-around and no back references.") from None
        answer = pc.fill_null(answer, False)
        return _Found("truth", bool(answer[0].as_py()), fixed=True) if found.fixed else _Found("truth", answer)

    def _has(self, lists: pa.Array, wanted: str) -> pa.Array:
        """Return which lists hold an item that reads like `wanted`."""
        items = pc.fill_null(pc.equal(pc.cast(pc.list_flatten(lists), pa.string()), wanted), False)
        rows = pc.unique(pc.list_parent_indices(lists).filter(items))
        return pc.is_in(pa.array(np.arange(len(lists)), rows.type), value_set=rows)

    def change(self, node: Call) -> _Found:
        """Return a text in small or capital letters, or without blanks around it."""
        part = node.parts[0]
        found = self.of(part)
        text = self._text(found, part)
        made = getattr(pc, CHANGE[node.name])(pa.scalar(text) if found.fixed else text)
        return _Found("text", made.as_py() if found.fixed else made, found.fixed)

    def length(self, node: Call) -> _Found:
        """Return how many characters, items or messages there are; 0 where there is nothing."""
        part = node.parts[0]
        found = self.of(part)
        if found.kind in ("list", "chat"):
            return _Found("number", pc.cast(pc.fill_null(pc.list_value_length(found.value), 0), pa.int64()))
        text = self._text(found, part)
        if found.fixed:
            return _Found("number", len(text), fixed=True)
        return _Found("number", pc.cast(pc.fill_null(pc.utf8_length(text), 0), pa.int64()))

    def words(self, node: Call) -> _Found:
        """Return how many words there are; 0 where there is nothing."""
        part = node.parts[0]
        found = self.of(part)
        text = self._text(found, part)
        if found.fixed:
            return _Found("number", len(text.split()), fixed=True)
        counted = pc.count_substring_regex(text, pattern=r"\S+")
        return _Found("number", pc.cast(pc.fill_null(counted, 0), pa.int64()))

    def convert(self, node: Call) -> _Found:
        """Return a value as number or as text."""
        part = node.parts[0]
        found = self.of(part)
        value = self._number(found, part) if node.name == "number" else self._text(found, part)
        return _Found("number" if node.name == "number" else "text", value, found.fixed)

    def empty(self, node: Call) -> _Found:
        """Return where there is nothing: no value, only blanks, no items, or no number."""
        found = self.of(node.parts[0])
        if found.fixed:
            raise fault(self.text, node.parts[0].at, "'is empty' is asked of a column")
        if found.kind == "text":
            return _Found("truth", cells.blank(found.value))
        if found.kind in ("list", "chat"):
            return _Found("truth", pc.equal(pc.fill_null(pc.list_value_length(found.value), 0), 0))
        return _Found("truth", pc.is_null(found.value, nan_is_null=True))

    def _within(self, node: Within) -> _Found:
        found = self.of(node.part)
        numeric = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in node.choices)
        if found.kind == "list":
            raise fault(self.text, node.part.at, "this is a list, where one value is needed",
                        "Write: column contains \"value\".")
        if numeric and found.kind in ("number", "text", "truth") and not found.fixed:
            values = pc.cast(self._number(found, node.part), pa.float64())
            return _Found("truth", pc.is_in(values, value_set=pa.array([float(c) for c in node.choices])))
        wanted = [self._text(_Found("truth" if isinstance(c, bool) else "text" if isinstance(c, str) else "number", c,
                                    fixed=True), node) for c in node.choices]
        text = self._text(found, node.part)
        if found.fixed:
            return _Found("truth", text in wanted, fixed=True)
        return _Found("truth", pc.is_in(text, value_set=pa.array(wanted, pa.string())))


def _double(value: Any) -> Any:
    """Return a number or numbers in double precision."""
    return pa.scalar(float(value)) if isinstance(value, int | float) else pc.cast(value, pa.float64())


def _arithmetic(name: str, left: Any, right: Any) -> Any:
    """Return a sum, difference, product, quotient or remainder; null where the divisor is 0."""
    if name in ("/", "%"):
        right = pc.if_else(pc.equal(right, 0.0), pa.scalar(None, pa.float64()), right)
    if name == "%":
        return pc.subtract(left, pc.multiply(pc.floor(pc.divide(left, right)), right))
    return {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide}[name](left, right)


_DO: dict[str, Callable[[_Evaluation, Call], _Found]] = {
    **dict.fromkeys(("and", "or", "not"), _Evaluation.logic), **dict.fromkeys(COMPARE, _Evaluation.compare),
    **dict.fromkeys(("+", "-", "*", "/", "%"), _Evaluation.arithmetic),
    **dict.fromkeys(SEARCH, _Evaluation.search), **dict.fromkeys(CHANGE, _Evaluation.change),
    **dict.fromkeys(("number", "text"), _Evaluation.convert), "length": _Evaluation.length, "words": _Evaluation.words,
    "empty": _Evaluation.empty}
