"""A table a piece at a time: one in memory, or one that stays in its file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from engine.data.paging import Rows

#: Rows, and bytes, of one block.
ROWS, BYTES = 50_000, 32 << 20
#: Texts of one column that are read at once: more of them and a share speaks for all.
WHOLE = 256 << 20
SAMPLE = 200_000

Source: TypeAlias = "pa.Table | Rows"


def rows(source: Source) -> int:
    """Return how many rows there are."""
    return source.total if isinstance(source, Rows) else source.num_rows


def names(source: Source) -> list[str]:
    """Return the names of the columns."""
    return source.columns if isinstance(source, Rows) else source.column_names


def of(source: Source, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
    """Yield (place of the first row, rows) through all rows, in bounded memory."""
    if not isinstance(source, Rows):
        chosen = source if columns is None else source.select(list(columns))
        for start in range(0, source.num_rows, ROWS):
            yield start, chosen.slice(start, ROWS)
        return
    held: list[pa.RecordBatch] = []
    first = 0
    for start, batch in source.batches(columns):
        if held and (start - first >= ROWS or sum(one.nbytes for one in held) >= BYTES):
            yield first, pa.Table.from_batches(held)
            held, first = [], start
        held.append(batch)
    if held:
        yield first, pa.Table.from_batches(held)


def take(source: Source, places: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Return the rows at these places (from 0)."""
    if isinstance(source, Rows):
        return source.take([place + 1 for place in places], columns)
    return source.select(list(columns)).take(pa.array(places, pa.int64()))


def column(source: Source, name: str, seed: int) -> tuple[pa.Table, bool]:
    """Return one column as a table, and whether it is all of it: of a very large one, a seeded sample of rows."""
    if not isinstance(source, Rows):
        return source.select([name]), True
    if source.size(name) <= WHOLE or source.total <= SAMPLE:
        parts = [block for _, block in of(source, [name])]
        return (pa.concat_tables(parts) if parts else source.take([], [name])), True
    wanted = np.sort(np.random.default_rng(seed).choice(source.total, SAMPLE, replace=False))
    parts = []
    for start, block in of(source, [name]):
        low, high = np.searchsorted(wanted, (start, start + block.num_rows))
        parts.append(block.take(pa.array(wanted[low:high] - start)))
    return pa.concat_tables(parts), False
