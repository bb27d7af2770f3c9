"""Texts that are nearly the same, found by MinHash (Broder, 1997) with one permutation (Li et al., 2012) and bands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from engine.data.compute import pc

#: Bytes of text that are looked at as one piece.
SHINGLE = 8
#: Bins of a signature.
BINS = 64
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
    Of texts that are the same then, each is paired with the first.
    """
    clean = normalised(texts)
    filled = np.asarray(pc.binary_length(clean)) > 0
    _, first, inverse = np.unique(np.asarray(clean.dictionary_encode().indices), return_index=True, return_inverse=True)
    original = first[inverse]
    alone = np.flatnonzero(filled & (original == np.arange(len(clean))))
    again = np.flatnonzero(filled & (original != np.arange(len(clean))))
    found = {(int(row), int(original[row])): 1.0 for row in again}
    for later, earlier, alike in _near(clean.take(pa.array(alone)), threshold):
        found[int(alone[later]), int(alone[earlier])] = alike
    return [(later, earlier, alike) for (later, earlier), alike in sorted(found.items())]


def _near(clean: pa.Array, threshold: float) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs among texts that all differ, and none of which is empty."""
    pieces: dict[int, np.ndarray] = {}
    seen: set[tuple[int, int]] = set()
    for pair in _candidates(_signatures(clean), _height(threshold)):
        if pair not in seen:
            seen.add(pair)
            alike = likeness(_kept(clean, pair[0], pieces), _kept(clean, pair[1], pieces))
            if alike >= threshold:
                yield *pair, alike


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
    """Return the smallest hash in each bin of each text, (BINS, texts) of uint32."""
    made = np.empty((BINS, len(clean)), dtype=np.uint32)
    for start, end in _chunks(clean):
        hashes, rows = _hashes(clean.slice(start, end - start))
        least = np.full((end - start) * BINS, _EMPTY, dtype=np.uint32)
        values = (hashes >> np.uint64(32)).astype(np.uint32)
        values[values == _EMPTY] -= 1
        np.minimum.at(least, rows * BINS + (hashes & np.uint64(BINS - 1)).astype(np.int64), values)
        made[:, start:end] = _filled(least.reshape(-1, BINS).T)
    return made


def _chunks(clean: pa.Array) -> Iterator[tuple[int, int]]:
    """Yield parts (from, to) of about CHUNK bytes."""
    ends = np.cumsum(np.asarray(pc.binary_length(clean), dtype=np.int64) + 1)
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + CHUNK, side="right")))
        yield start, end
        start = end


def _filled(least: np.ndarray) -> np.ndarray:
    """Return signatures, (BINS, texts), whose empty bins have the value of the next filled one, going round.

    It is mixed anew for every bin it is away, so that it does not count several times (Shrivastava and Li, 2014).
    """
    made = np.empty_like(least)
    carried = np.full(least.shape[1], _EMPTY, dtype=np.uint32)
    for place in reversed(range(2 * BINS)):
        own = least[place % BINS]
        carried = np.where(own != _EMPTY, own, carried * np.uint32(0x85EBCA6B) + np.uint32(1))
        if place < BINS:
            made[place] = carried
    return made


def _candidates(signatures: np.ndarray, height: int) -> Iterator[tuple[int, int]]:
    """Yield (later, earlier) texts that agree in a whole band."""
    for start in range(0, BINS - height + 1, height):
        band = np.zeros(signatures.shape[1], dtype=np.uint64)
        for place in range(start, start + height):
            band = _mixed(band ^ signatures[place].astype(np.uint64))
        order = np.argsort(band, kind="stable")
        ranked = band[order]
        edges = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1], [True]]))
        for bucket in np.flatnonzero(np.diff(edges) > 1):
            yield from _of_bucket(order[edges[bucket]:edges[bucket + 1]])


def _of_bucket(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the pairs of a bucket that are compared; its rows are in order."""
    for place in range(1, len(rows)):
        for other in {*range(min(place, FIRSTS)), place - 1}:
            yield int(rows[place]), int(rows[other])
