"""Texts that are nearly the same, found without comparing each with each: MinHash signatures, sorted into bands.

Broder (1997), "On the resemblance and containment of documents"; one permutation in place of many: Li, Owen and Zhang
(2012). A text is the set of its pieces of five bytes; how alike two texts are is the share of their pieces that both
have (Jaccard).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from engine.data.compute import pc
from engine.data.errors import Cancelled

#: Share of common pieces from which texts count as nearly the same.
ALIKE = 0.8
#: Bytes of a piece, and bins of a signature.
PIECE, BINS = 5, 64
#: Hashes a bin has in most texts, and how often a piece is hashed for that at most.
FULL, THROWS = 4, 4
#: How likely a pair just alike enough is to be compared; in a bucket a text is, with the one before and so many firsts.
RECALL, FIRSTS = 0.999, 4
#: Bytes of text hashed at once, pairs looked at at once, and texts whose pieces are kept.
CHUNK, PAIRS, KEPT = 4 << 20, 1 << 16, 50_000
#: How much less alike signatures may be than texts are to be.
DOUBT = 0.2
#: Share of the time that hashing takes, as progress is told; comparing takes the rest.
HASHING = 0.7

_EMPTY = np.uint32(0xFFFFFFFF)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Pair(NamedTuple):
    """Two texts by their places, the first before the second, and the share of pieces they have in common."""

    first: int
    second: int
    alike: float


@dataclass(frozen=True)
class _Search:
    """What is looked for, and who hears of it."""

    threshold: float
    most: int | None
    progress: Callable[[float], None]
    cancelled: Callable[[], bool]

    def check(self) -> None:
        if self.cancelled():
            raise Cancelled()


def pairs(texts: pa.Array, threshold: float = ALIKE, *, letters: int | None = None, most: int | None = None,
          progress: Callable[[float], None] | None = None,
          cancelled: Callable[[], bool] | None = None) -> list[Pair]:
    """Return pairs of texts that are nearly the same, by place; of a large group, each with some that are like it.

    Case, punctuation and blanks do not count; empty texts are like none, and of texts that are the same then each is
    paired with the first. Only the first `letters` are looked at, and the `most` likely pairs compared.

    Raises Cancelled.
    """
    search = _Search(threshold, most, progress or (lambda part: None), cancelled or (lambda: False))
    search.check()
    clean = plain(texts, letters)
    _, first, inverse = np.unique(np.asarray(clean.dictionary_encode().indices), return_index=True, return_inverse=True)
    original, lengths = first[inverse], np.asarray(pc.binary_length(clean))
    again = np.flatnonzero((original != np.arange(len(clean))) & (lengths > 0))
    found = [Pair(int(original[row]), int(row), 1.0) for row in again]
    alone = np.sort(first[lengths[first] >= PIECE])
    if len(alone) > 1:
        found += [Pair(int(alone[one]), int(alone[two]), alike)
                  for one, two, alike in _near(clean.take(pa.array(alone)), search)]
    search.progress(1.0)
    return sorted(found)


def groups(found: Iterable[Pair]) -> dict[int, int]:
    """Return for each text of a pair, but the first of its group, that first one: alike passes on from pair to pair."""
    parent: dict[int, int] = {}

    def root(place: int) -> int:
        while (up := parent.get(place, place)) != place:
            parent[place] = parent.get(up, up)
            place = parent[place]
        return place

    for pair in found:
        low, high = sorted((root(pair.first), root(pair.second)))
        parent[high] = low
    return {place: first for place in sorted(parent) if (first := root(place)) != place}


def plain(texts: pa.Array, letters: int | None = None) -> pa.Array:
    """Return texts, or their first `letters`, in lower case, all but letters and digits one blank; null as empty."""
    whole = pc.cast(pc.fill_null(texts, ""), pa.large_string())
    cut = whole if letters is None else pc.utf8_slice_codeunits(whole, 0, letters)
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(cut), r"[^\p{L}\p{N}]+", " "))


def _near(texts: pa.Array, search: _Search) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs among texts that all differ and have a piece at least."""
    signatures = _signatures(texts, search)
    candidates = _likeliest(signatures, search)
    known: dict[int, np.ndarray] = {}

    def pieces(place: int) -> np.ndarray:
        if place not in known:
            if len(known) > KEPT:
                known.clear()
            known[place] = np.unique(_pieces(texts.slice(place, 1))[0])
        return known[place]

    for number, (first, second) in enumerate(candidates.tolist()):
        if number % 1_000 == 0:
            search.check()
            search.progress(HASHING + (1 - HASHING) * number / len(candidates))
        one, two = pieces(first), pieces(second)
        common = len(np.intersect1d(one, two, assume_unique=True))
        alike = common / (len(one) + len(two) - common)
        if alike >= search.threshold:
            yield first, second, round(alike, 4)


def _pieces(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return every piece of every text as a number, and the text each belongs to; texts have PIECE bytes at least."""
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset:texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2], np.uint8)[offsets[0]:offsets[-1]].astype(np.uint64)
    offsets = offsets - offsets[0]
    packed = np.zeros(max(0, len(data) - PIECE + 1), dtype=np.uint64)
    for i in range(PIECE):
        packed = (packed << np.uint64(8)) | data[i:len(data) - PIECE + 1 + i]
    counts = np.diff(offsets) - PIECE + 1
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    owners = np.repeat(np.arange(len(counts)), counts)
    return packed[np.arange(len(owners)) + (offsets[:-1] - starts)[owners]], owners


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return well mixed 64-bit hashes (the finalizer of SplitMix64)."""
    numbers = numbers + _MIX[0]
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _MIX[1]
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _MIX[2]
    return numbers ^ (numbers >> np.uint64(31))


def _signatures(texts: pa.Array, search: _Search) -> np.ndarray:
    """Return the smallest hash in each bin of each text, folded to 16 bits, (texts, BINS)."""
    made = np.empty((len(texts), BINS), dtype=np.uint16)
    throws = _throws(texts)
    for start, end in _chunks(texts):
        search.check()
        pieces, owners = _pieces(texts.slice(start, end - start))
        least = np.full((end - start) * BINS, _EMPTY, dtype=np.uint32)
        for _ in range(throws):
            pieces = _mixed(pieces)
            values = np.minimum((pieces >> np.uint64(32)).astype(np.uint32), _EMPTY - np.uint32(1))
            np.minimum.at(least, owners * BINS + (pieces & np.uint64(BINS - 1)).astype(np.int64), values)
        made[start:end] = (_filled(least.reshape(-1, BINS)) * np.uint32(0x9E3779B1)) >> np.uint32(16)
        search.progress(HASHING * end / len(texts))
    return made


def _throws(texts: pa.Array) -> int:
    """Return how often each piece is hashed: several times where texts are so short that bins would stay empty."""
    short = float(np.quantile(np.asarray(pc.binary_length(texts)), 0.1)) - PIECE + 1
    return int(np.clip(np.ceil(FULL * BINS / max(short, 1.0)), 1, THROWS))


def _chunks(texts: pa.Array) -> Iterator[tuple[int, int]]:
    """Yield parts (from, to) of about CHUNK bytes."""
    ends = np.cumsum(np.asarray(pc.binary_length(texts), dtype=np.int64))
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + CHUNK, side="right")))
        yield start, end
        start = end


def _filled(least: np.ndarray) -> np.ndarray:
    """Return signatures, (texts, BINS), whose empty bins have the value of the next filled one, going round.

    It is mixed anew for every bin it is away, so that it does not count several times (Shrivastava and Li, 2014).
    """
    made = np.empty_like(least)
    carried = np.full(len(least), _EMPTY, dtype=np.uint32)
    for place in reversed(range(2 * BINS)):
        own = least[:, place % BINS]
        carried = np.where(own != _EMPTY, own, carried * np.uint32(0x85EBCA6B) + np.uint32(1))
        if place < BINS:
            made[:, place] = carried
    return made


def _height(threshold: float) -> int:
    """Return how many bins make a band: as many as still find a pair just alike enough."""
    return next(height for height in (16, 12, 8, 6, 5, 4, 3, 2, 1)
                if height == 1 or 1 - (1 - threshold ** height) ** (BINS // height) >= RECALL)


def _likeliest(signatures: np.ndarray, search: _Search) -> np.ndarray:
    """Return the pairs that agree in a whole band and are likely alike, in order, (pairs, 2)."""
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8))]
    height = _height(search.threshold)
    for start in range(0, BINS - height + 1, height):
        band = np.zeros(len(signatures), dtype=np.uint64)
        for place in range(start, start + height):
            band = _mixed(band ^ signatures[:, place])
        for two in _of_band(band):
            search.check()
            same = (signatures[two[:, 0]] == signatures[two[:, 1]]).sum(axis=1, dtype=np.uint8)
            likely = same >= (search.threshold - DOUBT) * BINS
            found.append((two[likely, 0] * len(signatures) + two[likely, 1], same[likely]))
            if search.most is not None and sum(len(codes) for codes, _ in found) > 4 * search.most:
                found = [_best(found, search.most)]
        found = [_best(found, search.most)]
    return np.stack(np.divmod(found[0][0], len(signatures)), axis=1)


def _best(found: list[tuple[np.ndarray, np.ndarray]], most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs, as one number each, and in how many bins they agree; each once, the `most` likely, in order."""
    codes, at = np.unique(np.concatenate([codes for codes, _ in found]), return_index=True)
    guesses = np.concatenate([same for _, same in found])[at]
    if most is not None and len(codes) > most:
        kept = np.sort(np.argsort(-guesses.astype(np.int16), kind="stable")[:most])
        codes, guesses = codes[kept], guesses[kept]
    return codes, guesses


def _of_band(band: np.ndarray) -> Iterator[np.ndarray]:
    """Yield pairs of places with the same number, (pairs, 2), the earlier first, no more than PAIRS at once."""
    order = np.argsort(band, kind="stable")
    ranked = band[order]
    begins = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    begin = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    later = np.flatnonzero(~begins)
    for start in range(0, len(later), PAIRS):
        places = later[start:start + PAIRS]
        for step in range(FIRSTS):
            there = places[begin[places] + step < places - 1]
            yield np.stack([order[begin[there] + step], order[there]], axis=1)
        yield np.stack([order[places - 1], order[places]], axis=1)
