"""How far the reading of a dataset is, and whether something may still change by itself."""

from __future__ import annotations

from collections.abc import Sequence

from db.tables import Dataset
from engine.data.findings import EVAL_UNREAD

READING = ("uploaded", "ingesting")


def reading(row: Dataset) -> bool:
    """Tell whether a worker reads the dataset, or counts it again."""
    return row.state in READING or (row.state == "ready" and row.progress < 1)


def settled(row: Dataset, beside: Sequence[Dataset]) -> bool:
    """Tell whether all is found that will be: the dataset is read, and counted with those it is evaluated on."""
    if row.state == "failed":
        return not any(reading(one) for one in beside)
    return not reading(row) and not any(reading(one) or _unseen(row, one) for one in beside)


def _unseen(row: Dataset, other: Dataset) -> bool:
    """Tell whether what came of a dataset to evaluate on is not yet told with the one it evaluates."""
    if other.state == "failed":
        return not any(found.get("kind") == EVAL_UNREAD for found in row.findings)
    return row.stats is not None and row.stats.get("eval_rows") is None
