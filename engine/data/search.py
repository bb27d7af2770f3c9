"""Which rows hold a text, in whatever column and however nested."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine.data import cells
from engine.data.compute import pc


def matching(batch: pa.RecordBatch, text: str) -> np.ndarray:
    """Return which rows hold `text` in any cell, case aside, (rows,) of bool; an image is searched by its name."""
    found = np.zeros(batch.num_rows, dtype=bool)
    for column in batch.columns:
        found |= _in(column, text)
    return found


def _in(array: pa.Array, text: str) -> np.ndarray:
    kind = array.type
    if pt.is_dictionary(kind):
        return _in(array.dictionary_decode(), text)
    if pt.is_struct(kind):
        parts = [_in(pc.struct_field(array, [i]), text) for i in range(kind.num_fields)]
        return np.logical_or.reduce(parts) if parts else np.zeros(len(array), dtype=bool)
    if pt.is_list(kind) or pt.is_large_list(kind):
        return _in_lists(array, text)
    if pt.is_null(kind) or pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return np.zeros(len(array), dtype=bool)
    if pt.is_nested(kind):
        return np.array([text.casefold() in str(value).casefold() for value in array.to_pylist()], dtype=bool)
    plain = array if pt.is_string(kind) or pt.is_large_string(kind) else cells.strings(pa.chunked_array([array]))
    found = pc.match_substring(plain, text, ignore_case=True)
    return np.asarray(pc.fill_null(found, False))


def _in_lists(array: pa.Array, text: str) -> np.ndarray:
    """Return which lists have a matching item; of conversations, only what is said counts, not who says it."""
    items = cells.message_field(array, "content") if cells.is_messages(array) else array.flatten()
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0))
    found = np.zeros(len(array), dtype=bool)
    found[np.repeat(np.arange(len(array)), lengths)[_in(items, text)]] = True
    return found
