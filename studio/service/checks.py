"""Everything that stands in the way of a run, said before any work begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from db import datasets, models
from db.errors import Conflict, NotFound
from db.tables import Dataset, Model
from db.users import User
from engine import breakdown, compatibility, preparation, tasks
from engine import spec as specs
from engine.breakdown import Breakdown
from engine.data.errors import ParquetBroken
from engine.data.findings import about_eval, warning
from engine.errors import DataError, ModelError, NotEnough, Refused, StudioError
from engine.shape import ModelShape
from engine.spec import RunSpec
from studio.service import eval_fit, lengths, sources
from studio.service.datasets import DatasetNotReady
from studio.service.fleet import memory_there, quantization_obstacle
from studio.service.forgetting import forgetting_obstacle
from studio.service.preparation import columns_after, followed, steps_of
from studio.service.roles import check_columns


class DataFindings(DataError):
    """The dataset '{name}' cannot be trained on: {first}"""

    kind = "data_findings"
    try_this = "{advice}"


class DatasetFailed(DataError):
    """The dataset '{name}' could not be read: {first}"""

    kind = "dataset_failed"
    try_this = "{advice}"


class ModelNotReady(Conflict):
    """The base model '{name}' is not ready yet ({state})."""

    kind = "model_not_ready"
    try_this = "Wait until it has been measured, then start again."


class ModelNotAdded(Conflict):
    """The base model '{name}' has not been added yet."""

    kind = "model_not_added"
    try_this = "Add it first: on the page Models, with 'peft-studio models add {name}', or with POST /api/v1/models."


class ModelFailed(ModelError):
    """The base model '{name}' could not be used: {first}"""

    kind = "model_failed"
    try_this = "{advice}"


class TaskImpossible(ModelError):
    """{title} cannot be trained for {task}."""

    kind = "task_impossible"
    try_this = "Choose another base model, or one of these tasks: {possible}."


class MethodObstacle(Refused):
    """{reason}"""

    kind = "method_obstacle"
    try_this = "Change the setting it speaks of, or choose another method or base model."


@dataclass(frozen=True)
class Check:
    """What a run would be, and all that forbids it. `steps`: updates an epoch and in total, None when unknown.

    `findings` are about the data, `warnings` about what these settings do to it.
    """

    spec: RunSpec
    dataset: Dataset | None = None
    eval_dataset: Dataset | None = None
    model: Model | None = None
    breakdown: Breakdown | None = None
    steps: tuple[int, int] | None = None
    obstacles: list[StudioError] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether the run may start."""
        return not self.obstacles

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        each, total = self.steps or (None, None)
        return {"ready": self.ready, "spec": self.spec.model_dump(mode="json"),
                "breakdown": self.breakdown.model_dump(mode="json") if self.breakdown else None,
                "steps_per_epoch": each, "updates": total,
                "obstacles": [error.as_dict() for error in self.obstacles], "findings": self.findings,
                "warnings": self.warnings}


def check(user: User, document: RunSpec | Mapping[str, Any]) -> Check:
    """Return everything that stands in the way of a run whose data.train is a dataset id, and its breakdown.

    Columns left out are taken from the dataset; an evaluation dataset that belongs to it is used unless `data.eval` is
    given, be it null. Nothing is loaded. Raises SpecError for a document that is no RunSpec.
    """
    spec = document if isinstance(document, RunSpec) else specs.parse(dict(document))
    obstacles: list[StudioError] = []
    dataset, other, spec = _data(user, spec, obstacles)
    between: list[dict[str, Any]] = []
    if dataset and other:
        try:
            between = [] if obstacles else eval_fit.told(spec, dataset, other)
        except ParquetBroken as error:
            obstacles.append(error)
        obstacles += eval_fit.obstacles(between, dataset, other)
    model = models.by_ref(user, spec.model.id, spec.model.revision)
    shape = _shape(spec, model, obstacles)
    for error in (quantization_obstacle(user, spec.model.quantization), forgetting_obstacle(user, spec, shape),
                  sources.obstacle(user, spec, shape)):
        if error is not None:
            obstacles.append(error)
    labels = labels_of(spec, dataset)
    found = None
    if shape is not None and not _impossible(spec, shape, obstacles):
        memory, device = memory_there(user)
        found = breakdown.of(spec, shape, labels, available=memory, device=device)
        if found.memory.verdict == "too big":
            obstacles.append(NotEnough("memory", resource="memory", needed=_gigabytes(found.memory.total),
                                       available=_gigabytes(memory)))
    rows = training_rows(spec, dataset, other)
    warnings = _warned(user, spec, shape, dataset) if shape is not None else []
    about = [f for row in (dataset, other) if row is not None for f in row.findings if not about_eval(f["what"])]
    return Check(spec, dataset, other, model, found, breakdown.updates(spec, rows) if rows else None, obstacles,
                 [*about, *(f for f in between if f["level"] != "warning")],
                 [*(f for f in between if f["level"] == "warning"), *warnings])


def _warned(user: User, spec: RunSpec, shape: ModelShape, dataset: Dataset | None) -> list[dict[str, Any]]:
    """Return what a person should know of settings that are allowed."""
    doubts = spec.method.doubts(shape.for_task(spec.task))
    return lengths.told(spec, shape, lengths.counted(user, spec, dataset)) + [
        warning("setting_in_vain", one.what, f"method.{one.field}", one.try_this).model_dump(mode="json")
        for one in doubts]


def _data(user: User, spec: RunSpec, obstacles: list[StudioError]) -> tuple[Dataset | None, Dataset | None, RunSpec]:
    """Return the datasets of a spec, and the spec with their ids and columns filled in."""
    try:
        dataset = datasets.get(user, spec.data.train)
    except NotFound as error:
        obstacles.append(error)
        return None, None, spec
    other = None
    if spec.data.eval is not None:
        try:
            other = datasets.get(user, spec.data.eval)
        except NotFound as error:
            obstacles.append(error)
    elif "eval" not in spec.data.model_fields_set:
        other = next(iter(datasets.find(user, eval_of_id=dataset.id, limit=1)), None)
    columns = dict(spec.data.columns)
    if not columns:
        same = dataset.task in (None, spec.task)
        own = _followed(dataset, spec)
        columns = own if same else tasks.get(spec.task).carried(own)
    options = dict(spec.data.options) if "options" in spec.data.model_fields_set or dataset.task != spec.task \
        else dict(dataset.options)
    steps = list(spec.data.steps) if "steps" in spec.data.model_fields_set else steps_of(user, dataset)
    data = spec.data.model_copy(update={"columns": columns, "eval": other.id if other else None, "options": options,
                                        "steps": steps})
    spec = specs.parse(spec.model_copy(update={"data": data}).model_dump(mode="json"))
    for row in (dataset, other):
        if row is not None:
            _usable(row, spec, obstacles, dataset if row is other else None)
    return dataset, other, spec


def _followed(dataset: Dataset, spec: RunSpec) -> dict[str, str]:
    """Return the columns of a dataset's roles, as they are called after other steps where the spec has its own."""
    known = columns_after(dataset, [])
    if "steps" not in spec.data.model_fields_set or known is None:
        return dict(dataset.columns)
    try:
        return followed(dataset, spec.data.steps, known)
    except Refused:
        # Steps that cannot be taken are told where the columns are checked.
        return dict(dataset.columns)


def _usable(row: Dataset, spec: RunSpec, obstacles: list[StudioError], learned: Dataset | None) -> None:
    """Note what stands in the way of a dataset; `learned` is the one to learn from where this is to evaluate on."""
    evaluating = learned is not None
    if row.state == "failed":
        error = row.error or {}
        obstacles.append(DatasetFailed(row.id, name=row.name, first=error.get("what", "it failed"),
                                       advice=error.get("try_this", "Upload it again.")))
        return
    if row.state != "ready":
        obstacles.append(DatasetNotReady(row.id, name=row.name, state=row.state))
        return
    errors = [f for f in row.findings if f.get("level") == "error" and not about_eval(f["what"])]
    # What was found belongs to the columns and steps it was found with; for others the run itself checks.
    same = evaluating or row.steps == [step.model_dump(mode="json") for step in spec.data.steps]
    failed = [f for f in errors if f.get("preparing")] if same and not evaluating else []
    if failed:
        obstacles.append(_findings(row, failed))
        return
    try:
        lost = _lost(row, spec, evaluating)
        if lost:
            # Of rows to evaluate on it is said with those to learn from.
            obstacles += [] if evaluating else lost
            return
        check_columns(spec.task, spec.data.columns, columns_after(row, spec.data.steps, evaluating=evaluating))
    except Refused as error:
        obstacles.append(eval_fit.column_error(error, spec, row) if evaluating else error)
        return
    if not (errors and row.task == spec.task and row.columns == spec.data.columns and same):
        return
    if learned is not None:
        obstacles += eval_fit.obstacles(errors, learned, row)
    else:
        obstacles.append(_findings(row, errors))


def _findings(row: Dataset, errors: list[dict[str, Any]]) -> DataFindings:
    return DataFindings(errors[0].get("where") or row.id, name=row.name, first=errors[0]["what"],
                        advice=errors[0].get("try_this") or "Correct the file and upload it again.", findings=errors)


def _lost(row: Dataset, spec: RunSpec, evaluating: bool) -> list[preparation.ColumnLost]:
    """Return an error for each chosen column that a step takes away; raises StepColumn, StepTaken."""
    known = columns_after(row, [])
    if known is None:
        return []
    steps = preparation.for_evaluation(spec.data.steps) if evaluating else spec.data.steps
    try:
        return preparation.lost(steps, known, spec.data.columns)
    except Refused:
        # Rows to evaluate on may lack what a step speaks of.
        if evaluating:
            return []
        raise


def _shape(spec: RunSpec, model: Model | None, obstacles: list[StudioError]) -> ModelShape | None:
    if model is None:
        obstacles.append(ModelNotAdded(spec.model.id, name=spec.model.id))
        return None
    if model.state not in ("ready", "failed"):
        obstacles.append(ModelNotReady(spec.model.id, name=spec.model.id, state=model.state))
        return None
    if model.state == "failed" or not model.shape:
        error = model.error or {}
        obstacles.append(ModelFailed(spec.model.id, name=model.title, first=error.get("what", "it failed"),
                                     advice=error.get("try_this", "Choose another base model.")))
        return None
    return shape_of(model)


def shape_of(model: Model) -> ModelShape:
    """Return the shape of a model that is ready."""
    return _parsed(json.dumps(model.shape, sort_keys=True))


@lru_cache(maxsize=32)
def _parsed(shape: str) -> ModelShape:
    return ModelShape.model_validate_json(shape)


def _impossible(spec: RunSpec, shape: ModelShape, obstacles: list[StudioError]) -> bool:
    """Note why this task or method cannot be had on this model; return whether nothing can be counted then."""
    if spec.task not in shape.task_heads:
        able = [kind.card.title for name, kind in tasks.every().items() if name in shape.task_heads]
        obstacles.append(TaskImpossible("task", title=shape.architecture, task=tasks.get(spec.task).card.title.lower(),
                                        possible=", ".join(able).lower() or "none"))
        return True
    reasons = compatibility.obstacles(spec.method, shape, spec.task, spec.model.quantization)
    obstacles += [MethodObstacle("method", reason=reason) for reason in reasons]
    return bool(reasons)


def labels_of(spec: RunSpec, dataset: Dataset | None) -> int:
    """Return the width of the head; that of two labels where they were not counted yet."""
    counted = int((dataset.stats or {}).get("label_count") or 0) if dataset is not None else 0
    return spec.make_task().outputs([str(number) for number in range(counted or 2)])


def training_rows(spec: RunSpec, dataset: Dataset | None, other: Dataset | None) -> int:
    """Return how many rows are left to learn from beside those kept to evaluate on; 0 where they are not counted."""
    if dataset is None or not dataset.rows:
        return 0
    rows, stats = dataset.rows, dataset.stats or {}
    if spec.data.steps and stats.get("rows"):
        # Counted after the dataset's own steps; where those split, only rows to learn from.
        rows = int(stats["rows"])
    split = any(step.splits for step in spec.data.steps)
    kept = 0 if other is not None or split else round(rows * spec.make_task().eval_fraction)
    return max(1, rows - kept)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
