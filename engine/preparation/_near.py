"""Texts that are nearly the same, found by MinHash (Broder, 1997) with one permutation (Li et al., 2012) and bands."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from engine.data.compute import pc

#: Bytes of text that are looked at as one piece.
SHINGLE = 8
#: Bins of a signature.
BINS = 128
#: Bytes of text worked on at a time.
CHUNK = 8 << 20
#: How likely a pair exactly as alike as asked for is to be found.
RECALL = 0.999
#: In a bucket each row is compared with the one before and with this many of the first.
FIRSTS = 4

_EMPTY = np.uint32(0xFFFFFFFF)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def pairs(texts: pa.Array, threshold: float) -> list[tuple[int, int, float]]:
    """Return (row, earlier row, likeness) of pairs of texts whose pieces overlap by at least `threshold` (Jaccard).

    Rows count from 0; texts without letters or digits are like nothing. Case, punctuation and blanks are overlooked.
    """
    clean = normalised(texts)
    signatures = _signatures(clean)
    known = np.flatnonzero((signatures != _EMPTY).any(axis=1))
    found: dict[tuple[int, int], float] = {}
    pieces: dict[int, np.ndarray] = {}
    seen: set[tuple[int, int]] = set()
    for later, earlier in _candidates(signatures[known], known, _height(threshold)):
        if (later, earlier) in seen:
            continue
        seen.add((later, earlier))
        alike = likeness(_kept(clean, later, pieces), _kept(clean, earlier, pieces))
        if alike >= threshold:
            found[later, earlier] = alike
    return [(later, earlier, alike) for (later, earlier), alike in sorted(found.items())]


def normalised(texts: pa.Array) -> pa.Array:
    """Return texts in small letters, with one blank for everything that is no letter or digit."""
    plain = pc.utf8_lower(pc.fill_null(texts, ""))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"[^\pL\pN]+", " "))


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of pieces two texts have in common; both are sorted and hold each piece once."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    union = len(first) + len(second) - shared
    return shared / union if union else 0.0


def groups(found: list[tuple[int, int, float]]) -> dict[int, int]:
    """Return for each row of a pair, but the first of its group, that first row: alike passes on from pair to pair."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while (up := parent.get(row, row)) != row:
            parent[row] = parent.get(up, up)
            row = parent[row]
        return row
    for later, earlier, _ in found:
        low, high = sorted((root(later), root(earlier)))
        parent[high] = low
    return {row: first for row in sorted(parent) if (first := root(row)) != row}


def _height(threshold: float) -> int:
    """Return how many bins make a band: as many as still find a pair just alike enough."""
    return next(height for height in (16, 12, 8, 6, 5, 4, 3, 2, 1)
                if height == 1 or 1 - (1 - threshold ** height) ** (BINS // height) >= RECALL)


def _kept(clean: pa.Array, row: int, pieces: dict[int, np.ndarray]) -> np.ndarray:
    if row not in pieces:
        if len(pieces) > 50_000:
            pieces.clear()
        pieces[row] = np.unique(_hashes(clean.slice(row, 1))[0])
    return pieces[row]


def _hashes(clean: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of each piece of some texts, text after text, and the text (from 0) that each belongs to.

    A text shorter than a piece is one piece of its own.
    """
    lengths = np.asarray(pc.binary_length(clean), dtype=np.int64)
    data = np.frombuffer("".join(clean.to_pylist()).encode(), dtype=np.uint8)
    # Short texts are filled up with zeros, so that each has a piece; one without letters has none.
    padded = np.where(lengths > 0, np.maximum(lengths, SHINGLE), 0)
    room = np.zeros(int(padded.sum()), dtype=np.uint8)
    starts, old = (np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64) for sizes in (padded, lengths))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    room[np.arange(len(data)) - old[owner] + starts[owner]] = data
    if not len(room):
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(room, SHINGLE)
    counts = np.maximum(padded - SHINGLE + 1, 0)
    rows = np.repeat(np.arange(len(lengths)), counts)
    places = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts) + starts[rows]
    return _mixed(np.ascontiguousarray(windows[places]).view(np.uint64).ravel()), rows


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return well mixed 64-bit hashes (the finalizer of SplitMix64)."""
    numbers = numbers + _MIX[0]
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _MIX[1]
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _MIX[2]
    return numbers ^ (numbers >> np.uint64(31))


def _signatures(clean: pa.Array) -> np.ndarray:
    """Return the smallest hash in each bin of each text, (texts, BINS) of uint32; all ones for a text without pieces.

    An empty bin takes the value of the next one that is filled, going round.
    """
    made = np.full((len(clean), BINS), _EMPTY, dtype=np.uint32)
    for start, end in _chunks(clean):
        hashes, rows = _hashes(clean.slice(start, end - start))
        if not len(hashes):
            continue
        cells = rows * BINS + (hashes & np.uint64(BINS - 1)).astype(np.int64)
        values = (hashes >> np.uint64(32)).astype(np.uint32)
        values[values == _EMPTY] -= 1
        np.minimum.at(made[start:end].reshape(-1), cells, values)
    return _filled(made)


def _chunks(clean: pa.Array) -> Iterator[tuple[int, int]]:
    """Yield parts (from, to) of about CHUNK bytes."""
    ends = np.cumsum(np.asarray(pc.binary_length(clean), dtype=np.int64) + 1)
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + CHUNK, side="right")))
        yield start, end
        start = end


def _filled(made: np.ndarray) -> np.ndarray:
    """Fill empty bins from the next filled one, mixed with how far away it is, so that it is not the same again."""
    for _ in range(BINS):
        empty = made == _EMPTY
        wanted = empty & ~empty.all(axis=1, keepdims=True)
        if not wanted.any():
            break
        after = np.roll(made, -1, axis=1)
        moved = (after * np.uint32(0x85EBCA6B) + np.uint32(1)) & np.uint32(0xFFFFFFFE)
        taken = np.where(after == _EMPTY, _EMPTY, moved)
        made = np.where(wanted, taken, made)
    return made


def _candidates(signatures: np.ndarray, rows: np.ndarray, height: int) -> Iterator[tuple[int, int]]:
    """Yield (later, earlier) rows that agree in a whole band."""
    for start in range(0, BINS - height + 1, height):
        band = np.zeros(len(signatures), dtype=np.uint64)
        for column in range(start, start + height):
            band = _mixed(band ^ signatures[:, column].astype(np.uint64))
        order = np.argsort(band, kind="stable")
        ranked = band[order]
        edges = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1], [True]]))
        for low, high in pairwise(edges):
            if high - low > 1:
                yield from _of_bucket(rows[order[low:high]])


def _of_bucket(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the pairs of a bucket that are compared; its rows are in order."""
    for place in range(1, len(rows)):
        for other in {*range(min(place, FIRSTS)), place - 1}:
            yield int(rows[place]), int(rows[other])
