"""Likely label errors: rows that runs on a dataset did worst on, with the numbers they have in its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from db import datasets, runs
from db.tables import Dataset, Run
from db.users import User
from engine import spec as specs
from engine.data.split import split
from engine.errors import StudioError
from studio.service.rows import rows_of
from studio.service.runs import run_file

#: Runs that are looked at, the newest first.
RUNS = 5


@dataclass(frozen=True)
class Suspect:
    """A row (counted from 1) whose given answer a run found unlikely, and what the run would say instead."""

    row: int
    run_id: str
    run_name: str
    text: str
    expected: Any
    predicted: Any
    loss: float
    confidence: float | None
    runs: int = 1


def suspects(user: User, id: str) -> list[Suspect]:
    """Return rows that the newest runs evaluated on this dataset got wrong, the highest losses first.

    Where several runs did badly on a row, it stands once, with the newest. Raises NotFound.
    """
    row = datasets.get(user, id)
    found: dict[int, Suspect] = {}
    for run in _runs(user, row):
        for number, record in _worst(user, row, run):
            if record.get("correct") is True or record.get("loss") is None:
                continue
            if number in found:
                known = found[number]
                found[number] = Suspect(**{**vars(known), "runs": known.runs + 1})
                continue
            found[number] = Suspect(number, run.id, run.name, str(record.get("input") or "")[:300],
                                    record.get("expected"), record.get("predicted"), float(record["loss"]),
                                    record.get("confidence"))
    return sorted(found.values(), key=lambda one: (-one.runs, -one.loss))


def numbers(user: User, run: Run) -> tuple[str, dict[int, int]] | None:
    """Return which dataset a run was evaluated on, and the row (from 1) of each record's `row` (from 0) in it.

    None where that cannot be told any more.
    """
    id = run.eval_dataset_id or run.dataset_id
    if id is None:
        return None
    try:
        row = datasets.get(user, id)
        return id, {int(record["row"]): number for number, record in _worst(user, row, run)}
    except StudioError:
        return None


def _runs(user: User, row: Dataset) -> list[Run]:
    """Return the newest runs that were evaluated on the rows of a dataset."""
    trained_on = row.eval_of_id or row.id
    done = runs.find(user, datasets=[trained_on], states=["succeeded", "cancelled"], limit=200)
    return [run for run in done if run.examples and (run.eval_dataset_id or run.dataset_id) == row.id][:RUNS]


def _worst(user: User, row: Dataset, run: Run) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the records a run did worst on, each with the number of its row in the dataset."""
    try:
        records = json.loads(run_file(user, run.id, "examples.json").read_text(encoding="utf-8"))["worst"]
        places = _places(row, run)
    except (StudioError, OSError, ValueError, KeyError):
        return []
    return [(int(places[record["row"]]) + 1 if places is not None else int(record["row"]) + 1, record)
            for record in records if isinstance(record.get("row"), int)
            and (places is None or 0 <= record["row"] < len(places))]


def _places(row: Dataset, run: Run) -> np.ndarray | None:
    """Return where each row of a run's evaluation stands in the dataset; None where they are all of its rows."""
    if run.eval_dataset_id == row.id:
        return None
    spec = specs.parse(run.spec)
    task = spec.make_task()
    columns = spec.data.columns or row.columns
    path = rows_of(row).path
    return _held(path, path.stat().st_mtime_ns, task.eval_fraction, spec.training.seed, task.stratify_by(columns))


@lru_cache(maxsize=8)
def _held(path: Path, changed: int, fraction: float, seed: int, stratify: str | None) -> np.ndarray:
    """Return the places of the rows that a run keeps aside, found as the run finds them."""
    with pq.ParquetFile(path) as file:
        there = stratify is not None and stratify in file.schema_arrow.names
        table = file.read(columns=[stratify]) if there else pa.table({})
        numbered = pa.table({"place": pa.array(np.arange(file.metadata.num_rows))})
    if stratify is not None and there:
        numbered = numbered.append_column(stratify, table.column(stratify))
    held = split(numbered, fraction, seed, stratify)[1]
    return np.asarray(held.column("place"))
