"""The order of a column too large to hold: sorted by the beginnings of its texts, ties by what comes after."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine.data import cells
from engine.data.compute import pc
from engine.data.stream import Hooks, Progress

#: Characters held at once.
HELD = 12 << 20
#: Characters of one text compared in one pass.
NARROWEST, WIDEST = 8, 2_000
#: Passes over the column at most; texts alike for as long as they reach stay in the order of the file.
PASSES = 6

Read = Callable[[Progress], Iterator[tuple[int, pa.Array]]]


def of(read: Read, total: int, descending: bool, hooks: Hooks) -> np.ndarray:
    """Return the places (from 0) of `total` rows in the order of a column; empty cells come last either way.

    `read` goes through the column: it yields (place of the first row, values), and is told where to report progress.
    Texts are ordered case aside, numbers by size, equal ones as they stand in the file. Raises Cancelled.
    """
    # Half the width of numpy's usual numbers: there are many of them, and the web process does this too.
    ordered, tied = np.arange(total, dtype=np.int32), np.arange(total, dtype=np.int32)
    rank, start = np.zeros(total, np.int32), 0
    for step in range(PASSES):
        before = 1 - 0.5 ** step
        width = max(NARROWEST, min(WIDEST, HELD // max(1, len(tied))))
        keys = _keys(read(lambda part, low=before: hooks.at(low + (1 - low) * part / 2)), tied, start, width)
        # Arrow's sort is stable: what is equal stays in the order of the file.
        by = [("rank", "ascending", "at_end"), ("key", "descending" if descending else "ascending", "at_end")]
        places = np.asarray(pc.sort_indices(
            pa.table({"rank": rank[tied], "key": keys}), sort_keys=by if step else by[1:])).astype(np.int32)
        keys, rows = keys.take(pa.array(places)), tied[places]
        old = rank[rows]
        slots = old + np.arange(len(rows), dtype=np.int32) - _run_starts(_changes(old))
        ordered[slots] = rows
        new = _run_starts(_changes(old) | _changes_of(keys))
        rank[rows] = slots[new]
        del places, old, slots
        tied = np.sort(rows[_repeated(new) & _goes_on(keys, width)])
        start += width
        if len(tied) < 2:
            break
    return ordered


def _keys(column: Iterator[tuple[int, pa.Array]], rows: np.ndarray, start: int, width: int) -> pa.Array:
    """Return what `rows` (ascending) are compared by: numbers whole, of texts the characters from `start` on."""
    parts: list[pa.Array] = []
    for first, values in column:
        low, high = np.searchsorted(rows, (first, first + len(values)))
        if high > low:
            here = values if high - low == len(values) else values.take(pa.array(rows[low:high] - first))
            parts.append(_comparable(here, start, width))
    return pa.concat_arrays(parts) if parts else pa.nulls(0, pa.string())


def _comparable(values: pa.Array, start: int, width: int) -> pa.Array:
    kind = values.type
    if pt.is_integer(kind) or pt.is_floating(kind):
        return values
    if cells.is_image(values):
        text = pc.struct_field(values, "path")
    elif pt.is_nested(kind) and not cells.is_messages(values) and not cells.is_list(values):
        text = pa.array([None if value is None else str(value) for value in values.to_pylist()], pa.string())
    else:
        text = cells.strings(pa.chunked_array([values]))
    return pc.utf8_lower(pc.utf8_slice_codeunits(text, start, start + width))


def _changes(values: np.ndarray) -> np.ndarray:
    """Return where a value differs from the one before it; the first does."""
    return np.concatenate([[True], values[1:] != values[:-1]]) if len(values) else np.zeros(0, bool)


def _changes_of(keys: pa.Array) -> np.ndarray:
    if not len(keys):
        return np.zeros(0, bool)
    after, before = keys.slice(1), keys.slice(0, len(keys) - 1)
    differs = pc.fill_null(pc.not_equal(after, before), True)
    return np.concatenate([[True], np.asarray(differs)])


def _run_starts(changes: np.ndarray) -> np.ndarray:
    """Return for each place where its run began."""
    if not len(changes):
        return np.zeros(0, np.int32)
    return np.maximum.accumulate(np.where(changes, np.arange(len(changes), dtype=np.int32), np.int32(0)))


def _repeated(starts: np.ndarray) -> np.ndarray:
    """Return which places stand in a run of more than one."""
    return np.bincount(starts, minlength=len(starts))[starts] > 1 if len(starts) else np.zeros(0, bool)


def _goes_on(keys: pa.Array, width: int) -> np.ndarray:
    """Return which texts may go on after the part that was compared."""
    if not pt.is_string(keys.type):
        return np.zeros(len(keys), bool)
    return np.asarray(pc.fill_null(pc.equal(pc.utf8_length(keys), width), False))
