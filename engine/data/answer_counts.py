"""How often each answer stands in a dataset: labels, kinds of entities, questions with an answer and without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data import blocks, cells, squad, tags
from engine.data.histogram import histogram

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.tasks.base import Task

#: Different labels that are kept with their counts.
MOST = 1_000
SEED = 0


def of(source: blocks.Source, task: Task, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return what `DatasetStats` says of the answers; nothing for tasks whose answers are texts of any kind.

    `labels` holds the most frequent ones with their counts, `labels_of` what is counted: rows, entities, words or
    questions. `label_count` is how many labels there are to learn, with tags B- and I- apart; `label_numbers` a
    histogram of numbers; `labels_counted` of how many rows drawn at random all this is, None when of all.
    """
    role = next((role for role in _COUNTED if role in columns), None)
    if role is None:
        return {}
    table, whole = blocks.column(source, columns[role], SEED)
    found = _COUNTED[role](table, task, columns)
    return found | {"labels_counted": None if whole else table.num_rows}


def _labels(table: pa.Table, task: Task, columns: Mapping[str, str]) -> dict[str, Any]:
    problem = getattr(task, "problem", "single_label")
    column = table.column(columns["label"])
    if problem == "regression":
        numbers = np.asarray(cells.numbers(column).drop_null())
        return {"label_numbers": histogram(numbers[np.isfinite(numbers)], whole=False)}
    if problem == "multi_label" or not cells.is_text(column):
        counts = cells.values_of(cells.several(column, getattr(task, "separator", "auto"))[0])
    else:
        counts = cells.values_of(cells.label_strings(column))
    return {"labels": dict(list(counts.items())[:MOST]), "label_count": len(counts)}


def _tags(table: pa.Table, task: Task, columns: Mapping[str, str]) -> dict[str, Any]:
    counts, unit = tags.kinds(tags.lists(table.column(columns["tags"])))
    return {"labels": dict(Counter(counts).most_common(MOST)), "labels_of": unit,
            "label_count": len(task.label_names(table, columns))}


def _answers(table: pa.Table, task: Task, columns: Mapping[str, str]) -> dict[str, Any]:
    values = table.column(columns["answers"]).to_pylist()
    answered = sum(bool(squad.answers(value)) for value in values)
    counts = {"with an answer": answered, "without an answer": len(values) - answered}
    return {"labels": counts if values else {}, "labels_of": "questions"}


_COUNTED = {"label": _labels, "tags": _tags, "answers": _answers}
