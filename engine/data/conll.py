"""CoNLL files: one word a line with its tag in the last column, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from engine.data.faults import Faults
from engine.data.source import Source
from engine.data.stream import STRAY_CR, Hooks, lines

#: Columns that files of this many columns have; words come first and tags last whatever their number.
NAMES = {2: ["tokens", "tags"], 3: ["tokens", "pos_tags", "tags"], 4: ["tokens", "pos_tags", "chunk_tags", "tags"]}
_TAG = re.compile(r"(?:O|[BIESLU]-\S+)$")
#: Tags without marks: types of entities beside O, or parts of speech.
_PLAIN = re.compile(r"[A-Z][A-Za-z0-9_$:|-]{0,24}$|[^\w\s]{1,6}$|-[A-Z]+-$")
_DOCUMENT = "-DOCSTART-"
#: Share of the lines that must look alike.
_ALIKE = 0.98
#: Fewest lines and words a sentence, and most tags, of a file whose tags have no marks.
_LINES, _WORDS, _MOST_TAGS = 20, 3, 80


def columns(sample: Sequence[str]) -> list[str]:
    """Return the columns of a file that begins with these lines, blank ones included; none when it is not CoNLL."""
    words = [cells for line in sample if (cells := _cells(line)) and not _is_mark(cells)]
    if not words:
        return []
    count = max(set(map(len, words)), key=[len(cells) for cells in words].count)
    words = [cells for cells in words if len(cells) == count or cells[0] != "#"]
    alike = sum(len(cells) == count and bool(_TAG.match(cells[-1])) for cells in words)
    marked = any(cells[-1][:2] in ("B-", "I-", "S-", "U-") for cells in words)
    fits = marked and alike >= _ALIKE * len(words)
    if count < 2 or not (fits or _unmarked(sample, words, count)):
        return []
    return NAMES.get(count) or ["tokens", *(f"column_{i}" for i in range(2, count)), "tags"]


def _unmarked(sample: Sequence[str], words: list[list[str]], count: int) -> bool:
    """Tell whether these are words with plain tags: sentences with blank lines between, few tags that come back."""
    filled = "".join("x" if line.strip() else " " for line in sample).strip()
    sentences = len(filled.split())
    tags = {cells[-1] for cells in words}
    few = 1 < len(tags) <= min(_MOST_TAGS, len(words) // 3)
    alike = sum(len(cells) == count and bool(_PLAIN.match(cells[-1])) for cells in words)
    long_enough = len(words) >= _LINES and sentences > 1 and len(words) >= _WORDS * sentences
    return few and long_enough and count <= 4 and alike >= _ALIKE * len(words) \
        and len({cells[0] for cells in words}) > len(tags)


def _is_mark(cells: list[str]) -> bool:
    return cells[0] == _DOCUMENT


def _cells(line: str) -> list[str]:
    line = line.replace(STRAY_CR, " ").strip("\n\r")
    parts = line.split("\t") if "\t" in line else line.split()
    return [part.strip() for part in parts] if line.strip() else []


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks, size: int = 5_000) -> Iterator[pa.RecordBatch]:
    """Yield batches of sentences, a list of texts in each column; raises DataError."""
    held: list[list[tuple[str, ...]]] = []
    for number, sentence in enumerate(_sentences(path, source, hooks), 1):
        odd = next((cells for cells in sentence if len(cells) != len(source.columns)), None)
        if odd is not None:
            faults.add("ragged_rows", number, f"Sentence {number} has a line with {len(odd)} columns where "
                       f"{len(source.columns)} are expected: '{' '.join(odd)[:60]}'.",
                       "Correct these lines, or leave the sentences out.")
            continue
        held.append([tuple(column) for column in zip(*sentence, strict=True)])
        if len(held) >= size:
            yield _batch(held, source.columns)
            held = []
    if held:
        yield _batch(held, source.columns)


def _sentences(path: Path, source: Source, hooks: Hooks) -> Iterator[list[list[str]]]:
    sentence: list[list[str]] = []
    for line in lines(path, source, hooks):
        cells = _cells(line)
        if cells and cells[0] == "#" and len(cells) != len(source.columns):
            # A remark about the sentence below it.
            continue
        if cells and not _is_mark(cells):
            sentence.append(cells)
        elif sentence:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _batch(rows: list[list[tuple[str, ...]]], names: list[str]) -> pa.RecordBatch:
    arrays = [pa.array([row[i] for row in rows], pa.list_(pa.string())) for i in range(len(names))]
    return pa.RecordBatch.from_arrays(arrays, names=names)
