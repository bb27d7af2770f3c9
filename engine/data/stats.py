"""What a person wants to know about a dataset before paying for training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from engine.data import answer_counts, blocks, cells, ids
from engine.data.compute import pc
from engine.data.errors import Cancelled
from engine.data.findings import note, some, warning
from engine.data.histogram import Histogram, histogram
from engine.data.tally import Tally, hashes, key_of
from engine.findings import Finding

if TYPE_CHECKING:
    from engine.tasks.base import Task

#: Rows tokenised at most; more would only make the histogram slower, not different.
TOKENISED = 20_000
SEED = 0
#: Seconds between two looks at what is known so far.
EVERY = 1.5
#: Progress when the labels are counted, and when all rows are.
LABELLED, COUNTED = 0.05, 0.97


class Duplicates(BaseModel):
    """Rows whose input stands in an earlier row: how many, how many with another answer, the first as examples."""

    count: int = 0
    conflicting: int = 0
    conflicting_rows: list[int] = []
    examples: list[dict[str, Any]] = []


class Overlap(BaseModel):
    """Evaluation rows whose input also stands in training: count, share, the first row numbers."""

    count: int = 0
    share: float = 0.0
    rows: list[int] = []


class DatasetStats(BaseModel):
    """Statistics of a dataset for one task and choice of columns.

    `labels` and what belongs to it is as `answer_counts.of` returns it. `beyond` is what becomes of a text that is
    longer than the model takes: it is cut, or read in windows. `counted` tells of how many rows they are as long as
    counting goes on; `labels_counted` of how many rows drawn at random the labels are, where there are too many to
    count. Repeats are told by 64-bit hashes of the texts.
    """

    rows: int
    counted: int | None = None
    labels_counted: int | None = None
    eval_rows: int | None = None
    empty: dict[str, int]
    duplicates: Duplicates
    labels: dict[str, int] = {}
    labels_of: str = "rows"
    label_count: int = 0
    label_numbers: Histogram | None = None
    characters: Histogram | None = None
    tokens: Histogram | None = None
    beyond: str = "cut"
    messages: Histogram | None = None
    overlap: Overlap | None = None
    findings: list[Finding] = []


def summarise(table: blocks.Source, task: Task, columns: Mapping[str, str], *, tokenizer: Any = None,
              max_length: int | None = None, eval_table: blocks.Source | None = None,
              progress: Callable[[float], None] | None = None, cancelled: Callable[[], bool] | None = None,
              partial: Callable[[DatasetStats], None] | None = None) -> DatasetStats:
    """Return the statistics, of a table or of rows that stay in their file; memory grows by some bytes a row.

    Token lengths, where there is a tokenizer (a `tokenizers.Tokenizer` or a transformers one), are those of at most
    20,000 rows (a seeded sample). Roles without a column are passed over. `partial` gets what is known so far every
    EVERY seconds. Raises Cancelled.
    """
    step = _Steps(progress, cancelled)
    step.at(0.0)
    columns = {role: name for role, name in columns.items() if name in blocks.names(table)}
    total = blocks.rows(table)
    known = {"eval_rows": None if eval_table is None else blocks.rows(eval_table)} | {"beyond": task.beyond} \
        | answer_counts.of(table, task, columns)
    step.at(LABELLED)
    tally = _tally(task, columns, tokenizer, total)
    shown = time.monotonic()
    for start, block in blocks.of(table):
        tally.add(start, block, step.stay)
        step.at(LABELLED + (COUNTED - LABELLED) * tally.rows / total)
        if partial is not None and time.monotonic() - shown > EVERY and tally.rows < total:
            partial(_made(table, tally, known | {"counted": tally.rows}, total, max_length))
            shown = time.monotonic()
    if eval_table is not None:
        known["overlap"] = _overlap(tally, eval_table, step)
    stats = _made(table, tally, known, total, max_length)
    step.at(1.0)
    return stats.model_copy(update={"findings": [*_findings(stats), *ids.check(table, eval_table)]})


def _tally(task: Task, columns: Mapping[str, str], tokenizer: Any, total: int) -> Tally:
    inputs, answers = _inputs(task, columns), [role for role in columns if role in task.answers]
    if set(answers) & set(inputs):
        answers = []
    if getattr(tokenizer, "truncation", None):
        # A tokenizers.Tokenizer remembers to truncate; the caller's is left as it is.
        tokenizer = type(tokenizer).from_str(tokenizer.to_str())
        tokenizer.no_truncation()
    sample = np.sort(np.random.default_rng(SEED).choice(total, TOKENISED, replace=False)) \
        if total > TOKENISED else None
    return Tally(task, columns, [columns[role] for role in inputs], [columns[role] for role in answers],
                 tokenizer, sample)


def _made(table: blocks.Source, tally: Tally, known: Mapping[str, Any], total: int,
          max_length: int | None) -> DatasetStats:
    """Return what the tally and what else is known come to."""
    spread = {name: None if (values := tally.found(name)) is None else histogram(values)
              for name in ("characters", "messages")}
    lengths = tally.found("tokens")
    tokens = None if lengths is None else histogram(lengths, limit=max_length, sampled=tally.sample is not None)
    return DatasetStats(rows=total, empty=dict(tally.empty) or dict.fromkeys(blocks.names(table), 0),
                        duplicates=_duplicates(table, tally), tokens=tokens, **spread, **known)


class _Steps:
    """Progress and cancellation between the steps of the counting."""

    def __init__(self, progress: Callable[[float], None] | None, cancelled: Callable[[], bool] | None) -> None:
        self.progress = progress
        self.cancelled = cancelled

    def at(self, fraction: float) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled()
        if self.progress is not None:
            self.progress(fraction)

    def stay(self) -> None:
        """Raise Cancelled when asked to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled()


def _inputs(task: Task, columns: Mapping[str, str]) -> list[str]:
    """Return the roles that make up what the model is given; for chats and plain texts, the whole row."""
    given = [role for role in ("text", "text_pair", "prompt", "system", "image") if role in columns]
    if not {"text", "prompt", "image"} & set(given):
        given = [role for role in columns if role not in task.answers]
    return given or list(columns)


def _duplicates(table: blocks.Source, tally: Tally) -> Duplicates:
    """Return which of the rows so far repeat an earlier one's input, and which of them have another answer."""
    codes, answer = tally.found("keys"), tally.found("answers")
    if codes is None or not len(codes) or not tally.inputs:
        return Duplicates()
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    original = first[inverse]
    later = np.flatnonzero(original != np.arange(len(codes)))
    conflicting = np.zeros(len(codes), dtype=bool) if answer is None else answer != answer[original]
    rows, count = cells.rows_where(pa.array(conflicting))
    return Duplicates(count=len(later), conflicting=count, conflicting_rows=rows,
                      examples=[{"row": int(row) + 1, "same_as": int(original[row]) + 1, "text": text[:200],
                                 "conflicting": bool(conflicting[row])}
                                for row, text in zip(later[:5], _named(table, tally, later[:5]), strict=True)])


def _named(table: blocks.Source, tally: Tally, places: np.ndarray) -> list[str]:
    """Return what a person calls the rows at these places: their input, or the name of their image."""
    found = blocks.take(table, places.tolist(), list(dict.fromkeys(tally.inputs)))
    pictured = next((found.column(name) for name in tally.inputs if cells.is_image(found.column(name))), None)
    return [str(text) for text in (key_of(found, tally.inputs) if pictured is None
                                   else cells.image_names(pictured)).to_pylist()]


def _overlap(tally: Tally, eval_table: blocks.Source, step: _Steps) -> Overlap:
    """Return which evaluation rows have the input of a training row."""
    known, there = tally.found("keys"), []
    inputs = list(tally.inputs)
    if not inputs or not set(inputs) <= set(blocks.names(eval_table)):
        return Overlap()
    for _, block in blocks.of(eval_table, list(dict.fromkeys(inputs))):
        there.append(np.isin(hashes(key_of(block, inputs)), known if known is not None else []))
        step.stay()
    if not there:
        return Overlap()
    mask = np.concatenate(there)
    rows, count = cells.rows_where(pa.array(mask))
    return Overlap(count=count, share=count / len(mask), rows=rows)


def repeated(task: Task, columns: Mapping[str, str], table: pa.Table, eval_table: pa.Table) -> list[Finding]:
    """Return what is said of rows to evaluate on whose input is one to learn from, of tables that hold both."""
    inputs = [columns[role] for role in _inputs(task, columns)]
    if not inputs or not set(inputs) <= set(table.column_names) & set(eval_table.column_names):
        return []
    rows, count = cells.rows_where(pc.is_in(key_of(eval_table, inputs), value_set=key_of(table, inputs)))
    return [_repeats(rows, count)] if count else []


def _repeats(rows: list[int], count: int) -> Finding:
    return some("warning", "eval_overlap", "The evaluation file repeats inputs of the training file", rows, count,
                "The result will look better than it is; remove these rows from one of the files.", "")


def _findings(stats: DatasetStats) -> list[Finding]:
    """Return what the numbers say that a person should decide about."""
    found: list[Finding] = []
    twice, overlap, tokens = stats.duplicates, stats.overlap, stats.tokens
    if twice.conflicting:
        found.append(some("warning", "duplicates_conflict", "The same input has another answer than before",
                          twice.conflicting_rows, twice.conflicting,
                          "Decide which answer is right, or keep both if they may differ.", ""))
    if twice.count > 0.01 * stats.rows and twice.count > 1:
        found.append(warning(
            "duplicates", f"{twice.count:,} of {stats.rows:,} rows repeat the input of an earlier row.", "",
            "Repeats weigh more, and may stand in training and evaluation; remove them if unwanted."))
    if overlap is not None and overlap.count:
        found.append(_repeats(overlap.rows, overlap.count))
    if tokens is not None and tokens.limit and tokens.over and stats.beyond == "windows":
        found.append(note("read_in_windows", f"{tokens.over:.1%} of the rows are longer than {tokens.limit:,} tokens; "
                          "they are read in several windows that overlap.", "max_length",
                          f"Raise max length for fewer windows: 95 % of the rows fit in {tokens.p95:,.0f}."))
    elif tokens is not None and tokens.limit and tokens.over:
        found.append(warning("too_long", f"{tokens.over:.1%} of the rows are longer than {tokens.limit:,} tokens and "
                             "will be cut.", "max_length", f"Raise max length (95 % of the rows fit in "
                             f"{tokens.p95:,.0f}, the longest has {tokens.max:,.0f}), or shorten the texts."))
    if tokens is not None and tokens.sampled:
        what = f"Token lengths are those of {tokens.rows:,} rows chosen at random."
        found.append(note("tokens_sampled", what, "", ""))
    if stats.labels_counted is not None:
        what = f"Labels are those of {stats.labels_counted:,} rows chosen at random; all are too long to count."
        found.append(note("labels_sampled", what, "", "Check that this column is the label."))
    return found
