"""Columns as texts, to compare rows by and to write into others."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from engine.data import cells
from engine.data.compute import pc

#: Stands between the cells of a row; no text holds it.
BETWEEN = "\x1f"


def plain(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as texts: conversations as "role: content" lines, images as the hash of their bytes."""
    if cells.is_image(column):
        return cells.image_keys(column)
    if cells.is_messages(column):
        array = cells.whole(column)
        roles, texts = cells.message_field(array, "role"), cells.message_field(array, "content")
        return cells.joined(array, pc.binary_join_element_wise(pc.fill_null(roles, ""), pc.fill_null(texts, ""), ": "))
    if cells.is_text(column) or cells.is_list(column):
        return cells.strings(column)
    return pa.array([None if value is None else json.dumps(value, ensure_ascii=False, default=str)
                     for value in column.to_pylist()], pa.string())


def keys(table: pa.Table, columns: Sequence[str], *, loose: bool) -> pa.Array:
    """Return one text a row that is equal for rows whose `columns` are; `loose` overlooks case and blanks."""
    parts = [pc.fill_null(plain(table.column(name)), "") for name in columns]
    if loose:
        parts = [pc.utf8_lower(pc.replace_substring_regex(pc.utf8_trim_whitespace(part), r"\s+", " "))
                 for part in parts]
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, BETWEEN)


def is_plain(column: pa.ChunkedArray) -> bool:
    """Tell whether a column holds one text, number or truth value a row."""
    return cells.is_text(column)
