"""Order `look`: look into a dataset for its page: samples of labels, repeated rows and leaks, the first batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import tasks
from worker.line import Line

#: Share of the progress bar that finding the base model takes.
FINDING = 0.3


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Return what was found, as JSON values.

    `order`: what (samples, problems, batch, lengths, chat or view), parquet, eval_parquet or null, task, columns,
    options, data_dir, the `steps` and `eval_steps` of preparation, and `asked`: what the person chose. What is found
    are rows after the steps, by the number they have in the file. Raises Refused errors, Cancelled.
    """
    return LOOKS[order["what"]](order, line)


def _samples(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine.data import samples

    columns: dict[str, str] = order["columns"]
    rows = _rows(order["parquet"], columns, order["steps"])
    found = samples.of(rows.table, tasks.get(order["task"])(**order["options"]), columns)
    for one in found.labels:
        one.rows = rows.numbers(one.rows)
    return found.model_dump(mode="json")


def _problems(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine.data import leaks

    columns: dict[str, str] = order["columns"]
    rows = _rows(order["parquet"], columns, order["steps"])
    other = _rows(order["eval_parquet"], columns, order["eval_steps"]) if order.get("eval_parquet") else None

    def told(found: leaks.Problems) -> dict[str, Any]:
        """Return what was found with the rows as they are numbered in the files."""
        made = found.model_copy(deep=True)
        for group in (*made.same, *made.near, *made.conflicts):
            group.rows = rows.numbers(group.rows)
        for leak in made.leaks:
            leak.same_as = rows.numbers([leak.same_as])[0]
            leak.row = other.numbers([leak.row])[0] if other is not None else leak.row
        return made.model_dump(mode="json")

    def heard(part: float, found: leaks.Problems) -> None:
        line.progress(part, "Comparing rows", found=told(found))

    return told(leaks.find(rows.table, columns, tasks.get(order["task"]).answers, other.table if other else None,
                           progress=heard, cancelled=line.cancelled))


def _batch(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine.data import first_batch

    task, tokenizer, table, progress = _tokenised(order, line)
    return first_batch.make(table, task, order["columns"], tokenizer, int(order["asked"]["max_length"]),
                            cancelled=line.cancelled, progress=progress).model_dump(mode="json")


def _lengths(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine.data import token_lengths

    task, tokenizer, table, progress = _tokenised(order, line)
    return token_lengths.count(table, task, order["columns"], tokenizer, cancelled=line.cancelled,
                               progress=progress).model_dump(mode="json")


def _tokenised(order: dict[str, Any], line: Line) -> tuple[Any, Any, Any, Callable[[float], None]]:
    """Return the task, the tokenizer of the base model asked for, the rows, and what to tell progress to."""
    from engine import models
    from engine.prepare import NoTokenizer

    asked: dict[str, Any] = order["asked"]
    task = tasks.get(order["task"])(**order["options"])
    located = models.locate(asked["model"], revision=asked.get("revision"), data_dir=Path(order["data_dir"]),
                            cancelled=line.cancelled, progress=lambda part: line.progress(FINDING * part, "Fetching"))
    tokenizer = task.processor(located.path)
    if tokenizer is None:
        raise NoTokenizer(asked["model"])

    def progress(part: float) -> None:
        line.progress(FINDING + (1 - FINDING) * part, "Turning text into tokens")

    progress(0.0)
    return task, tokenizer, _rows(order["parquet"], order["columns"], order["steps"]).table, progress


def _chat(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine import models
    from engine.data import chat_preview
    from engine.tasks.causal_lm import CausalLM

    asked: dict[str, Any] = order["asked"]
    task = CausalLM(**order["options"] | {"template": asked["template"]})
    located = models.locate(asked["model"], revision=asked.get("revision"), data_dir=Path(order["data_dir"]),
                            cancelled=line.cancelled, progress=lambda part: line.progress(part, "Fetching"))
    table = _rows(order["parquet"], order["columns"], order["steps"]).table
    return chat_preview.make(table, task, order["columns"], models.tokenizer_of(located.path)).model_dump(mode="json")


def _view(order: dict[str, Any], line: Line) -> dict[str, Any]:
    from engine.data.paging import Rows

    asked: dict[str, Any] = order["asked"]
    total = Rows(Path(order["parquet"])).prepare(
        asked["search"], asked["sort"], asked["descending"], cancelled=line.cancelled,
        progress=lambda part: line.progress(part, "Going through all rows"))
    return {"total": total}


LOOKS: dict[str, Callable[[dict[str, Any], Line], dict[str, Any]]] = {
    "samples": _samples, "problems": _problems, "batch": _batch, "lengths": _lengths, "chat": _chat, "view": _view}


@dataclass(frozen=True)
class Rows:
    """Rows after the steps of preparation; `places` are those (from 0) they have in the file, None for the same."""

    table: Any
    places: Any = None

    def numbers(self, rows: Sequence[int]) -> list[int]:
        """Return the numbers in the file, from 1, of rows numbered from 1."""
        return list(rows) if self.places is None else [int(self.places[row - 1]) + 1 for row in rows]


def _rows(path: str, columns: dict[str, str], steps: Sequence[dict[str, Any]]) -> Rows:
    """Return the columns that play a part, those that are there, after `steps`; raises DataError."""
    import numpy as np
    import pyarrow.parquet as pq

    from engine import preparation
    from engine.spec import Training

    if not steps:
        names = [name for name in pq.read_schema(path).names if name in set(columns.values())]
        return Rows(pq.read_table(path, columns=names, memory_map=True))
    table = pq.read_table(path, memory_map=True)
    places = np.arange(table.num_rows)
    for taken in preparation.walk(table, preparation.parse(list(steps)), Training().seed):
        table = taken.change.table
        places = places if taken.change.rows is None else places[taken.change.rows]
    return Rows(table, places)
