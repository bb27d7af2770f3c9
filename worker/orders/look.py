"""Order `look`: look into a dataset for its page: samples of labels, repeated rows and leaks, the first batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import tasks
from worker.line import Line

#: Share of the progress bar that finding the base model takes.
FINDING = 0.3


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Return what was found, as JSON values.

    `order`: what (samples, problems, batch or view), parquet, eval_parquet or null, task, columns, options, data_dir,
    and `asked`: what the person chose. Raises Refused errors, Cancelled.
    """
    return LOOKS[order["what"]](order, line)


def _samples(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine.data import samples

    columns: dict[str, str] = order["columns"]
    wanted = {role: name for role, name in columns.items() if role in ("label", "tags")}
    table = _table(order["parquet"], wanted or columns)
    return samples.of(table, tasks.get(order["task"])(**order["options"]), columns).model_dump(mode="json")


def _problems(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine.data import leaks

    columns: dict[str, str] = order["columns"]
    others = _table(order["eval_parquet"], columns) if order.get("eval_parquet") else None

    def heard(part: float, found: leaks.Problems) -> None:
        line.progress(part, "Comparing rows", found=found.model_dump(mode="json"))

    return leaks.find(_table(order["parquet"], columns), columns, tasks.get(order["task"]).answers, others,
                      progress=heard, cancelled=line.cancelled).model_dump(mode="json")


def _batch(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine import models
    from engine.data import first_batch
    from engine.prepare import NoTokenizer

    asked: dict[str, Any] = order["asked"]
    columns: dict[str, str] = order["columns"]
    task = tasks.get(order["task"])(**order["options"])
    located = models.locate(asked["model"], revision=asked.get("revision"), data_dir=Path(order["data_dir"]),
                            cancelled=line.cancelled, progress=lambda part: line.progress(FINDING * part, "Fetching"))
    tokenizer = task.processor(located.path)
    if tokenizer is None:
        raise NoTokenizer(asked["model"])
    line.progress(FINDING, "Turning text into tokens")
    return first_batch.make(
        _table(order["parquet"], columns), task, columns, tokenizer, int(asked["max_length"]), cancelled=line.cancelled,
        progress=lambda part: line.progress(FINDING + (1 - FINDING) * part, "Turning text into tokens"),
    ).model_dump(mode="json")


def _view(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine.data.paging import Rows

    asked: dict[str, Any] = order["asked"]
    total = Rows(Path(order["parquet"])).prepare(
        asked["search"], asked["sort"], asked["descending"], cancelled=line.cancelled,
        progress=lambda part: line.progress(part, "Going through all rows"))
    return {"total": total}


LOOKS: dict[str, Callable[[dict[str, Any], Line], dict[str, Any]]] = {
    "samples": _samples, "problems": _problems, "batch": _batch, "view": _view}


def _table(path: str, columns: dict[str, str]) -> Any:
    """Return the columns that play a part, those that are there."""
    import pyarrow.parquet as pq

    names = [name for name in pq.read_schema(path).names if name in set(columns.values())]
    return pq.read_table(path, columns=names, memory_map=True)
