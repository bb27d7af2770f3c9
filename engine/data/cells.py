"""Questions about columns, answered for whole columns at a time."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine.data import decimals, image
from engine.data.chat import MESSAGES
from engine.data.compute import pc

SHOWN = 20


def is_messages(column: pa.ChunkedArray | pa.Array) -> bool:
    """Tell whether a column holds conversations."""
    kind = column.type
    return (pt.is_list(kind) or pt.is_large_list(kind)) and pt.is_struct(kind.value_type) and \
        kind.value_type.get_field_index("role") >= 0 and kind.value_type.get_field_index("content") >= 0


def is_list(column: pa.ChunkedArray | pa.Array) -> bool:
    """Tell whether a column holds lists of plain values."""
    kind = column.type
    return (pt.is_list(kind) or pt.is_large_list(kind)) and not pt.is_nested(kind.value_type)


def is_image(column: pa.ChunkedArray | pa.Array) -> bool:
    """Tell whether a column holds images."""
    return image.is_image(column.type)


def image_keys(column: pa.ChunkedArray) -> pa.Array:
    """Return one text an image that is equal for equal files; nulls stay."""
    keys: list[str | None] = []
    for chunk in column.chunks:
        data = pc.struct_field(chunk, "bytes")
        keys += [hashlib.sha256(item.as_buffer()).hexdigest() if item.is_valid else None for item in data]
    return pa.array(keys, pa.string())


def image_names(column: pa.ChunkedArray) -> pa.Array:
    """Return the names of images; nulls stay."""
    return whole(pc.struct_field(column, "path"))


def is_text(column: pa.ChunkedArray | pa.Array) -> bool:
    """Tell whether a column holds texts, or numbers that can be read as texts."""
    return not pt.is_nested(column.type) and not pt.is_binary(column.type)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def strings(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as texts: 1.0 as "1", conversations and lists joined by line breaks; nulls stay."""
    array = whole(column)
    kind = array.type
    if pt.is_floating(kind):
        rounded = pc.and_kleene(pc.is_finite(array), pc.equal(pc.round(array), array))
        integers = pc.cast(pc.if_else(rounded, array, None), pa.int64(), safe=False)
        return pc.if_else(pc.fill_null(rounded, False), pc.cast(integers, pa.string()), pc.cast(array, pa.string()))
    if is_messages(array):
        return joined(array, message_field(array, "content"))
    if is_list(array):
        return joined(array, pc.cast(array.flatten(), pa.string()))
    return array if pt.is_string(kind) else pc.cast(array, pa.string())


def joined(lists: pa.Array, items: pa.Array) -> pa.Array:
    """Return one text a list: its flattened `items`, one below the other."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths))])
    regular = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pc.fill_null(items, ""))
    text = pc.binary_join(regular, "\n")
    return pc.if_else(pc.is_null(lists), None, pc.cast(text, pa.string()))


def message_field(array: pa.Array, name: str) -> pa.Array:
    """Return the role or content of every message, conversation after conversation."""
    return pc.cast(pc.struct_field(array.flatten(), name), pa.string())


def blank(array: pa.Array) -> pa.Array:
    """Return where a text is null or only white space."""
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(array), ""), True)


def label_strings(column: pa.ChunkedArray) -> pa.Array:
    """Return the labels as trimmed texts; empty cells and NaN are null."""
    array = pc.utf8_trim_whitespace(strings(column))
    lost = pc.or_(pc.equal(array, ""), pc.equal(pc.utf8_lower(array), "nan"))
    return pc.if_else(pc.fill_null(lost, True), None, array)


def several(column: pa.ChunkedArray, separator: str = "auto") -> tuple[pa.Array, pa.Array]:
    """Return (label, row) of every label in cells that hold lists, JSON lists, or labels joined by a separator."""
    array = whole(column)
    if not is_list(array):
        text = strings(column)
        if separator == "auto":
            separator = next((mark for mark in ("|", ";", ",") if pc.any(pc.match_substring(text, mark)).as_py()), "")
        if pc.any(pc.starts_with(text, "[")).as_py():
            text = pc.replace_substring_regex(text, r"""^\[|\]$|["']""", "")
            separator = ","
        array = pc.split_pattern(pc.fill_null(text, ""), separator) if separator else \
            pa.ListArray.from_arrays(pa.array(np.arange(len(text) + 1, dtype=np.int32)), pc.fill_null(text, ""))
    labels = pc.utf8_trim_whitespace(pc.cast(pc.list_flatten(array), pa.string()))
    parents = pc.list_parent_indices(array)
    kept = pc.fill_null(pc.not_equal(labels, ""), False)
    return labels.filter(kept), parents.filter(kept)


def numbers(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as float64, 1,29 as 1.29; what is not a number becomes null."""
    array = whole(column)
    if pt.is_integer(array.type) or pt.is_floating(array.type):
        return pc.cast(array, pa.float64(), safe=False)
    if not is_text(array):
        return pa.nulls(len(array), pa.float64())
    text = decimals.pointed(pc.utf8_trim_whitespace(strings(column)))
    numeric = pc.match_substring_regex(text, r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$")
    return pc.cast(pc.if_else(pc.fill_null(numeric, False), pc.replace_substring_regex(text, r"^\+", ""), None),
                   pa.float64())


def rows_where(mask: pa.Array, shown: int = SHOWN) -> tuple[list[int], int]:
    """Return the first row numbers (from 1) where `mask` is true, and how many there are."""
    found = np.flatnonzero(np.asarray(pc.fill_null(mask, False)))
    return [int(row) + 1 for row in found[:shown]], len(found)


def values_of(array: pa.Array) -> dict[str, int]:
    """Return how often each value occurs, most frequent first, equal ones in order of their names."""
    counted = pc.value_counts(array.drop_null())
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], str(pair[0]))))


__all__ = ["MESSAGES", "blank", "image_keys", "image_names", "is_image", "is_list", "is_messages", "is_text", "joined",
           "label_strings", "message_field",
           "numbers", "rows_where", "several", "strings", "values_of", "whole"]
