"""Asks a model about every row of a parquet file, part by part, and writes what it says as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine import adapter, tasks
from engine.bulk import replay, roles
from engine.bulk.replay import Replay
from engine.bulk.table import BESIDE, NOTE, WINDOW, Format, Growing
from engine.errors import DataError
from engine.generate import PromptTooLong

if TYPE_CHECKING:
    from engine.predict import Player
    from engine.tasks.base import Task
    from engine.tasks.terms import Reply

#: Rows of the first part, and of the largest; a part is to take about so many seconds, that a person can stop between.
FIRST, LARGEST, SECONDS = 16, 512, 1.0
#: Rows shown before the file is opened, and the characters of a cell there.
SHOWN, SHOWN_LETTERS = 20, 300
NOTHING = "There is nothing to ask in this row."


@dataclass
class Made:
    """What became of the rows: `rows` were written; of their lines `answered` have a prediction, `noted` a note.

    A row has one line, or one for each window of a long text. `prepared` says how the rows were prepared, if they were.
    """

    rows: int = 0
    total: int = 0
    answered: int = 0
    noted: int = 0
    prepared: str = ""
    stopped: bool = False
    seconds: float = 0.0
    columns: dict[str, str] = field(default_factory=dict[str, str])
    added: list[str] = field(default_factory=list[str])
    head: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


#: Told after each part what became of the rows so far.
Report = Callable[[Made], None]


class Predicting:
    """One model and the rows it is asked about; `adapter_id` None asks the base model itself."""

    def __init__(self, player: Player, adapter_id: str | None, columns: Mapping[str, str],
                 options: Mapping[str, Any] | None = None, prepares: Replay | None = None) -> None:
        self.player, self.adapter_id, self.columns = player, adapter_id, dict(columns)
        self.options, self.prepares = dict(options or {}), prepares or Replay()
        self.kind = tasks.get(player.task_name)
        self.task: Task = self.kind.model_validate({"name": player.task_name})

    def write(self, parquet: Path, out: Path, format: Format, *, names: Sequence[str] | None = None,
              report: Report = lambda made: None, cancelled: Callable[[], bool] = lambda: False) -> Made:
        """Write the rows of `parquet` with predictions to `out`; `names` are the columns that stay, all for None.

        They are asked as `prepares` makes them, and written as they came. A row that asks nothing, or cannot be read,
        has a note and no prediction. Stops early, at the end of a part and with a whole file of those rows, when
        `cancelled()`. Raises what asking raises, and OSError.
        """
        file = pq.ParquetFile(parquet)
        made = Made(total=file.metadata.num_rows, columns=self.columns, prepared=self.prepares.said)
        kept = list(names if names is not None else file.schema_arrow.names)
        began = time.monotonic()
        with file, Growing(out, format, kept) as growing:
            for part in _parts(file, self._ask, cancelled):
                growing.add(part.rows, part.filled)
                made.rows += part.count
                made.answered += sum(1 for one in part.filled if set(one) - BESIDE)
                made.noted += sum(1 for one in part.filled if one[NOTE])
                made.seconds = time.monotonic() - began
                made.added = list(growing.filled.values())
                _show(made, part, kept, growing.filled)
                report(made)
            made.stopped = made.rows < made.total
        made.added = list(growing.filled.values())
        return made

    def _ask(self, batch: pa.RecordBatch, cancelled: Callable[[], bool]) -> _Part | None:
        """Return the rows with what is filled in for each; None when it was stopped in between."""
        table, origin = self.prepares.prepare(pa.Table.from_batches([batch]))
        asked = list(roles.rows(table, self.kind, self.columns))
        # Rows of like length are asked together, so that little is padded.
        order = sorted((i for i, row in enumerate(asked) if row is not None),
                       key=lambda i: sum(len(value) for value in (asked[i] or {}).values()))
        replies = self._replies([asked[i] or {} for i in order], cancelled)
        if replies is None:
            return None
        found: list[dict[str, Any]] = [{NOTE: NOTHING} for _ in asked]
        for i, reply in zip(order, replies, strict=True):
            found[i] = reply
        if any(step.repeats for step in self.prepares.taken):
            batch, count = batch.take(pa.array(origin)), batch.num_rows
            found = [{WINDOW: number} | one for number, one in zip(_numbered(origin), found, strict=True)]
            return _Part(batch, found, count)
        return _Part(batch, found, batch.num_rows)

    def _replies(self, rows: Sequence[Mapping[str, Any]], cancelled: Callable[[], bool]) -> list[dict[str, Any]] | None:
        if not rows:
            return []
        try:
            said = next(self.player.respond([self.adapter_id], rows, options=self.options, cancelled=cancelled), None)
        except (DataError, PromptTooLong) as problem:
            if len(rows) == 1:
                return [{NOTE: problem.what}]
            # One of them cannot be read: the others can.
            half = len(rows) // 2
            first = self._replies(rows[:half], cancelled)
            second = self._replies(rows[half:], cancelled) if first is not None else None
            return None if first is None or second is None else first + second
        if said is None or len(said["replies"]) < len(rows):
            return None
        return [self._filled(reply) for reply in said["replies"]]

    def _filled(self, reply: Reply) -> dict[str, Any]:
        return self.task.filled(reply) | {NOTE: reply["note"] or None}


def planned(task_name: str, table: pa.Table, folder: Path | None, chosen: Mapping[str, str],
            steps: Sequence[Mapping[str, Any]] = ()) -> tuple[Replay, dict[str, str]]:
    """Return how rows are prepared by `steps` for the model in `folder` (None: a base model itself), and their roles.

    Raises the errors of engine.bulk.replay and engine.bulk.roles.
    """
    trained = adapter.read(folder).columns if folder is not None else {}
    return replay.planned(steps, table, tasks.get(task_name), trained, chosen)


@dataclass
class _Part:
    """Lines with what is filled in; they were made of so many rows."""

    rows: pa.RecordBatch
    filled: list[dict[str, Any]]
    count: int


def _numbered(origin: np.ndarray) -> list[int]:
    """Return for each line the how manieth of its row it is, from 1; lines of a row follow each other."""
    begins = np.flatnonzero(np.diff(origin, prepend=-1))
    return (np.arange(len(origin)) - np.repeat(begins, np.diff(begins, append=len(origin))) + 1).tolist()


def _parts(file: pq.ParquetFile, ask: Callable[[pa.RecordBatch, Callable[[], bool]], _Part | None],
           cancelled: Callable[[], bool]) -> Iterator[_Part]:
    """Yield the rows with what is filled in, in parts that grow while they are quick; one row group is held at once."""
    size = FIRST
    for group in range(file.num_row_groups):
        for whole in file.read_row_group(group).to_batches():
            start = 0
            while start < whole.num_rows:
                if cancelled():
                    return
                rows, began = whole.slice(start, size), time.monotonic()
                part = ask(rows, cancelled)
                if part is None:
                    return
                yield part
                start += rows.num_rows
                took = time.monotonic() - began
                size = max(1, min(LARGEST, size * 2 if took < SECONDS / 2 else size // 2 if took > 2 * SECONDS
                                  else size))


def _show(made: Made, part: _Part, kept: Sequence[str], added: Mapping[str, str]) -> None:
    """Keep the first rows for a person to look at, as `head`."""
    few = SHOWN - len(made.head)
    if few <= 0:
        return
    from engine.data.read import shown

    rows = shown(part.rows.select([name for name in kept if name in part.rows.schema.names]).slice(0, few))
    for row, filled in zip(rows, part.filled, strict=False):
        values = row | {added.get(name, name): value for name, value in filled.items()}
        made.head.append({name: _short(value) for name, value in values.items()})


def _short(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"path", "bytes"}:
        value = value["path"]
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_LETTERS else text[:SHOWN_LETTERS - 1] + "…"
