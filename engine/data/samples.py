"""A few rows of each label, chosen at random but always the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from engine.data import cells
from engine.data.compute import pc

if TYPE_CHECKING:
    from engine.tasks.base import Task

#: Labels shown, the most frequent first; rows of each; rows where there are no labels.
LABELS, EACH, PLAIN = 60, 4, 12
SEED = 0


class Labelled(BaseModel):
    """Rows (counted from 1) that have a label; `count` is how many have it."""

    label: str
    count: int
    rows: list[int]


class Samples(BaseModel):
    """Rows of each label, or of the whole table where `labelled` is false; `label_count` counts those not shown too."""

    labelled: bool
    label_count: int
    labels: list[Labelled]


def of(table: pa.Table, task: Task, columns: Mapping[str, str]) -> Samples:
    """Return rows of each label of a table; kinds of entities count as labels, numbers do not."""
    found = _labels(table, task, columns)
    rng = np.random.default_rng(SEED)
    if found is None:
        rows = rng.choice(table.num_rows, min(PLAIN, table.num_rows), replace=False)
        return Samples(labelled=False, label_count=0, labels=[
            Labelled(label="", count=table.num_rows, rows=sorted(int(row) + 1 for row in rows))])
    labels, places = found
    coded = labels.dictionary_encode()
    names = coded.dictionary.to_pylist()
    # One label may stand in a row several times.
    both = np.unique(np.stack([np.asarray(coded.indices), places], axis=1), axis=0)
    counts = np.bincount(both[:, 0], minlength=len(names))
    starts = np.concatenate([[0], np.cumsum(counts)])
    made: list[Labelled] = []
    for code in sorted(range(len(names)), key=lambda code: (-counts[code], names[code]))[:LABELS]:
        of_label = both[starts[code]:starts[code + 1], 1]
        chosen = rng.choice(of_label, min(EACH, len(of_label)), replace=False)
        made.append(Labelled(label=names[code], count=int(counts[code]), rows=sorted(int(row) + 1 for row in chosen)))
    return Samples(labelled=True, label_count=len(names), labels=made)


def _labels(table: pa.Table, task: Task, columns: Mapping[str, str]) -> tuple[pa.Array, np.ndarray] | None:
    """Return every label and the place of its row; None where the task has none."""
    name = columns.get("label") or columns.get("tags")
    if name is None or name not in table.column_names or getattr(task, "problem", "") == "regression":
        return None
    column = table.column(name)
    if "label" not in columns:
        tags, places = cells.several(column)
        there = pc.not_equal(tags, "O")
        kinds = pc.replace_substring_regex(tags.filter(there), r"^[BIESLU]-", "")
        return kinds, np.asarray(places.filter(there))
    if getattr(task, "problem", "") == "multi_label" or not cells.is_text(column):
        labels, places = cells.several(column, getattr(task, "separator", "auto"))
        return labels, np.asarray(places)
    labels = cells.label_strings(column)
    known = np.flatnonzero(np.asarray(labels.is_valid()))
    return labels.take(pa.array(known)), known
