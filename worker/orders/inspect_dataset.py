"""Order `inspect_dataset`: turn an uploaded file into parquet, guess its columns, and count what is in it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine import tasks
from engine.data.findings import beyond
from engine.errors import DataError, StudioError
from engine.findings import Finding
from worker.line import Line
from worker.orders import prepared

#: Share of the progress bar that fetching from the Hub takes where that is to be done, and that both this and reading
#: the file take; the rest is counting.
FETCHING, READING = 0.4, 0.6
#: Bytes of a file, unpacked, of which only the columns that play a part are held while they are checked.
LARGE = 256 << 20
#: Rows that parts are guessed from.
GUESSED = 2_000
#: Findings about rows to learn from; they say nothing against rows to evaluate on.
LEARNING = frozenset({"one_row", "few_rows", "one_label", "text_constant", "label_rare", "label_unbalanced"})


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Return what to store with the dataset.

    `order`: original (path, None when the parquet file is there already), parquet (path), and what is known so far:
    source, task, columns, options, eval_parquet, model and max_length (for lengths in tokens), whether the dataset
    `evaluates` another, and what was noticed while `reading` it. A version is made of the rows of `base`, the one
    before, and `edits`; one whose origin is given as `hub` is fetched. What is guessed and counted are the rows after
    the `steps` of preparation. Findings of reading carry `reading`: counting again cannot see them. What is known so
    far goes with the progress of counting, under the same names. Raises DataError, Cancelled.
    """
    from engine.data import read
    from engine.data.paging import Rows
    from engine.data.source import Source

    parquet, outcome = Path(order["parquet"]), {}
    findings: list[Any] = []
    if order["original"] is not None or order.get("hub"):
        known = Source.model_validate(order["source"]) if order.get("source") else None
        with _original(order, parquet, line) as (original, start, fetched):
            ingested = read.ingest(original, parquet, known, cancelled=line.cancelled,
                                   progress=lambda part: line.progress(start + (READING - start) * part, "Reading"))
        findings = [*fetched.pop("findings", []), *(plain(finding) for finding in ingested.findings)]
        findings = [finding | {"reading": True} for finding in findings]
        outcome = {"rows": ingested.rows, "source": plain(ingested.source), "sha256": ingested.sha256} | fetched
    elif order.get("base"):
        outcome = _edited(order, parquet, line)
    outcome["findings"] = findings
    evaluation = Path(order["eval_parquet"]) if order.get("eval_parquet") else None
    try:
        with prepared.files(parquet, evaluation, order.get("steps") or [],
                            evaluates=bool(order.get("evaluates"))) as paths:
            return outcome | _counted(order, *paths, outcome, line)
    except StudioError as error:
        if error.kind == "cancelled" or not order.get("steps"):
            raise
        # A step that cannot be done forbids training, but says nothing against the file.
        failed = Finding.model_validate({"level": "error"} | error.as_dict()).model_dump(mode="json")
        return outcome | _chosen(order, _guess(Rows(parquet))) | {
            "findings": [*findings, failed | {"preparing": True}], "stats": None}


@contextmanager
def _original(order: dict[str, Any], parquet: Path,
              line: Line) -> Generator[tuple[Path, float, dict[str, Any]], None, None]:
    """Give the file to read, the share of the progress bar that is used up, and what to store of its fetching."""
    if order["original"] is not None:
        yield Path(order["original"]), 0.0, {}
        return
    from engine import hub_data

    origin = order["hub"]
    listing = hub_data.look(origin["hub"], origin.get("revision"), Path(order["data_dir"]) / "hub")
    chosen = listing.choose(origin.get("config") or "", origin.get("split") or "", origin.get("eval_split"))
    with tempfile.TemporaryDirectory(prefix="fetched-", dir=parquet.parent) as folder:
        fetched = hub_data.fetch(listing, chosen.config, chosen.split, Path(folder), cancelled=line.cancelled,
                                 progress=lambda part: line.progress(FETCHING * part, "Fetching"))
        told = {**origin, **chosen._asdict(), "revision": listing.revision, "files": fetched.files,
                "licence": listing.licence, "converted": listing.converted}
        yield fetched.path, FETCHING, {"origin": told, "bytes": fetched.bytes,
                                       "findings": [plain(finding) for finding in fetched.findings]}


def _counted(order: dict[str, Any], parquet: Path, evaluation: Path | None, outcome: dict[str, Any],
             line: Line) -> dict[str, Any]:
    """Return what the columns are guessed to be, and what was counted in the rows of a file."""
    from engine.data.paging import Rows

    findings, rows = outcome["findings"], Rows(parquet)
    order = order | {"eval_parquet": str(evaluation) if evaluation else None}
    guess = _guess(rows)
    outcome = outcome | {"guess": plain(guess)} | _chosen(order, guess)
    stats, more = _count(order, rows, outcome, line)
    line.progress(1.0, "Done")
    more = beyond(findings if order["original"] is not None or order.get("hub") else order.get("reading") or [], more)
    return outcome | {"findings": findings + more, "stats": stats}


def _guess(rows: Any) -> Any:
    from engine.data import columns

    return columns.guess(rows.take(range(1, min(GUESSED, rows.total) + 1)))


def _chosen(order: dict[str, Any], guess: Any) -> dict[str, Any]:
    """Return task, columns and options: those that are known, else those that were guessed."""
    task = order.get("task") or guess.task
    return {"task": task, "columns": dict(order.get("columns") or guess.columns),
            "options": order.get("options") or (guess.options if task == guess.task else {})}


def _edited(order: dict[str, Any], parquet: Path, line: Line) -> dict[str, Any]:
    """Write the rows of the version before with what was changed; raises DataError, Cancelled."""
    from engine.data import edits

    rows, sha256 = edits.write(Path(order["base"]), edits.together(edits.parse(order["edits"])), parquet,
                               lambda part: line.progress(READING * part, "Writing"), line.cancelled)
    return {"rows": rows, "sha256": sha256, "bytes": parquet.stat().st_size}


def _count(order: dict[str, Any], rows: Any, outcome: dict[str, Any],
           line: Line) -> tuple[dict[str, Any] | None, list[Any]]:
    """Return statistics and findings; a column choice that does not fit yet is a finding, not a failure."""
    from engine.data import stats, validate
    from engine.data.paging import Rows

    task_name, chosen, options = outcome["task"], outcome["columns"], outcome["options"]
    if not rows.total or not task_name or not chosen:
        return None, [plain(finding) for finding in validate.unrecognised(_table(rows, chosen))]
    evaluation = Rows(Path(order["eval_parquet"])) if order.get("eval_parquet") else None
    known: dict[str, Any] = {}

    def partial(found: stats.DatasetStats) -> None:
        known.update(outcome, stats=plain(found))

    # Images have no length in tokens.
    tokenizer = _tokenizer(order.get("model"), line) if tasks.get(task_name).reads == "text" else None
    try:
        task = tasks.get(task_name)(**options)
        findings = [plain(finding) for finding in task.check(
            _table(rows, chosen), chosen, _table(evaluation, chosen) if evaluation else None)]
        summary = stats.summarise(
            rows, task, chosen, tokenizer=tokenizer, max_length=order.get("max_length"), eval_table=evaluation,
            cancelled=line.cancelled, partial=partial,
            progress=lambda part: line.progress(READING + (1 - READING) * part, "Counting", **known))
    except StudioError as error:
        if error.kind == "cancelled":
            raise
        return None, [Finding.model_validate({"level": "error"} | error.as_dict()).model_dump(mode="json")]
    if lost := _lost(order, chosen):
        # What else is found comes of the columns that are missing.
        return plain(summary), lost
    seen = {finding["kind"] for finding in findings}
    findings += [plain(more) for more in summary.findings if more.kind not in seen]
    if order.get("evaluates"):
        findings = [finding for finding in findings if finding["kind"] not in LEARNING]
    return plain(summary), findings


def _lost(order: dict[str, Any], chosen: dict[str, str]) -> list[dict[str, Any]]:
    """Return an error for each column that plays a part and that a step takes away."""
    import pyarrow.parquet as pq

    from engine import preparation

    if not order.get("steps"):
        return []
    steps, known = preparation.parse(order["steps"]), pq.read_schema(order["parquet"]).names
    try:
        found = preparation.lost(preparation.for_evaluation(steps) if order.get("evaluates") else steps, known, chosen)
    except DataError:
        # Rows to evaluate on may lack what a step speaks of.
        return []
    return [Finding.model_validate({"level": "error"} | error.as_dict()).model_dump(mode="json") for error in found]


def _table(rows: Any, chosen: dict[str, str]) -> Any:
    """Return all rows; of a large file only the columns that play a part, the others empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if rows.bytes <= LARGE:
        return pq.read_table(rows.path)
    table = pq.read_table(rows.path, columns=[name for name in rows.columns if name in set(chosen.values())])
    for place, name in enumerate(rows.columns):
        if name not in table.column_names:
            table = table.add_column(place, name, pa.nulls(rows.total))
    return table


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
