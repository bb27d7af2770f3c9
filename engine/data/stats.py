"""What a person wants to know about a dataset before paying for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from engine.data import cells
from engine.data.compute import pc
from engine.data.errors import Cancelled
from engine.data.findings import note, some, warning
from engine.data.histogram import Histogram, histogram, nothing
from engine.findings import Finding

if TYPE_CHECKING:
    from engine.tasks.base import Task

#: Rows tokenised at most; more would only make the histogram slower, not different.
TOKENISED = 20_000
#: Characters tokenised of one row at most.
LONGEST_TEXT = 200_000
MOST_LABELS = 1_000
SEED = 0


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
    """Statistics of a dataset for one task and choice of columns."""

    rows: int
    eval_rows: int | None = None
    empty: dict[str, int]
    duplicates: Duplicates
    labels: dict[str, int] = {}
    label_count: int = 0
    label_numbers: Histogram | None = None
    characters: Histogram | None = None
    tokens: Histogram | None = None
    messages: Histogram | None = None
    overlap: Overlap | None = None
    findings: list[Finding] = []


def summarise(table: pa.Table, task: Task, columns: Mapping[str, str], *, tokenizer: Any = None,
              max_length: int | None = None, eval_table: pa.Table | None = None,
              progress: Callable[[float], None] | None = None,
              cancelled: Callable[[], bool] | None = None) -> DatasetStats:
    """Return the statistics; token lengths of at most 20,000 rows (seeded sample) when there is a tokenizer.

    `tokenizer` is a `tokenizers.Tokenizer` or a transformers one. Roles without a column are
    passed over. Raises Cancelled.
    """
    step = _Steps(progress, cancelled)
    columns = {role: name for role, name in columns.items() if name in table.column_names}
    inputs, answers = _inputs(columns), _answers(columns)
    step.at(0.05)
    empty = {name: int(pc.sum(_empty(table.column(name))).as_py() or 0) for name in table.column_names}
    step.at(0.2)
    keys = key_of(table, [columns[role] for role in inputs])
    duplicates = _duplicates(keys, table, columns, answers)
    step.at(0.4)
    names, count, numbers = _labels(table, task, columns)
    characters = histogram(_characters(table, list(columns.values())))
    step.at(0.5)
    overlap = None if eval_table is None else _overlap(keys, eval_table, [columns[role] for role in inputs])
    tokens = None
    if tokenizer is not None and table.num_rows:
        tokens = _tokens(table, task, columns, tokenizer, max_length, step)
    stats = DatasetStats(
        rows=table.num_rows, eval_rows=None if eval_table is None else eval_table.num_rows, empty=empty,
        duplicates=duplicates, labels=names, label_count=count, label_numbers=numbers, characters=characters,
        tokens=tokens, messages=_message_counts(table, columns), overlap=overlap)
    step.at(1.0)
    return stats.model_copy(update={"findings": _findings(stats)})


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


def _inputs(columns: Mapping[str, str]) -> list[str]:
    """Return the roles that make up what the model is given; for chats and plain texts, the whole row."""
    given = [role for role in ("text", "text_pair", "prompt", "system", "image") if role in columns]
    return given if {"text", "prompt", "image"} & set(given) else list(columns)


def _answers(columns: Mapping[str, str]) -> list[str]:
    return [role for role in ("label", "completion") if role in columns]


def key_of(table: pa.Table, names: Sequence[str]) -> pa.Array:
    """Return one text a row that is equal for equal rows, case and outer blanks aside."""
    parts = [pc.fill_null(_flat(table.column(name)), "") for name in names if name in table.column_names]
    if not parts:
        return pa.array([""] * table.num_rows, pa.string())
    joined = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "\x1f")
    return pc.utf8_lower(pc.utf8_trim_whitespace(joined))


def _flat(column: pa.ChunkedArray) -> pa.Array:
    if cells.is_image(column):
        return cells.image_keys(column)
    if not cells.is_messages(column):
        return cells.strings(column)
    array = cells.whole(column)
    roles, texts = cells.message_field(array, "role"), cells.message_field(array, "content")
    return cells.joined(array, pc.binary_join_element_wise(pc.fill_null(roles, ""), pc.fill_null(texts, ""), ": "))


def _empty(column: pa.ChunkedArray) -> pa.Array:
    if cells.is_image(column):
        return pc.is_null(cells.image_names(column))
    if cells.is_text(column):
        return cells.blank(cells.strings(column))
    return pc.equal(pc.fill_null(pc.list_value_length(cells.whole(column)), 0), 0) \
        if cells.is_messages(column) or cells.is_list(column) else pc.is_null(cells.whole(column))


def _codes(keys: pa.Array) -> np.ndarray:
    return np.asarray(keys.dictionary_encode().indices)


def _duplicates(keys: pa.Array, table: pa.Table, columns: Mapping[str, str], answers: Sequence[str]) -> Duplicates:
    """Count rows whose input was there before, and inputs that have more than one answer."""
    if not len(keys):
        return Duplicates()
    codes = _codes(keys)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    original = first[inverse]
    later = np.flatnonzero(original != np.arange(len(codes)))
    conflicting = np.zeros(len(codes), dtype=bool)
    if len(later) and answers and not (set(answers) & set(_inputs(columns))):
        answer = _codes(key_of(table, [columns[role] for role in answers]))
        conflicting = answer != answer[original]
    pictured = next((table.column(columns[role]) for role in _inputs(columns)
                     if cells.is_image(table.column(columns[role]))), None)
    named = keys if pictured is None else cells.image_names(pictured)
    examples = [{"row": int(row) + 1, "same_as": int(original[row]) + 1, "text": str(named[int(row)].as_py())[:200],
                 "conflicting": bool(conflicting[row])} for row in later[:5]]
    rows, count = cells.rows_where(pa.array(conflicting))
    return Duplicates(count=len(later), conflicting=count, conflicting_rows=rows, examples=examples)


def _overlap(keys: pa.Array, eval_table: pa.Table, names: Sequence[str]) -> Overlap:
    if not eval_table.num_rows:
        return Overlap()
    there = pc.is_in(key_of(eval_table, names), value_set=pc.unique(keys))
    rows, count = cells.rows_where(there)
    return Overlap(count=count, share=count / eval_table.num_rows, rows=rows)


def _labels(table: pa.Table, task: Task, columns: Mapping[str, str]) -> tuple[dict[str, int], int, Histogram | None]:
    """Return the most frequent labels with their counts, how many there are, and a histogram of numeric labels."""
    name = columns.get("label")
    if name is None:
        return {}, 0, None
    problem = getattr(task, "problem", "single_label")
    column = table.column(name)
    if problem == "regression":
        numbers = np.asarray(cells.numbers(column).drop_null())
        return {}, 0, histogram(numbers[np.isfinite(numbers)], whole=False)
    if problem == "multi_label" or not cells.is_text(column):
        counts = cells.values_of(cells.several(column, getattr(task, "separator", "auto"))[0])
    else:
        counts = cells.values_of(cells.label_strings(column))
    return dict(list(counts.items())[:MOST_LABELS]), len(counts), None


def _characters(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Return the characters of each row over the chosen columns of text; nothing for images, which have no length."""
    if any(cells.is_image(table.column(name)) for name in names):
        return np.zeros(0, dtype=np.int64)
    total = np.zeros(table.num_rows, dtype=np.int64)
    for name in dict.fromkeys(names):
        total += np.asarray(pc.fill_null(pc.utf8_length(cells.strings(table.column(name))), 0))
    return total


def _message_counts(table: pa.Table, columns: Mapping[str, str]) -> Histogram | None:
    name = columns.get("messages")
    if name is None or not cells.is_messages(table.column(name)):
        return None
    return histogram(np.asarray(pc.fill_null(pc.list_value_length(cells.whole(table.column(name))), 0)))


def _tokens(table: pa.Table, task: Task, columns: Mapping[str, str], tokenizer: Any, max_length: int | None,
            step: _Steps) -> Histogram:
    """Return the token lengths of a seeded sample of rows, special tokens included."""
    chosen = table
    if table.num_rows > TOKENISED:
        picked = np.sort(np.random.default_rng(SEED).choice(table.num_rows, TOKENISED, replace=False))
        chosen = table.select(list(dict.fromkeys(columns.values()))).take(pa.array(picked))
    if getattr(tokenizer, "truncation", None):
        # A tokenizers.Tokenizer remembers to truncate; the caller's is left as it is.
        tokenizer = type(tokenizer).from_str(tokenizer.to_str())
        tokenizer.no_truncation()
    lengths: list[int] = []
    texts = [text[:LONGEST_TEXT] for text in task.texts(chosen, columns)]
    for start in range(0, len(texts), 1000):
        lengths += _lengths(tokenizer, texts[start:start + 1000])
        step.at(0.5 + 0.45 * start / len(texts))
    return histogram(np.array(lengths), limit=max_length, sampled=chosen is not table) or nothing()


def _lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    if hasattr(tokenizer, "encode_batch"):
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    return [len(ids) for ids in tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]]


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
        found.append(some("warning", "eval_overlap", "The evaluation file repeats inputs of the training file",
                          overlap.rows, overlap.count,
                          "The result will look better than it is; remove these rows from one of the files.", ""))
    if tokens is not None and tokens.limit and tokens.over:
        found.append(warning("too_long", f"{tokens.over:.1%} of the rows are longer than {tokens.limit:,} tokens and "
                             "will be cut.", "max_length", f"Raise max length (95 % of the rows fit in "
                             f"{tokens.p95:,.0f}, the longest has {tokens.max:,.0f}), or shorten the texts."))
    if tokens is not None and tokens.sampled:
        what = f"Token lengths are those of {tokens.rows:,} rows chosen at random."
        found.append(note("tokens_sampled", what, "", ""))
    return found
