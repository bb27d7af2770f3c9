"""Lines of `LABEL:fine text`, as in TREC's question files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from engine.data.faults import Faults
from engine.data.source import Source
from engine.data.stream import STRAY_CR, Hooks, lines

COLUMNS = ["label", "fine_label", "text"]
_LINE = re.compile(r"\s*([^\s:]+):(\S+)\s+(.*\S)\s*$", re.DOTALL)


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks, size: int = 20_000) -> Iterator[pa.RecordBatch]:
    """Yield batches of `label` (coarse), `fine_label` (coarse:fine) and `text`; raises DataError."""
    held: list[tuple[str, ...]] = []
    number = 0
    for line in lines(path, source, hooks):
        if not line.strip():
            continue
        number += 1
        match = _LINE.match(line.replace(STRAY_CR, "\r"))
        if match is None:
            faults.add("ragged_rows", number, f"Row {number} is not of the form LABEL:fine text.",
                       "Correct these lines, or leave them out.")
            continue
        coarse, fine, text = match.groups()
        held.append((coarse, f"{coarse}:{fine}", text))
        if len(held) >= size:
            yield _batch(held)
            held = []
    if held:
        yield _batch(held)


def _batch(rows: list[tuple[str, ...]]) -> pa.RecordBatch:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=COLUMNS)
