"""Whether the rows to evaluate on go with those to learn from, told before a run is queued."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from db.blobs import Blobs
from db.tables import Dataset
from engine import preparation, tasks
from engine.data import labels, stats
from engine.data.errors import ParquetBroken
from engine.data.findings import about_eval
from engine.data.paging import intact
from engine.errors import DataError, Refused, StudioError
from engine.findings import Finding
from engine.spec import RunSpec
from engine.tasks.base import Task
from studio.service.roles import NoSuchColumn

#: Bytes, unpacked, of the columns that play a part up to which they are looked at; of longer ones only the labels.
LARGEST = 32 << 20


class EvalUnfit(DataError):
    """The evaluation file '{name}' does not go with '{train}': {first}"""

    kind = "eval_unfit"
    try_this = "{advice}"


class EvalColumnMissing(DataError):
    """The evaluation file '{name}' has no column '{column}' ({role})."""

    kind = "column_missing"
    try_this = "It has {columns}; rename one, or choose another evaluation file."


def told(spec: RunSpec, dataset: Dataset, other: Dataset) -> list[dict[str, Any]]:
    """Return what is wrong or odd about the rows to evaluate on beside those to learn from, both of which are ready.

    Files too large to be looked at now go by what was found when they were counted together.
    """
    found = _between(dataset, other, spec)
    if found is None:
        return [one for one in dataset.findings if about_eval(one["what"])] if other.eval_of_id == dataset.id else []
    return [one.model_dump(mode="json") for one in found]


def obstacles(findings: list[dict[str, Any]], dataset: Dataset, other: Dataset) -> list[StudioError]:
    """Return what forbids training of these findings, as one error; nothing where nothing does."""
    errors = [one for one in findings if one.get("level") == "error"]
    if not errors:
        return []
    first, name = errors[0], other.filename or other.name
    where = ", ".join(part for part in (f"evaluation file {name}", first.get("where")) if part)
    return [EvalUnfit(where, name=name, train=dataset.name, first=first["what"], findings=errors,
                      advice=first.get("try_this") or "Choose another evaluation file.")]


def column_error(error: Refused, spec: RunSpec, other: Dataset) -> Refused:
    """Return what stands in the way of the columns of `other` as said of a file to evaluate on."""
    if not isinstance(error, NoSuchColumn):
        return error
    name, column = other.filename or other.name, error.facts["column"]
    role = next((role for role, known in spec.data.columns.items() if known == column), "")
    return EvalColumnMissing(f"evaluation file {name}", name=name, role=role, **error.facts)


def _between(dataset: Dataset, other: Dataset, spec: RunSpec) -> list[Finding] | None:
    if dataset.parquet_key is None or other.parquet_key is None:
        return None
    paths = [Blobs().local(key) for key in (dataset.parquet_key, other.parquet_key)]
    if not all(path.is_file() for path in paths):
        return None
    train, held = ((str(path), path.stat().st_mtime_ns) for path in paths)
    said = {"task": spec.make_task().model_dump(mode="json"), "columns": dict(spec.data.columns),
            "seed": spec.training.seed, "steps": [step.model_dump(mode="json") for step in spec.data.steps]}
    return _looked(train, held, json.dumps(said, sort_keys=True))


@lru_cache(maxsize=64)
def _looked(train: tuple[str, int], held: tuple[str, int], said: str) -> list[Finding] | None:
    """Return findings about two files as they were written at these times; None where they are too large."""
    known = json.loads(said)
    task, columns = tasks.get(known["task"]["name"])(**known["task"]), known["columns"]
    steps = preparation.parse(known["steps"])
    paths = Path(train[0]), Path(held[0])
    # Steps may ask for any column.
    wanted = None if steps else list(dict.fromkeys(columns.values()))
    try:
        if sum(_bytes(path, wanted) for path in paths) > LARGEST:
            return None if steps else _labels(task, columns, *paths)
        rows, others = (_read(path, wanted) for path in paths)
        if steps:
            made = preparation.apply(rows, steps, known["seed"], held=others)
            rows, others = made.train, made.eval or others
        found = [one for one in task.check(rows, columns, others) if about_eval(one.what)]
        return found + stats.repeated(task, columns, rows, others)
    except ParquetBroken:
        raise
    except StudioError:
        # The steps cannot be done; that is told where they are checked.
        return None


def _bytes(path: Path, columns: list[str] | None) -> int:
    """Return the size, unpacked, of columns of a file; of all of them for None."""
    with intact(path):
        meta = pq.read_metadata(path)
    parts = [meta.row_group(group).column(place) for group in range(meta.num_row_groups)
             for place in range(meta.num_columns)]
    return sum(part.total_uncompressed_size for part in parts
               if columns is None or part.path_in_schema in columns or any(
                   part.path_in_schema.startswith(name + ".") for name in columns))


def _read(path: Path, columns: list[str] | None) -> pa.Table:
    with intact(path):
        return pq.read_table(path, columns=columns)


def _labels(task: Task, columns: dict[str, str], *paths: Path) -> list[Finding] | None:
    """Return findings about the labels alone; None for a task without labels, or for labels that are large as well."""
    name = columns.get("label")
    if name is None or sum(_bytes(path, [name]) for path in paths) > LARGEST:
        return None
    rows, others = (_read(path, [name]) for path in paths)
    return labels.evaluated(rows, others, name, getattr(task, "problem", "single_label"),
                            getattr(task, "separator", "auto"))
