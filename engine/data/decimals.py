"""Numbers written with a decimal comma: 1,29 and 1.234,56 beside 1.29."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from engine.data.compute import pc

#: A number with a decimal comma, with or without points between its thousands; and one whose comma may part thousands.
_COMMA = r"^[-+]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+$"
_EITHER = r"^[-+]?[1-9]\d{0,2},\d{3}$"
_POINT = r"^[-+]?\d*\.\d+$"
_GROUPED = r"^[-+]?\d{1,3}(?:\.\d{3})+(?:,\d+)?$"
#: Share of the cells with a comma that must be such numbers, and of all cells that must be numbers at all.
_NEARLY = 0.95
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def pointed(texts: pa.Array) -> pa.Array:
    """Return texts with decimal commas written as points; others stay.

    Where every comma of a column may as well part thousands, as in 1,234, none is taken for a decimal one; nor where
    as many cells have a decimal point, among which a comma is a slip.
    """
    comma = _like(texts, _COMMA)
    if not _decided(texts, comma):
        return texts
    grouped = _like(texts, _GROUPED)
    # 1.234 is a thousand and more only where another cell parts its thousands so.
    grouped = pc.and_(grouped, pc.or_(comma, pc.any(pc.and_(comma, grouped))))
    if _count(comma) <= _count(pc.and_not(_like(texts, _POINT), grouped)):
        return texts
    bare = pc.if_else(grouped, pc.replace_substring(texts, ".", ""), texts)
    return pc.if_else(comma, pc.replace_substring(bare, ",", "."), bare)


def undecided(texts: pa.Array) -> bool:
    """Tell whether there are commas, and each may be a decimal one or part thousands."""
    comma = _like(texts, _COMMA)
    return bool(pc.any(comma).as_py()) and not _decided(texts, comma)


def first(texts: pa.Array) -> tuple[str, str] | None:
    """Return the first text that `pointed` reads differently, and how; None where there is none."""
    read = pointed(texts)
    place = pc.index(pc.fill_null(pc.not_equal(texts, read), False), True).as_py()
    return None if place < 0 else (texts[place].as_py(), read[place].as_py())


def are_numbers(values: Sequence[str]) -> bool:
    """Tell whether the values of a column are numbers with decimal commas, and not lists of labels such as 1,2."""
    parts = [value.split(",") for value in values if "," in value]
    if not parts or any(len(part) != 2 for part in parts):
        return False
    read = pointed(pa.array(values, pa.string())).to_pylist()
    if sum(1 for value in read if _NUMBER.fullmatch(value)) < _NEARLY * len(values):
        return False
    # No label is written as 05, or stands twice in a cell; halves are scores; labels of both places are the same few.
    ends = [end for _, end in parts]
    if any((len(end) > 1 and end[0] == "0") or begin == end for begin, end in parts) or set(ends) <= {"0", "5"}:
        return True
    labels = {begin for begin, _ in parts} | set(values)
    return sum(1 for end in ends if end in labels) <= len(ends) / 2


def _decided(texts: pa.Array, comma: pa.Array) -> bool:
    """Tell whether one of the commas can only be a decimal one."""
    return bool(pc.any(pc.and_not(comma, _like(texts, _EITHER))).as_py())


def _count(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _like(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)
