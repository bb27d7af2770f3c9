"""Columns that give each row its own name: names that come twice, and that stand in both files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from engine.data import blocks, cells, names
from engine.data.compute import pc
from engine.data.findings import some
from engine.data.tally import hashes
from engine.findings import Finding

_NAMES = ("id", "uuid", "guid", "row_id", "example_id", "sample_id")
#: Share of the rows whose name may come again for the column still to be one of names.
_AGAIN = 0.1
#: Share of the evaluation rows from which on both files just count their rows.
_COUNTED = 0.9
EMPTY = hash("")


def column_of(found: list[str]) -> str | None:
    """Return the column that names rows, by the usual names of such columns."""
    known = {names.plain(name): name for name in reversed(found)}
    return next((known[name] for name in _NAMES if name in known), None)


def check(table: blocks.Source, eval_table: blocks.Source | None = None) -> list[Finding]:
    """Return a warning about rows named like earlier ones, and about evaluation rows named like training rows."""
    column = column_of(list(blocks.names(table)))
    if column is None or not blocks.rows(table):
        return []
    known = _hashes(table, column)
    found: list[Finding] = []
    if known is None:
        return found
    _, first = np.unique(known, return_index=True)
    again = np.ones(len(known), dtype=bool)
    again[first] = False
    again[known == EMPTY] = False
    if again.sum() > _AGAIN * len(known):
        return found
    rows, count = cells.rows_where(pa.array(again))
    if count:
        found.append(some("warning", "ids_repeated", f"'{column}' is that of an earlier row", rows, count,
                          "Look whether the rows are the same one, and remove one of them if so.", column))
    held = None if eval_table is None or column not in blocks.names(eval_table) else _hashes(eval_table, column)
    if held is None:
        return found
    rows, count = cells.rows_where(pa.array(np.isin(held, known[known != EMPTY])))
    # Where both files count their rows from the start, it says nothing.
    if count and count <= _COUNTED * len(held):
        found.append(some("warning", "ids_shared", f"In the evaluation file, '{column}' is that of a training row",
                          rows, count, "Look whether it is the same example; it should be in one file only.", column))
    return found


def _hashes(table: blocks.Source, column: str) -> np.ndarray | None:
    """Return a number for the name of each row, the same for the same name; None for a column of anything else."""
    parts = [block.column(column) for _, block in blocks.of(table, [column])]
    if not parts or not all(cells.is_text(part) for part in parts):
        return None
    return np.concatenate([hashes(pc.fill_null(cells.strings(part), "")) for part in parts])
