"""Order `batch`: ask a model about every row of a file, or judge an adapter on a dataset."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import DataError
from worker.line import Line
from worker.orders import prepared

#: Shares of the progress bar: reading the file, then loading the model; asking takes the rest.
READING, LOADING = 0.1, 0.2
#: Rows that columns are recognised by.
LOOKED_AT = 2000
#: What the one adapter is called while it is attached.
IT = "it"


class NoRows(DataError):
    """'{name}' has no rows."""

    kind = "no_rows"
    try_this = "Choose a file with at least one row beneath its header."


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Return what came of it: what became of the rows, or the report of an evaluation.

    `order`: what (predict, evaluate), name of the rows, original (path) or parquet (path) with its own `names` and
    steps of preparation, columns, adapter (folder, null for the base itself), model, revision, quantization, task,
    data_dir; to predict also options, format, out (path) and what is to be repeated on the rows, `prepare`. Raises
    DataError, ModelError, Cancelled.
    """
    from engine.bulk.holding import held

    quantization, noticed = held(order.get("quantization"))
    order = order | {"quantization": quantization}
    findings = [finding.model_dump(mode="json") for finding in noticed]
    with _rows(order, line, findings) as (parquet, names):
        made: dict[str, Any] = _judged(order, line, parquet) if order["what"] == "evaluate" else \
            _predicted(order, line, parquet, names) | {"bytes": Path(order["out"]).stat().st_size}
    return made | {"findings": findings + made.get("findings", []), "held": quantization}


@contextmanager
def _rows(order: dict[str, Any], line: Line, findings: list[dict[str, Any]]) -> Iterator[tuple[Path, Any]]:
    """Yield the rows as parquet and the columns the file came with (None: all); adds what reading noticed."""
    from engine.data import read

    if order.get("parquet"):
        with prepared.files(Path(order["parquet"]), None, order.get("steps") or [], evaluates=True) as (path, _):
            # Steps rename and drop: what is there then is what the rows are made of.
            yield path, None if order.get("steps") else order.get("names")
        return
    with tempfile.TemporaryDirectory(prefix="batch-") as folder:
        path = Path(folder) / "rows.parquet"
        # Rows that do not fit are left out of the file that comes back, and said to be: the others are asked.
        original = Path(order["original"])
        source = read.sniff(original).model_copy(update={"faulty": "skip"})
        made = read.ingest(original, path, source, cancelled=line.cancelled,
                           progress=lambda part: line.progress(READING * part, "Reading the file"))
        findings += [finding.model_dump(mode="json") for finding in made.findings]
        yield path, made.source.columns or None


def _predicted(order: dict[str, Any], line: Line, parquet: Path, names: list[str] | None) -> dict[str, Any]:
    from engine.bulk.predicting import Made, Predicting, planned
    from engine.data.paging import Rows

    rows = Rows(parquet)
    if not rows.total:
        raise NoRows(order["name"], name=order["name"])
    folder = Path(order["adapter"]) if order["adapter"] else None
    head = rows.take(range(1, min(LOOKED_AT, rows.total) + 1))
    prepares, columns = planned(order["task"], head, folder, order["columns"], order.get("prepare") or [])
    player = _player(order, line)

    def tell(made: Made) -> None:
        line.progress(LOADING + (1 - LOADING) * made.rows / made.total, "Predicting", **made.as_dict())

    kept = names if names and set(names) <= set(head.column_names) else None
    made = Predicting(player, IT if folder else None, columns, order["options"], prepares).write(
        parquet, Path(order["out"]), order["format"], names=kept, report=tell, cancelled=line.cancelled)
    return made.as_dict()


def _judged(order: dict[str, Any], line: Line, parquet: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    from engine.bulk.judging import Judging
    from engine.journal import finite

    began = time.monotonic()
    player = _player(order, line)
    judging = Judging(player, IT, cancelled=line.cancelled, report=lambda part: line.progress(
        LOADING + (1 - LOADING) * part, "Evaluating"))
    made = judging.judge(pq.read_table(parquet), order["columns"])
    return {"evaluation": finite(made.report.model_dump(mode="json")), "rows": made.report.rows,
            "findings": [finding.model_dump(mode="json") for finding in made.findings],
            "seconds": time.monotonic() - began}


def _player(order: dict[str, Any], line: Line) -> Any:
    """Load the base model, once, and the adapter on it."""
    from engine import models
    from engine.predict import Player

    located = models.locate(order["model"], revision=order.get("revision"), data_dir=Path(order["data_dir"]),
                            cancelled=line.cancelled, progress=lambda part: line.progress(READING, "Fetching"))
    line.progress(READING, "Loading the model")
    player = Player(located.path, order["task"], quantization=order["quantization"])
    if order["adapter"]:
        player.attach(IT, Path(order["adapter"]))
    return player
