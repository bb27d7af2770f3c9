"""Where a model is good and where it is not: its metrics by label, by length and by every column of few values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data import cells
from engine.evaluation import resampling
from engine.evaluation.report import LABEL, LENGTH, Slice, Slices

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.tasks.base import Task

Record = Mapping[str, Any]
#: A slice before it is measured: by what, which value, and the places of its records.
Group = tuple[str, str, list[int]]

#: Metrics that fall in any part with a smaller range, so that parts cannot be compared by them.
WHOLE = ("pearson", "spearman")
#: Values of a column up to which it makes slices; labels up to which each is one; slices altogether.
FEW, LABELS, MOST = 20, 200, 250
#: Draws for the interval of a slice, parts that lengths are cut into, characters of a value.
DRAWS, PARTS, SHOWN = 200, 4, 60


def of(task: Task, records: Sequence[Record], table: pa.Table, columns: Mapping[str, str], labels: Sequence[str],
       lengths: Sequence[int], unit: str) -> Slices:
    """Return the slices of evaluation records, worst first; `lengths` in `unit`s, one a row of `table`, may be empty.

    They are sorted by the deciding metric, or the first common one that every slice has.
    """
    groups = [*_by_label(records, labels), *_by_length(records, lengths, unit)][:MOST]
    own = len(groups)
    groups = [*groups, *_by_columns(task, records, table, columns)][:MOST]
    measured = [(group, resampled(task, [records[i] for i in group[2]])) for group in groups]
    metric = next((name for name in (task.metric, "accuracy", "f1", "exact_match", "mae", "loss")
                   if measured and name not in WHOLE and all(name in found for _, (found, _) in measured)), "")
    if not metric:
        return Slices()
    greater = metric not in ("loss", "mae", "mse", "perplexity")
    made = [Slice(by=by, column=place >= own, value=value, rows=len(places), metrics=dict[str, float | None](found),
                  low=spread.get(metric, (None, None))[0], high=spread.get(metric, (None, None))[1])
            for place, ((by, value, places), (found, spread)) in enumerate(measured)]
    made.sort(key=lambda one: (one.metrics[metric] or 0.0) * (1 if greater else -1))
    return Slices(metric=metric, greater_is_better=greater, items=made)


def resampled(task: Task, records: Sequence[Record]) -> tuple[dict[str, float], dict[str, resampling.Interval]]:
    """Return the metrics of some records, and their intervals."""
    gauge = task.gauge(records)
    found = gauge(np.ones(len(records)))
    return {name: value for name, value in found.items() if math.isfinite(value)}, \
        resampling.intervals(gauge, len(records), DRAWS, shares=task.shares(records))


def _by_label(records: Sequence[Record], labels: Sequence[str]) -> Iterator[Group]:
    """Yield the records of each expected label; one with several labels is in several slices."""
    several = [r["expected"] if isinstance(r.get("expected"), list) else [r.get("expected")] for r in records]
    known = {str(value) for values in several for value in values if value is not None}
    labelled = known <= set(labels)
    if len(known) < 2 or len(known) > (LABELS if labelled else FEW) or not (labelled or len(records) >= 5 * len(known)):
        return
    groups: dict[str, list[int]] = {}
    for place, values in enumerate(several):
        for value in values:
            if value is not None:
                groups.setdefault(str(value), []).append(place)
    yield from ((LABEL, _short(value), places) for value, places in sorted(groups.items()))


def _by_length(records: Sequence[Record], lengths: Sequence[int], unit: str) -> Iterator[Group]:
    """Yield the records in parts of like length and about equal size."""
    if not lengths or len(records) < 2 * PARTS:
        return
    own = np.asarray([lengths[record["row"]] for record in records])
    edges = np.unique(np.quantile(own, np.linspace(0, 1, PARTS + 1), method="lower"))
    if len(edges) < 3:
        return
    for i, (low, high) in enumerate(pairwise(edges)):
        places = np.flatnonzero((own > low if i else own >= low) & (own <= high))
        first = int(low) + (1 if i else 0)
        if len(places):
            yield LENGTH, f"{first}–{int(high)} {unit}" if first < high else f"{int(high)} {unit}", places.tolist()


def _by_columns(task: Task, records: Sequence[Record], table: pa.Table, columns: Mapping[str, str]) -> Iterator[Group]:
    """Yield the records of each value of every column that has few, other than the answers'."""
    answers = {column for role, column in columns.items() if role in task.answers}
    for name in table.column_names:
        if name in answers or not cells.is_text(table.column(name)) or cells.is_image(table.column(name)):
            continue
        values = cells.strings(table.column(name))
        kinds = values.unique().to_pylist()
        if not 2 <= len(kinds) <= FEW or len(records) < 2 * len(kinds):
            continue
        every = values.to_pylist()
        groups: dict[str | None, list[int]] = {kind: [] for kind in sorted(kinds, key=str)}
        for place, record in enumerate(records):
            groups[every[record["row"]]].append(place)
        yield from ((name, _short(value) if value else "(empty)", places) for value, places in groups.items() if places)


def _short(value: str) -> str:
    return value if len(value) <= SHOWN else value[:SHOWN - 1] + "…"
