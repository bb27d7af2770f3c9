"""Many rows at once: a file with predictions beside its rows, and adapters evaluated on datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from db import adapters, batches, datasets, runs
from db.base import new_id
from db.blobs import Blobs
from db.errors import Conflict, NotFound
from db.tables import Adapter, Batch, Dataset
from db.users import User
from engine import adapter as trained
from engine import tasks
from engine.bulk import replay, roles
from engine.bulk.judging import NAMED, fitting
from engine.bulk.replay import Replay
from engine.comparison import LabelsUnknown
from engine.errors import Refused
from studio.service import bundles, counted, holding
from studio.service.compositions import DatasetNotReady
from studio.service.datasets import NoSuchFile
from studio.service.holding import Holding
from studio.service.predictions import NobodyAsked, NotPlayable, added, chosen_options
from worker import client

if TYPE_CHECKING:
    from engine.data.source import Preview

Format = Literal["csv", "parquet"]
#: Rows that columns are recognised by.
LOOKED_AT = 200


class RowsOnce(Refused):
    """Rows come from a file or from a dataset, and {given} is given."""

    kind = "rows_once"
    try_this = "Send one file, or name one dataset."


class OtherTask(Refused):
    """The dataset '{name}' is for {theirs}, the adapter is for {ours}."""

    kind = "other_task"
    try_this = "Choose a dataset of the adapter's task."


class BatchNotReady(Conflict):
    """There is no file of predictions ({state})."""

    kind = "batch_not_ready"
    try_this = "Look at it until it is ready."


class BatchWorking(Conflict):
    """It is still being worked on."""

    kind = "batch_working"
    try_this = "Stop it first, and delete it then."


def predict_file(user: User, *, adapter_id: str | None = None, model: str = "", task: str = "",
                 path: Path | None = None, filename: str = "", dataset_id: str | None = None,
                 columns: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None,
                 format: Format = "csv", prepare: bool = True, quantization: Holding = "auto",
                 move: bool = False) -> Batch:
    """Have every row of a file or folder, or of a dataset, predicted by an adapter, or by a base model for a task.

    `columns` maps roles to columns, and is found where it is left out; `prepare` has the steps that the adapter's rows
    went through repeated; `move` takes the file away from where it is. Raises NotFound, NobodyAsked, NotPlayable,
    RowsOnce, NoSuchFile, NoQuantizer, SpecError, the errors of engine.bulk.roles and engine.bulk.replay, and DataError
    for a file that cannot be read.
    """
    if (path is None) == (dataset_id is None):
        raise RowsOnce("file", given="both" if path is not None else "neither")
    chosen = adapters.get(user, adapter_id) if adapter_id else None
    name = chosen.task if chosen is not None else task
    if not name or not (chosen or model):
        raise NobodyAsked("adapter")
    kind = tasks.get(name)
    if not kind.playground:
        raise NotPlayable("task", task=kind.card.title.lower())
    if chosen is None:
        added(user, model, None)
    picked = {key: value for key, value in chosen_options(kind, dict(options or {})).items() if value is not None}
    held = holding.wanted(user, [chosen] if chosen is not None else [], quantization)
    values: dict[str, Any] = {"format": format, "options": picked, "columns": dict(columns or {}), "quantization": held}
    if dataset_id is not None:
        row = _ready(user, dataset_id)
        values["steps"] = steps_for(user, chosen, row) if prepare else []
        # Those of a dataset were confirmed by a person; a column for the answer is not needed to ask.
        if not columns and row.task == name and not values["steps"]:
            values["columns"] = {role.name: row.columns[role.name] for role in kind.asks if role.name in row.columns}
        made = batches.create(user, "predict", adapter_id=adapter_id, dataset_id=row.id, model=model, task=name,
                              **values)
    else:
        assert path is not None
        values["steps"] = steps_for(user, chosen) if prepare else []
        made = _with_file(user, chosen, model, name, path, filename, move, values)
    client.batch(made.id)
    return made


def _with_file(user: User, chosen: Adapter | None, model: str, task: str, path: Path, filename: str, move: bool,
               values: dict[str, Any]) -> Batch:
    """Store the file, once its columns are known to fit, and queue it."""
    if not path.exists():
        raise NoSuchFile(str(path), path=path)
    planned(chosen, task, head(path), values["columns"], values["steps"])
    id = new_id(Batch.prefix)
    with bundles.files(path, path, "") as found:
        name = filename or found.name
        key = Blobs().put(found.train, f"batches/{id}/rows", move=move and found.train == path)
        return batches.create(user, "predict", adapter_id=chosen.id if chosen else None, model=model, task=task, id=id,
                              filename=name, original_key=key, **values)


def head(path: Path) -> Preview:
    """Return the first rows of a file; raises DataError."""
    from engine.data import read

    return read.preview(path, LOOKED_AT)


def planned(chosen: Adapter | None, task: str, rows: Preview, columns: Mapping[str, str],
            steps: Sequence[Mapping[str, Any]] = ()) -> tuple[Replay, dict[str, str], Preview]:
    """Return how rows are prepared, the column of each role an adapter is asked with then, and the rows prepared so.

    That is what a worker will do. Raises the errors of engine.bulk.roles and engine.bulk.replay.
    """
    import pyarrow as pa

    from engine.data import read

    facts = trained.read(Blobs().local(chosen.key)).columns if chosen is not None else {}
    if not steps:
        return Replay(), roles.matched(tasks.get(task), rows, facts, columns), rows
    table = pa.table({name: [row.get(name) for row in rows.rows] for name in rows.columns})
    # A column without any value among the first rows is one of texts until there is one.
    table = table.cast(pa.schema([pa.field(one.name, pa.string() if pa.types.is_null(one.type) else one.type)
                                  for one in table.schema]))
    made, found = replay.planned(steps, table, tasks.get(task), facts, columns)
    after = made.prepare(table)[0]
    return made, found, rows.model_copy(update={"columns": after.column_names, "rows": read.shown(after)})


def steps_for(user: User, chosen: Adapter | None, dataset: Dataset | None = None) -> list[dict[str, Any]]:
    """Return the steps an adapter's rows went through, to be repeated; none on a dataset that has its own."""
    if chosen is None or (dataset is not None and dataset.steps):
        return []
    known = trained.read(Blobs().local(chosen.key)).steps
    if known is None and chosen.run_id:
        with suppress(NotFound):
            known = (runs.get(user, chosen.run_id).spec.get("data") or {}).get("steps")
    return list(known or [])


def evaluate(user: User, adapter_id: str, dataset_id: str) -> Batch:
    """Have an adapter measured on a dataset of its task, with intervals, slices and charts.

    Raises NotFound, DatasetNotReady, OtherTask, RolesMissing, LabelsUnknown.
    """
    chosen, row = adapters.get(user, adapter_id), _ready(user, dataset_id)
    made = batches.create(user, "evaluate", adapter_id=adapter_id, dataset_id=dataset_id,
                          columns=measured_by(chosen, row), quantization=holding.wanted(user, [chosen], "auto"))
    client.batch(made.id)
    return made


def measured_by(chosen: Adapter, row: Dataset, facts: trained.Trained | None = None) -> dict[str, str]:
    """Return the columns that an adapter is measured by on a dataset; `facts` is what its folder says, once read.

    Raises OtherTask, RolesMissing, and LabelsUnknown where the dataset's labels are counted and it knows none of them.
    """
    if row.task and row.task != chosen.task:
        raise OtherTask("dataset", name=row.name, theirs=row.task.replace("_", " "),
                        ours=chosen.task.replace("_", " "))
    kind, facts = tasks.get(chosen.task), facts or trained.read(Blobs().local(chosen.key))
    columns = fitting(kind, row.columns, facts.columns)
    there = counted.labels(row)
    if there and facts.labels and facts.problem != "regression" and not kind.counted(facts.labels) & set(there):
        raise LabelsUnknown("label", unknown=", ".join(there[:NAMED]), known=", ".join(facts.labels[:20]))
    return columns


def evaluations(user: User, adapter_id: str) -> list[Batch]:
    """Return the evaluations of an adapter, newest first, one a dataset: of several the newest; raises NotFound."""
    adapters.get(user, adapter_id)
    return _newest(batches.find(user, kinds=["evaluate"], adapters=[adapter_id], limit=1000), "dataset_id")


def evaluated_on(user: User, row: Batch) -> list[Batch]:
    """Return the newest evaluation of each adapter on the very rows of this one."""
    found = batches.find(user, kinds=["evaluate"], datasets=[row.dataset_id], states=["ready"],
                         limit=1000) if row.dataset_id else []
    return _newest([one for one in found if one.dataset_sha256 == row.dataset_sha256], "adapter_id")


def batch_file(user: User, id: str) -> Path:
    """Return the file of predictions, also of one that was stopped; raises NotFound, BatchNotReady."""
    row = batches.get(user, id)
    if row.result_key is None or row.state not in batches.ENDED:
        raise BatchNotReady(id, state=row.state)
    return Blobs().local(row.result_key)


def cancel_batch(user: User, id: str) -> Batch:
    """Stop a batch; of a file the rows predicted so far stay. Raises NotFound."""
    batches.get(user, id)
    client.cancel("batch", id)
    return batches.get(user, id)


def delete_batch(user: User, id: str) -> None:
    """Delete a batch with its files; raises NotFound, BatchWorking."""
    row = batches.get(user, id)
    if row.state == "running":
        raise BatchWorking(id)
    for key in [*batches.delete(user, id), f"batches/{id}"]:
        Blobs().delete(key)


def _ready(user: User, id: str) -> Dataset:
    row = datasets.get(user, id)
    if row.state != "ready" or not row.parquet_key:
        raise DatasetNotReady(row.id, name=row.name, state=row.state)
    return row


def _newest(found: list[Batch], by: str) -> list[Batch]:
    made: dict[Any, Batch] = {}
    for row in found:
        made.setdefault(getattr(row, by) or row.id, row)
    return list(made.values())

