"""Keeps a share of the rows aside for evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine.data.compute import pc

#: A column for the time of a split, named as no column of a file is.
NUMBER = "\0number"


def numbered(table: pa.Table, divide: Callable[[pa.Table], tuple[pa.Table, pa.Table]]) -> tuple[
        tuple[pa.Table, np.ndarray], tuple[pa.Table, np.ndarray]]:
    """Return both parts that `divide` makes of a table, each with the places (from 0) that its rows had."""
    first, second = divide(table.append_column(NUMBER, pa.array(np.arange(table.num_rows))))
    return _placed(first), _placed(second)


def _placed(part: pa.Table) -> tuple[pa.Table, np.ndarray]:
    return part.drop_columns([NUMBER]), np.asarray(part.column(NUMBER).to_numpy())


def split(table: pa.Table, fraction: float, seed: int, stratify: str | None = None) -> tuple[pa.Table, pa.Table]:
    """Return (train, eval); deterministic, both in the order of the file.

    With `stratify`, each value of that column keeps its share; a value with a single row stays in train. The evaluation
    part has at least one row when there are two, and train never is empty.
    """
    rows = table.num_rows
    if rows < 2:
        return table, table.slice(0, 0)
    rng = np.random.default_rng(seed)
    wanted = min(rows - 1, max(1, round(rows * fraction)))
    codes = _codes(table, stratify)
    order = rng.permutation(rows)
    chosen = order[:wanted] if codes is None else _proportional(order, codes, wanted)
    if not len(chosen):
        chosen = order[:wanted]
    held = np.zeros(rows, dtype=bool)
    held[chosen] = True
    return table.filter(pa.array(~held)), table.filter(pa.array(held))


def _codes(table: pa.Table, column: str | None) -> np.ndarray | None:
    """Return one number a row, equal for equal values; None without a column that has classes."""
    if column is None or column not in table.column_names:
        return None
    values = table.column(column)
    if pt.is_nested(values.type) or not len(values):
        return None
    indices = pc.fill_null(values.combine_chunks().dictionary_encode().indices, -1)
    return np.asarray(indices.to_numpy(zero_copy_only=False)) + 1


def _proportional(order: np.ndarray, codes: np.ndarray, wanted: int) -> np.ndarray:
    """Return `wanted` of the rows (fewer when classes are rare), each class by its share, largest remainders first."""
    shuffled = codes[order]
    sizes = np.bincount(codes)
    exact = sizes * (wanted / len(codes))
    quota = np.minimum(np.floor(exact).astype(int), np.maximum(sizes - 1, 0))
    room = np.maximum(sizes - 1, 0) - quota
    remainder = np.where(room > 0, exact - np.floor(exact), -1.0)
    for code in np.argsort(-remainder, kind="stable")[:max(0, wanted - int(quota.sum()))]:
        if room[code] > 0:
            quota[code] += 1
    grouped = np.argsort(shuffled, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.empty(len(order), dtype=np.int64)
    rank[grouped] = np.arange(len(order)) - np.repeat(starts, sizes)
    return order[rank < quota[shuffled]]
