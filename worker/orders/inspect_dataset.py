"""Order `inspect_dataset`: turn an uploaded file into parquet, guess its columns, and count what is in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine import tasks
from engine.data.findings import beyond
from engine.errors import StudioError
from engine.findings import Finding
from worker.line import Line

#: Share of the progress bar that reading the file takes; the rest is counting.
READING = 0.6
#: Findings about rows to learn from; they say nothing against rows to evaluate on.
LEARNING = frozenset({"one_row", "few_rows", "one_label", "text_constant", "label_rare", "label_unbalanced"})


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Return what to store with the dataset.

    `order`: original (path, None when the parquet file is there already), parquet (path), and what is known so far:
    source, task, columns, options, eval_parquet, model and max_length (for lengths in tokens), whether the dataset
    `evaluates` another, and what was noticed while `reading` it. A version is
    made of the rows of `base`, the one before, and `edits`. Findings of reading carry `reading`: counting again
    cannot see them. Raises DataError, Cancelled.
    """
    import pyarrow.parquet as pq

    from engine.data import columns, read
    from engine.data.source import Source

    parquet, outcome = Path(order["parquet"]), {}
    findings: list[Any] = []
    if order["original"] is not None:
        known = Source.model_validate(order["source"]) if order.get("source") else None
        ingested = read.ingest(Path(order["original"]), parquet, known, cancelled=line.cancelled,
                               progress=lambda part: line.progress(READING * part, "Reading"))
        findings = [plain(finding) | {"reading": True} for finding in ingested.findings]
        outcome = {"rows": ingested.rows, "source": plain(ingested.source), "sha256": ingested.sha256}
    elif order.get("base"):
        outcome = _edited(order, parquet, line)
    table = pq.read_table(parquet, memory_map=True)
    guess = columns.guess(table.slice(0, 2000))
    task_name, chosen = order.get("task") or guess.task, order.get("columns") or guess.columns
    options = order.get("options") or (guess.options if task_name == guess.task else {})
    stats, more = _count(order, table, task_name, chosen, options, line)
    line.progress(1.0, "Done")
    more = beyond(findings if order["original"] is not None else order.get("reading") or [], more)
    return outcome | {"guess": plain(guess), "task": task_name, "columns": dict(chosen), "options": options,
                      "findings": findings + more, "stats": stats}


def _edited(order: dict[str, Any], parquet: Path, line: Line) -> dict[str, Any]:
    """Write the rows of the version before with what was changed; raises DataError, Cancelled."""
    from engine.data import edits

    rows, sha256 = edits.write(Path(order["base"]), edits.together(edits.parse(order["edits"])), parquet,
                               lambda part: line.progress(READING * part, "Writing"), line.cancelled)
    return {"rows": rows, "sha256": sha256}


def _count(order: dict[str, Any], table: Any, task_name: str, chosen: dict[str, str], options: dict[str, Any],
           line: Line) -> tuple[dict[str, Any] | None, list[Any]]:
    """Return statistics and findings; a column choice that does not fit yet is a finding, not a failure."""
    import pyarrow.parquet as pq

    from engine.data import stats, validate

    if not table.num_rows or not task_name or not chosen:
        return None, [plain(finding) for finding in validate.unrecognised(table)]
    evaluation = pq.read_table(order["eval_parquet"], memory_map=True) if order.get("eval_parquet") else None
    # Images have no length in tokens.
    tokenizer = _tokenizer(order.get("model"), line) if tasks.get(task_name).reads == "text" else None
    try:
        task = tasks.get(task_name)(**options)
        findings = [plain(finding) for finding in task.check(table, chosen, evaluation)]
        summary = stats.summarise(table, task, chosen, tokenizer=tokenizer, max_length=order.get("max_length"),
                                  eval_table=evaluation, cancelled=line.cancelled,
                                  progress=lambda part: line.progress(READING + (1 - READING) * part, "Counting"))
    except StudioError as error:
        if error.kind == "cancelled":
            raise
        return None, [Finding.model_validate({"level": "error"} | error.as_dict()).model_dump(mode="json")]
    seen = {finding["kind"] for finding in findings}
    findings += [plain(more) for more in summary.findings if more.kind not in seen]
    if order.get("evaluates"):
        findings = [finding for finding in findings if finding["kind"] not in LEARNING]
    return plain(summary), findings


def _tokenizer(model_id: str | None, line: Line) -> Any:
    if not model_id:
        return None
    from engine import models

    return models.tokenizer_of(models.locate(model_id, cancelled=line.cancelled).path)


def plain(value: Any) -> Any:
    """Return a pydantic model or dataclass as JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value
