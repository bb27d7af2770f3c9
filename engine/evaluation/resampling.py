"""How sure a metric is: what it comes to on other draws of the same rows (percentile bootstrap, Efron 1979).

Where every draw comes to the same, the draws know nothing of other rows: a share of rows then has the interval of
Wilson (1927), and other metrics have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from engine.scores import Floats, Gauge

Record = Mapping[str, Any]
Interval = tuple[float, float]

#: Draws, the same ones always, and the share of them an interval holds.
SAMPLES, SEED, LEVEL = 1000, 0, 0.95
#: Rows looked at in all draws together, by arrays and one by one; draws that are made in any case.
LOOKED_AT, ONE_BY_ONE, FEWEST = 20_000_000, 2_000_000, 100


def intervals(gauge: Gauge, rows: int, samples: int = SAMPLES, *,
              shares: Mapping[str, int] | None = None) -> dict[str, Interval]:
    """Return the interval of each metric that nearly every draw gives; nothing for fewer than two rows.

    `shares` names the metrics that are shares of rows, with how many rows each is a share of.
    """
    if rows < 2:
        return {}
    affordable = getattr(gauge, "looked_at", LOOKED_AT) // rows
    samples = min(samples, max(FEWEST, affordable))
    random = np.random.default_rng(SEED)
    drawn: dict[str, list[float]] = {}
    for _ in range(samples):
        weights = np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)
        for name, value in gauge(weights).items():
            if math.isfinite(value):
                drawn.setdefault(name, []).append(value)
    known = {name: values for name, values in drawn.items() if len(values) >= LEVEL * samples}
    found = {name: _interval(values, (shares or {}).get(name, 0)) for name, values in known.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def _interval(values: Sequence[float], rows: int) -> Interval | None:
    """Return what nearly all draws lie in; where they are all alike, Wilson's for a share of `rows`, else None."""
    low, high = np.percentile(values, [(1 - LEVEL) / 2 * 100, (1 + LEVEL) / 2 * 100]).tolist()
    if not math.isclose(min(values), max(values), rel_tol=1e-9, abs_tol=1e-12):
        return low, high
    return wilson(min(1.0, max(0.0, low)), rows) if rows else None


def wilson(share: float, rows: int) -> Interval:
    """Return the interval of a share of `rows` at LEVEL (Wilson, 1927): never empty, also where all or none are right.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle, wide = share + z * z / (2 * rows), z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    low, high = ((middle + side * wide) / (1 + z * z / rows) for side in (-1, 1))
    # Rounding would leave a hair between the end of the scale and an interval that reaches it.
    return (low if share > 0 else 0.0), (high if share < 1 else 1.0)


class Gauged:
    """The gauge of any `summarise`: of sums of the records' `counts` where that is all it needs, else of the records.

    `looked_at` is how many rows may be looked at in all draws together.
    """

    def __init__(self, summarise: Callable[[Sequence[Record]], dict[str, float]], records: Sequence[Record]) -> None:
        self._summarise, self._records = summarise, records
        whole = summarise(records)
        self._names: set[str] = set()
        if records and all(isinstance(record.get("counts"), Mapping) for record in records):
            self._keys, self._table = _flat([record["counts"] for record in records])
            added = self._of_sums(np.ones(len(records)))
            self._names = {name for name, value in whole.items() if _same(value, added.get(name))}
        #: Metrics that take more than the sums.
        self._others = set(whole) - self._names
        self.looked_at = ONE_BY_ONE if self._others else LOOKED_AT

    def __call__(self, weights: Floats) -> dict[str, float]:
        """Return the metrics where each record counts as often as its weight says."""
        found = {name: value for name, value in self._of_sums(weights).items() if name in self._names} \
            if self._names else {}
        if not self._others and self._names:
            return found
        picked = [self._records[i] for i in np.repeat(np.arange(len(weights)), weights.astype(np.int64)).tolist()]
        return {name: value for name, value in self._summarise(picked).items() if name not in self._names} | found

    def _of_sums(self, weights: Floats) -> dict[str, float]:
        sums = (weights @ self._table).tolist()
        merged: dict[str, Any] = {}
        for path, value in zip(self._keys, sums, strict=True):
            _put(merged, path, value)
        try:
            return self._summarise([{"counts": _lists(merged)}])
        except (KeyError, ZeroDivisionError):
            # It asks for more than counts, so each record is looked at; or this draw has nothing to be divided by.
            return {}


def gauge(summarise: Callable[[Sequence[Record]], dict[str, float]], records: Sequence[Record]) -> Gauge:
    """Return the function from how often each record counts to what `summarise` says then."""
    return Gauged(summarise, records)


Path = tuple[str | int, ...]


def _flat(rows: Sequence[Any]) -> tuple[list[Path], Floats]:
    """Return the path of every number in nested counts, and the numbers, (rows, paths); what a row lacks is 0."""
    places: dict[Path, int] = {}
    cells = [(row, places.setdefault(path, len(places)), value)
             for row, counts in enumerate(rows) for path, value in _leaves(counts)]
    table = np.zeros((len(rows), len(places)))
    for row, place, value in cells:
        table[row, place] = value
    return list(places), table


def _leaves(counts: Any, path: Path = ()) -> Iterable[tuple[Path, float]]:
    pairs = counts.items() if isinstance(counts, Mapping) else enumerate(counts)
    for key, value in pairs:
        if isinstance(value, Mapping | list | tuple):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), float(value)


def _put(merged: dict[str | int, Any] | dict[str, Any], path: Path, value: float) -> None:
    inner: Any = merged
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value


def _lists(value: Any) -> Any:
    """Return nested counts with lists where the keys are places."""
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(key, int) for key in value):
        return [_lists(value.get(place, 0.0)) for place in range(max(value) + 1)]
    return {key: _lists(inner) for key, inner in value.items()}


def _same(first: float, second: float | None) -> bool:
    if second is None:
        return False
    return math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(first) and math.isnan(second))
