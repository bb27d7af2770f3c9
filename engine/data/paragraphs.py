"""Plain text whose paragraphs are the rows: lines joined, blank lines between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from engine.data.source import Source
from engine.data.stream import STRAY_CR, Hooks, lines

_ROWS, _CHARACTERS = 5_000, 8 << 20
#: Share of the paragraphs that must hold several lines for a text to be read by paragraphs.
_WRAPPED = 0.3


def wrapped(lines: Sequence[str]) -> bool:
    """Tell whether these lines, blank ones included, are paragraphs broken into lines rather than a text a line."""
    sizes, size = list[int](), 0
    for line in [*lines, ""]:
        if line.strip():
            size += 1
        elif size:
            sizes.append(size)
            size = 0
    return len(sizes) > 1 and sum(1 for size in sizes if size > 1) >= _WRAPPED * len(sizes)


def batches(path: Path, source: Source, hooks: Hooks) -> Iterator[pa.RecordBatch]:
    """Yield batches of one column of texts, a paragraph a row, its lines joined by blanks; raises DataError."""
    texts, weight = list[str](), 0
    for paragraph in _paragraphs(path, source, hooks):
        texts.append(paragraph)
        weight += len(paragraph)
        if len(texts) >= _ROWS or weight > _CHARACTERS:
            yield _batch(texts, source)
            texts, weight = [], 0
    if texts:
        yield _batch(texts, source)


def _paragraphs(path: Path, source: Source, hooks: Hooks) -> Iterator[str]:
    held: list[str] = []
    for line in lines(path, source, hooks):
        text = line.replace(STRAY_CR, "\r").strip()
        if text:
            held.append(text)
        elif held:
            yield " ".join(held)
            held = []
    if held:
        yield " ".join(held)


def _batch(texts: list[str], source: Source) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], names=source.columns)
