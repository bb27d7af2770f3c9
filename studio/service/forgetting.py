"""Whether what a run is to measure forgetting on can be measured, and what can be chosen."""

from __future__ import annotations

from typing import Any

from db import datasets
from db.errors import NotFound
from db.tables import Dataset
from db.users import User
from engine import tasks
from engine.errors import StudioError
from engine.evaluation import neutral
from engine.evaluation.forgetting import ForgettingUnfit
from engine.evaluation.neutral import NotMeasurable
from engine.evaluation.report import NEUTRAL
from engine.shape import ModelShape
from engine.spec import RunSpec
from studio.service import counted
from studio.service.datasets import DatasetNotReady


def forgetting_obstacle(user: User, spec: RunSpec, shape: ModelShape | None) -> StudioError | None:
    """Return what stands in the way of the spec's second dataset or of neutral text, None when nothing."""
    wanted = spec.data.forgetting
    if wanted is None:
        return None
    if wanted == NEUTRAL:
        reason = neutral.obstacle(spec.make_task(), shape) if shape is not None else ""
        return NotMeasurable("data.forgetting", reason=reason) if reason else None
    try:
        row = datasets.get(user, wanted)
    except NotFound as error:
        return error
    if row.state != "ready":
        return DatasetNotReady(row.id, name=row.name, state=row.state)
    if not _fits(row, spec.task):
        kind = tasks.every().get(row.task or "")
        return ForgettingUnfit("data.forgetting", problem=(
            f"'{row.name}' is for {kind.card.title.lower() if kind else 'another task'}."))
    return _unknown(user, spec, row)


def _unknown(user: User, spec: RunSpec, row: Dataset) -> StudioError | None:
    """Return that none of the labels to measure on is learned, where the labels of both are counted."""
    try:
        learned = datasets.get(user, spec.data.train)
    except NotFound:
        return None
    there, known = _labels(row), _labels(learned)
    if spec.data.steps or not there or not known or there & known:
        return None
    return ForgettingUnfit("data.forgetting", problem=(
        f"none of the labels of '{row.name}' ({', '.join(sorted(there)[:3])}{', …' if len(there) > 3 else ''}) is "
        f"learned from '{learned.name}'."))


def _labels(row: Dataset) -> set[str]:
    """Return the labels of rows that have one each, nothing where not all of them are known."""
    one = (row.options or {}).get("problem", "single_label") == "single_label"
    return set(counted.labels(row)) if one and (row.stats or {}).get("labels_of") == "rows" else set()


def forgetting_choices(user: User, task: str, shape: ModelShape | None, train: str = "") -> list[dict[str, Any]]:
    """Return what forgetting can be measured on, as options {value, label, disabled (a reason)}."""
    chosen = tasks.every().get(task)
    reason = neutral.obstacle(chosen(name=task), shape) if chosen is not None and shape is not None else ""
    made: list[dict[str, Any]] = [{"value": None, "label": "Nothing"}, {"value": NEUTRAL, "label": "Neutral text"}
                                  | ({"disabled": reason} if reason else {})]
    rows = datasets.find(user, states=["ready"], limit=200) if task else []
    return made + [{"value": row.id, "label": row.name} for row in rows if row.id != train and _fits(row, task)]


def _fits(row: Dataset, task: str) -> bool:
    return (row.task or (row.guess or {}).get("task")) == task
