"""The steps of preparation of a dataset: kept with it, shown on its first rows, and taken along by every run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from db import datasets
from db.blobs import Blobs
from db.tables import Dataset
from db.users import User
from engine import preparation
from engine.data import cells, read
from engine.data.paging import intact
from engine.data.source import Preview, Source
from engine.errors import DataError
from engine.preparation import Step
from engine.spec import Training
from studio.service.datasets import DatasetNotReady, EvaluatesAnother
from worker import client

#: Rows and bytes of a file that steps are shown on; of a longer file, only its head.
HEAD_ROWS, HEAD_BYTES = 2_000, 8 << 20
#: Rows that are shown of a step, and characters of a cell.
SHOWN, LONGEST_CELL = 6, 300
_EVALUATION = preparation.Setting(np.random.default_rng(0), evaluation=True, learned={"merged": []})
#: Seed of what is shown; a run takes its own.
SEED = int(Training().seed)


@dataclass(frozen=True)
class Previewed:
    """What steps do to the first rows of a dataset.

    `steps` tells of each: name, title, told, rows_before, rows_after, eval_after, note, pairs, columns (after it), and
    `sample`: {row, before, after}, where one of both may be null. The last one may be {name, title, told, error}
    instead: those behind it were not tried. `looked_at` of `rows` rows were; `whole` tells whether those are all.
    """

    columns: list[str]
    columns_after: list[str]
    rows: int
    looked_at: int
    whole: bool
    steps: list[dict[str, Any]] = field(default_factory=list)

    def columns_before(self, place: int) -> list[str]:
        """Return the columns there are before the step at a place, from 0."""
        return self.columns if place == 0 else self.steps[place - 1]["columns"]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dict(vars(self))


def steps_of(user: User, row: Dataset) -> list[Step]:
    """Return the steps that a dataset's rows go through; those of the dataset it evaluates where it does."""
    if row.eval_of_id is None:
        return preparation.parse(row.steps, "steps")
    parent = datasets.get(user, row.eval_of_id)
    return preparation.for_evaluation(preparation.parse(parent.steps, "steps"))


def columns_after(row: Dataset, steps: Sequence[Step], *, evaluating: bool = False) -> list[str] | None:
    """Return the columns after the steps; rows to evaluate on go through some only, and may be called so already.

    None where the file was not read yet; raises StepColumn, StepTaken, ExpressionError.
    """
    table = _empty(row)
    if table is None:
        return None
    if not evaluating:
        return preparation.columns_after(steps, table.column_names)
    for step in preparation.for_evaluation(steps):
        with suppress(DataError):
            table = step.change(table, _EVALUATION).table
    return list(table.column_names)


def _empty(row: Dataset) -> pa.Table | None:
    """Return the columns of a dataset without rows; all of them texts where only their names are known."""
    if row.parquet_key is not None:
        path = Blobs().local(row.parquet_key)
        if path.is_file():
            with intact(path):
                return pq.read_schema(path).empty_table()
    known = (row.source or {}).get("columns")
    return None if known is None else pa.table({name: pa.array([], pa.string()) for name in known})


def set_steps(user: User, id: str, documents: Sequence[Mapping[str, Any] | Step]) -> Dataset:
    """Keep the steps of a dataset, let roles follow their columns, and have it counted anew; runs keep what they had.

    Raises NotFound, DatasetNotReady, EvaluatesAnother, StepInvalid, StepColumn and what else the steps name.
    """
    row = datasets.get(user, id)
    if row.eval_of_id is not None:
        raise EvaluatesAnother(id, name=row.name, parent=row.eval_of_id)
    table = _head(row, 0)
    steps = preparation.parse(list(documents), "steps")
    preparation.columns_after(steps, table.column_names)
    for _ in preparation.walk(table, steps, SEED):
        pass
    columns = followed(row, steps, table.column_names)
    kept = [step.model_dump(mode="json") for step in steps]
    row = datasets.update(user, id, steps=kept, columns=columns)
    for other in datasets.find(user, eval_of_id=id):
        datasets.update(user, other.id, columns=columns)
        client.inspect_dataset(other.id)
    client.inspect_dataset(id)
    return row


def followed(row: Dataset, steps: Sequence[Step], known: Sequence[str]) -> dict[str, str]:
    """Return the columns of roles after new steps, under their new names.

    One that a step takes away stays a role's: it is back when the step is taken out, and missed until then, unless
    another role's column was given its name meanwhile.
    """
    old, after = preparation.parse(row.steps, "steps"), preparation.columns_after(steps, known)
    found: dict[str, str] = {}
    gone: set[str] = set()
    for role, column in row.columns.items():
        first = preparation.formerly(old, column)
        now = preparation.renamed(steps, first)
        found[role] = now if first in known or now in after else column
        if not preparation.survives(steps, known, first):
            gone.add(role)
    living = {column for role, column in found.items() if role not in gone}
    return {role: column for role, column in found.items() if role not in gone or column not in living}


def preview_steps(user: User, id: str, documents: Sequence[Mapping[str, Any] | Step] | None = None, *,
                  shown: int = SHOWN) -> Previewed:
    """Return what steps, the dataset's own where none are given, do to its first rows; nothing is kept.

    Raises NotFound, DatasetNotReady, StepInvalid; what goes wrong in a step is told in its place.
    """
    row = datasets.get(user, id)
    steps = steps_of(user, row) if documents is None else preparation.parse(list(documents), "steps")
    table = _head(row, HEAD_ROWS)
    total = row.rows if row.rows is not None else table.num_rows
    found: list[dict[str, Any]] = []
    columns = table.column_names
    try:
        for taken in preparation.walk(table, steps, SEED):
            columns = taken.change.table.column_names
            found.append(taken.report() | {"columns": columns, "sample": _sample(taken, shown)})
    except DataError as error:
        step = steps[len(found)]
        found.append({"step": step.name, "title": step.card.title, "told": step.told(), "error": error.as_dict()})
    return Previewed(table.column_names, columns, max(total, table.num_rows), table.num_rows,
                     table.num_rows >= total, found)


def prepared(user: User, row: Dataset, rows: int) -> Preview | None:
    """Return the first rows of a dataset after its steps; None where it has none, or where one of them fails."""
    steps = steps_of(user, row)
    if not steps or row.state != "ready" or row.parquet_key is None:
        return None
    table = _head(row, HEAD_ROWS)
    try:
        for taken in preparation.walk(table, steps, SEED):
            table = taken.change.table
    except DataError:
        return None
    made = table.slice(0, rows)
    return Preview(columns=made.column_names, rows=read.shown(made), source=Source.model_validate(
        row.source or {"format": "parquet"}))


def _head(row: Dataset, rows: int) -> pa.Table:
    """Return the first rows of a dataset as they were read, none for 0; raises DatasetNotReady."""
    if row.state != "ready" or row.parquet_key is None:
        raise DatasetNotReady(row.id, name=row.name, state=row.state)
    held: list[pa.RecordBatch] = []
    with pq.ParquetFile(Blobs().local(row.parquet_key)) as file:
        schema = file.schema_arrow
        for batch in file.iter_batches(batch_size=500) if rows else ():
            held.append(batch.slice(0, rows - sum(one.num_rows for one in held)))
            if sum(one.num_rows for one in held) >= rows or sum(one.nbytes for one in held) >= HEAD_BYTES:
                break
    return pa.Table.from_batches(held, schema)


def _sample(taken: preparation.Taken, most: int) -> list[dict[str, Any]]:
    """Return rows that show what a step did: half of them left out, the others changed where any are."""
    before, after, rows = taken.before, taken.change.table, taken.change.rows
    origin = np.arange(after.num_rows) if rows is None else rows
    gone = np.setdiff1d(np.arange(before.num_rows), origin)[:most // 2]
    kept = list(range(min(after.num_rows, 200)))
    looked = {place: (_cells(before, int(origin[place])), _cells(after, place)) for place in kept}
    changed = [place for place in kept if looked[place][0] != looked[place][1]]
    repeated = [place for place in kept if place and origin[place] == origin[place - 1]]
    first = list(dict.fromkeys([*changed, *repeated, *kept]))[:most - len(gone)]
    # Rows that a split takes out are not lost: they are evaluated on.
    held = {"held": True} if taken.step.splits else {}
    shown = [{"row": int(row) + 1, "before": _cells(before, int(row)), "after": None} | held for row in gone]
    shown += [{"row": int(origin[place]) + 1, "before": looked[place][0], "after": looked[place][1]}
              for place in sorted(first)]
    return sorted(shown, key=lambda one: one["row"])


def _cells(table: pa.Table, row: int) -> dict[str, str]:
    """Return a row as short texts, images by name."""
    found: dict[str, str] = {}
    for name in table.column_names:
        column = table.column(name)
        value = cells.image_names(column.slice(row, 1))[0].as_py() if cells.is_image(column) else column[row].as_py()
        text = value if isinstance(value, str) else "" if value is None else \
            json.dumps(value, ensure_ascii=False, default=str)
        found[name] = text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL - 1] + "…"
    return found
