"""Columns of words and of their tags, as lists whatever they are stored as, and slips in them."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import numpy as np
import pyarrow as pa

from engine import spans
from engine.data import cells
from engine.data.compute import pc

_LISTS = pa.list_(pa.string())
#: What numpy prints: numbers, or texts in quotes, without commas between them.
_NUMBERS, _QUOTED = re.compile(r"\[[\d\s]+\]"), re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_UNPARTED = re.compile(r"""['"]\s+['"]""")


def lists(column: pa.ChunkedArray) -> pa.ListArray:
    """Return a column as lists of texts; a text is read as a list in brackets, or as words with blanks between."""
    if cells.is_list(column):
        array = cells.whole(column)
        return array if array.type == _LISTS else pc.cast(array, _LISTS)
    return pa.array([split(cell) for cell in cells.strings(column).to_pylist()], _LISTS)


def split(cell: Any) -> list[str | None] | None:
    """Return the words or tags in a cell; None for an empty one."""
    if isinstance(cell, list | tuple):
        return [None if item is None else str(item) for item in cell]
    text = "" if cell is None else str(cell).strip()
    if text[:1] == "[" and text[-1:] == "]":
        if _NUMBERS.fullmatch(text):
            return [*text[1:-1].split()]
        if _UNPARTED.search(text):
            return [single or double for single, double in _QUOTED.findall(text)]
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list) and not any(isinstance(item, list | dict) for item in found):
                return split(found)
    return [*text.split()] or None


def strays(tags: pa.ListArray) -> np.ndarray:
    """Return the rows (from 0) in which an I- begins an entity, each once; int64, in order."""
    flat = pc.fill_null(tags.flatten(), "")
    codes = flat.dictionary_encode()
    names = codes.dictionary.to_pylist()
    mark = np.array([*(name[:2] for name in names), ""])
    kind = np.array([*(name[2:] for name in names), ""])
    own, row, before = _neighbours(codes, tags)
    goes_on = np.isin(mark[before], ("B-", "I-")) & (kind[before] == kind[own])
    return np.unique(row[(mark[own] == "I-") & ~goes_on])


def kinds(tags: pa.ListArray) -> tuple[dict[str, int], str]:
    """Return how often each kind of entity stands in rows of tags, and what that counts: "entities" or "words"."""
    codes = pc.fill_null(tags.flatten(), "").dictionary_encode()
    names = codes.dictionary.to_pylist()
    how = spans.scheme(name for name in names if name)
    read = [spans.parts(name, how) if name else ("O", "") for name in names]
    mark, kind = (np.array([*(part[place] for part in read), ""]) for place in range(2))
    own, _, before = _neighbours(codes, tags)
    numbered = np.unique(kind, return_inverse=True)[1]
    goes_on = (np.isin(mark, ("I", "E"))[own] & np.isin(mark, ("B", "I"))[before]
               & (numbered[before] == numbered[own]))
    begun = np.bincount(own[~goes_on], minlength=len(names)) if len(own) else np.zeros(len(names), dtype=np.int64)
    counts: dict[str, int] = {}
    for (letter, name), count in zip(read, begun.tolist(), strict=True):
        if letter != "O" and count:
            counts[name] = counts.get(name, 0) + count
    return counts, "words" if how == "words" else "entities"


def _neighbours(codes: pa.DictionaryArray, tags: pa.ListArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the code of each word's tag, the row it stands in, and the code of the tag before it; int64 all.

    Before the first word of a row stands one more code, beyond all.
    """
    own = np.asarray(codes.indices, dtype=np.int64)
    row = np.asarray(pc.list_parent_indices(tags), dtype=np.int64)
    before = np.concatenate([[len(codes.dictionary)], own[:-1]])[:len(own)]
    before[np.flatnonzero(np.diff(row, prepend=-1))] = len(codes.dictionary)
    return own, row, before
