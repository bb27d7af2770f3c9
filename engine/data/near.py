"""Texts that are nearly the same, found without comparing each with each: MinHash signatures, sorted into bands.

Broder (1997), "On the resemblance and containment of documents". A text is the set of its pieces of five bytes; how
alike two texts are is the share of their pieces that both have (Jaccard).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from engine.data.compute import pc
from engine.data.errors import Cancelled

#: Share of common pieces from which texts count as nearly the same.
ALIKE = 0.8
#: Bytes of a piece; characters of a text that are looked at; hashes of a signature, and how many make up a band.
PIECE, READ, HASHES, BAND = 5, 1_000, 32, 4
#: Texts hashed at once, and pairs compared piece by piece at most: the likeliest.
CHUNK, COMPARED = 2_000, 60_000

_rng = np.random.default_rng(20_220_101)
_FACTORS = _rng.integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)
_ADDENDS = _rng.integers(0, 2**63, HASHES, dtype=np.uint64)
_MIX = _rng.integers(1, 2**63, BAND, dtype=np.uint64) | np.uint64(1)


class Pair(NamedTuple):
    """Two texts by their places, the first before the second, and the share of pieces they have in common."""

    first: int
    second: int
    alike: float


def pairs(texts: pa.Array, threshold: float = ALIKE, *, progress: Callable[[float], None] | None = None,
          cancelled: Callable[[], bool] | None = None) -> list[Pair]:
    """Return pairs of texts that are nearly the same, by place; of a large group, each with one that is like it.

    Case, punctuation and blanks do not count; empty texts are like none. Raises Cancelled.
    """
    clean = plain(texts)
    there = np.flatnonzero(np.asarray(pc.greater_equal(pc.binary_length(clean), PIECE)))
    if len(there) < 2:
        return []
    clean = clean.take(pa.array(there))
    signatures = np.empty((len(there), HASHES), dtype=np.uint32)
    for start in range(0, len(there), CHUNK):
        if cancelled is not None and cancelled():
            raise Cancelled()
        signatures[start:start + CHUNK] = _signatures(clean.slice(start, CHUNK))
        if progress is not None:
            progress(0.8 * min(1.0, (start + CHUNK) / len(there)))
    found = _verified(clean, _candidates(signatures), signatures, threshold, cancelled)
    if progress is not None:
        progress(1.0)
    return [Pair(int(there[a]), int(there[b]), alike) for a, b, alike in found]


def plain(texts: pa.Array) -> pa.Array:
    """Return the beginnings of texts in lower case, everything but letters and digits one blank; null as empty."""
    cut = pc.utf8_slice_codeunits(pc.cast(pc.fill_null(texts, ""), pa.large_string()), 0, READ)
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(cut), r"[^\p{L}\p{N}]+", " "))


def _pieces(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return every piece of every text as a number, and where each text's pieces begin; texts have PIECE bytes."""
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset:texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2], np.uint8)[offsets[0]:offsets[-1]].astype(np.uint64)
    offsets = offsets - offsets[0]
    packed = np.zeros(max(0, len(data) - PIECE + 1), dtype=np.uint64)
    for i in range(PIECE):
        packed = (packed << np.uint64(8)) | data[i:len(data) - PIECE + 1 + i]
    counts = np.diff(offsets) - PIECE + 1
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    places = np.arange(int(counts.sum())) + np.repeat(offsets[:-1] - starts, counts)
    return packed[places], starts


def _signatures(texts: pa.Array) -> np.ndarray:
    """Return the smallest of each hash over the pieces of each text, (texts, HASHES)."""
    pieces, starts = _pieces(texts)
    found = np.empty((len(starts), HASHES), dtype=np.uint32)
    for i, (factor, addend) in enumerate(zip(_FACTORS, _ADDENDS, strict=True)):
        # Multiplying, modulo 2^64, mixes into the upper half; sorting out duplicates of pieces is not needed.
        hashed = ((pieces * factor + addend) >> np.uint64(32)).astype(np.uint32)
        found[:, i] = np.minimum.reduceat(hashed, starts)
    return found


def _candidates(signatures: np.ndarray) -> np.ndarray:
    """Return pairs that share a band, each once, (pairs, 2): of a group, each with the one before and the first."""
    made: list[np.ndarray] = []
    for start in range(0, HASHES, BAND):
        keys = (signatures[:, start:start + BAND].astype(np.uint64) * _MIX).sum(axis=1, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
        if not len(same):
            continue
        places = np.arange(len(order))
        begins = np.ones(len(order), dtype=bool)
        begins[same] = False
        first = np.maximum.accumulate(np.where(begins, places, 0))
        made += [np.stack([order[same - 1], order[same]], axis=1), np.stack([order[first[same]], order[same]], axis=1)]
    if not made:
        return np.zeros((0, 2), dtype=np.int64)
    both = np.sort(np.concatenate(made), axis=1)
    return np.unique(both[both[:, 0] != both[:, 1]], axis=0)


def _verified(texts: pa.Array, candidates: np.ndarray, signatures: np.ndarray, threshold: float,
              cancelled: Callable[[], bool] | None) -> list[tuple[int, int, float]]:
    """Return the candidates that really are alike, compared piece by piece."""
    guessed = np.empty(len(candidates))
    for start in range(0, len(candidates), CHUNK):
        two = candidates[start:start + CHUNK]
        guessed[start:start + CHUNK] = (signatures[two[:, 0]] == signatures[two[:, 1]]).mean(axis=1)
    likely = np.flatnonzero(guessed >= threshold - 0.2)
    likely = np.sort(likely[np.argsort(-guessed[likely], kind="stable")[:COMPARED]])
    known: dict[int, np.ndarray] = {}

    def pieces(place: int) -> np.ndarray:
        if place not in known:
            if len(known) > CHUNK:
                known.clear()
            known[place] = np.unique(_pieces(texts.slice(place, 1))[0])
        return known[place]

    found: list[tuple[int, int, float]] = []
    for number, (first, second) in enumerate(candidates[likely].tolist()):
        if number % 1_000 == 0 and cancelled is not None and cancelled():
            raise Cancelled()
        one, two = pieces(first), pieces(second)
        common = len(np.intersect1d(one, two, assume_unique=True))
        alike = common / (len(one) + len(two) - common)
        if alike >= threshold:
            found.append((first, second, round(alike, 4)))
    return found
