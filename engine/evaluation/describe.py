"""From the outputs of an evaluation to its report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.evaluation import resampling, slices
from engine.evaluation.report import Evaluation, Forgetting, Measured, Suspect

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.tasks.base import Task
    from engine.tasks.terms import Encoded, Outputs

#: Rows named as likely label errors, and the confidence they begin at where there is one.
SUSPECTS, SURE = 100, 0.5


def describe(task: Task, outputs: Outputs, encoded: Encoded, table: pa.Table, columns: Mapping[str, str], *,
             step: int = 0, numbers: Sequence[int] = (), forgetting: Forgetting | None = None) -> Evaluation:
    """Return the report; `numbers` are the rows' numbers in the dataset's file, empty where they are not known."""
    records = outputs.examples
    spread = resampling.intervals(task.gauge(records), len(records), shares=task.shares(records)) if records else {}
    lengths, unit = _lengths(task, encoded, table, columns)
    return Evaluation(
        task=task.name, step=step, rows=len(records), metric=task.metric, greater_is_better=task.greater_is_better,
        level=resampling.LEVEL, metrics={name: _measured(value, spread.get(name))
                                         for name, value in outputs.metrics.items()},
        slices=slices.of(task, records, table, columns, encoded.labels, lengths, unit), charts=outputs.charts,
        settled=outputs.settled, suspects=_suspects(records, numbers), forgetting=forgetting)


def _measured(value: float, spread: resampling.Interval | None) -> Measured:
    if not math.isfinite(value):
        return Measured(value=None)
    low, high = spread or (None, None)
    return Measured(value=value, low=low, high=high)


def _lengths(task: Task, encoded: Encoded, table: pa.Table, columns: Mapping[str, str]) -> tuple[list[int], str]:
    """Return how long each row of the table is: in tokens where each is one example, else in words."""
    if task.reads == "images":
        return [], ""
    if len(encoded.rows) == table.num_rows:
        return [task.length(row) for row in encoded.rows], "tokens"
    return [len(text.split()) for text in task.texts(table, columns)], "words"


def _suspects(records: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> list[Suspect]:
    """Return the rows the model was wrong about although it was sure, the highest loss first."""
    wrong = [r for r in records if r.get("correct") is not True and (r.get("loss") or 0) > 0
             and (r.get("confidence") is None or r["confidence"] >= SURE)]
    return [Suspect(row=r["row"], number=numbers[r["row"]] if numbers else None, expected=_cut(r.get("expected")),
                    predicted=_cut(r.get("predicted")), loss=r["loss"], confidence=r.get("confidence"))
            for r in wrong[:SUSPECTS]]


def _cut(value: Any) -> Any:
    return value[:300] if isinstance(value, str) else value
