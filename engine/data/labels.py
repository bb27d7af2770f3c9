"""What can be wrong with labels: one class a row, several, or numbers."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine.data import cells, decimals
from engine.data.compute import pc
from engine.data.findings import error, in_eval, listed, note, some, warning
from engine.findings import Finding

_DECIMAL, _NUMBER = re.compile(r"-?\d+\.0+"), re.compile(r"[-+]?\d+(?:\.\d+)?")
#: Classes that may mean that there is none.
_ODD = ("none", "null", "n/a", "#n/a", "na", "-", "?")
#: Times the middle half of the numbers spans, from which on a number is far from all others.
_FAR = 100


def check(table: pa.Table, column: str, problem: str = "single_label", separator: str = "auto") -> list[Finding]:
    """Return everything wrong or odd about the labels of training rows."""
    checks = {"regression": _numbers, "multi_label": _several}
    return checks[problem](table, column, separator) if problem in checks else _classes(table, column)


def _classes(table: pa.Table, column: str) -> list[Finding]:
    values = table.column(column)
    if not cells.is_text(values):
        return [error("label_not_plain", f"The column '{column}' holds lists, not one label a row.", column,
                      "Choose several labels (multi_label), or map another column.")]
    labels = cells.label_strings(values)
    rows, count = cells.rows_where(pc.is_null(labels))
    found: list[Finding] = []
    if count:
        found.append(some("error", "label_missing", f"The label '{column}' is empty or NaN", rows, count,
                          "Fill in the labels, remove these rows, or map another column.", column))
    names = cells.values_of(labels)
    found += _decimal(values, names, column)
    if len(names) == 1:
        only = next(iter(names))
        found.append(error("one_label", f"Every row has the label '{only}'; there is nothing to tell apart.",
                           column, "Add rows with other labels, or map another column."))
    if len(names) > max(20, table.num_rows // 2):
        found.append(warning("label_many", f"There are {len(names):,} different labels in {table.num_rows:,} rows.",
                             column, "If they are numbers choose regression; if they are texts map another column."))
    elif names:
        found += _spread(names, column, len(labels))
    return found


def _spread(names: dict[str, int], column: str, rows: int) -> list[Finding]:
    """Return warnings about classes: written differently, with one row, or nearly alone."""
    found = _alike(names, column)
    odd = [name for name in names if name.casefold() in _ODD]
    if odd and len(names) > 2:
        found.append(warning("label_odd", f"The label '{odd[0]}' stands {names[odd[0]]:,} times; it may mean "
                             "that there is none.", column, "Go on if it is a class of its own."))
    single = [name for name, count in names.items() if count == 1]
    if single and rows > 2:
        found.append(warning("label_rare", f"{_counted(single)} a single row: {listed(single[:5])}.", column,
                             "They are trained on but cannot be evaluated; add rows or join them with others."))
    most = next(iter(names))
    if len(names) > 1 and rows >= 20 and names[most] > 0.95 * rows:
        found.append(warning("label_unbalanced", f"{names[most] / rows:.0%} of the rows are '{most}'.", column,
                             "Always answering that looks good by accuracy; watch F1 and add rows of the others."))
    return found


def _numbers(table: pa.Table, column: str, separator: str) -> list[Finding]:
    values = table.column(column)
    numbers = cells.numbers(values)
    texts = pc.utf8_trim_whitespace(cells.strings(values)) if cells.is_text(values) else pa.array([], pa.string())
    rows, count = cells.rows_where(pc.invert(pc.fill_null(pc.is_finite(numbers), False)))
    if count:
        hint = "Write them without commas: 1,234 can be read as 1234 or as 1.234." if decimals.undecided(texts) else \
            "Correct these cells, or choose single_label for classes."
        return [some("error", "label_not_number", f"The label '{column}' is not a finite number", rows, count, hint,
                     column)]
    if pc.count_distinct(numbers).as_py() == 1 and table.num_rows > 1:
        return [error("one_label", f"Every row has the same number in '{column}'; there is nothing to learn.", column,
                      "Map another column.")]
    return _commas(texts, column) + _far(numbers, column)


def _commas(texts: pa.Array, column: str) -> list[Finding]:
    """Return how numbers with a decimal comma are read."""
    found = decimals.first(texts)
    return [note("decimal_commas", f"'{column}' has decimal commas: {found[0]} is read as {found[1]}.", column,
                 "Go on, or correct them if the comma means something else.")] if found else []


def _several(table: pa.Table, column: str, separator: str) -> list[Finding]:
    if cells.is_messages(table.column(column)):
        return [error("label_not_plain", f"The column '{column}' holds conversations, not labels.", column,
                      "Map another column.")]
    labels, parents = cells.several(table.column(column), separator)
    names = cells.values_of(labels)
    if not names:
        return [error("label_missing", f"No row has a label in '{column}'.", column, "Map another column.")]
    found = [*_alike(names, column), *_per_row(labels, parents, table.num_rows, column)]
    if len(names) == 1:
        found.append(error("one_label", f"'{next(iter(names))}' is the only label there is.", column,
                           "Add rows with other labels, or map another column."))
    if pc.count_distinct(parents).as_py() == len(parents) == table.num_rows:
        found.append(note("label_always_one", "Every row has exactly one label.", column,
                          "single_label fits better, unless the labels are joined by another separator."))
    return found


def evaluated(table: pa.Table, eval_table: pa.Table, column: str, problem: str = "single_label",
              separator: str = "auto") -> list[Finding]:
    """Return what is wrong with the labels of evaluation rows: missing, unknown in training, or all the same."""
    if problem == "regression":
        return in_eval([item for item in _numbers(eval_table, column, separator) if item.kind != "one_label"])
    if problem == "multi_label":
        known, _ = cells.several(table.column(column), separator)
        labels, parents = cells.several(eval_table.column(column), separator)
    else:
        if not (cells.is_text(table.column(column)) and cells.is_text(eval_table.column(column))):
            return []
        known, labels = cells.label_strings(table.column(column)), cells.label_strings(eval_table.column(column))
        parents = pa.array(range(len(labels)))
        missing = some("error", "label_missing", f"The label '{column}' is empty or NaN",
                       *cells.rows_where(pc.is_null(labels)), "Fill in the labels or remove these rows.", column)
        if missing.count:
            return in_eval([missing])
    unseen = pc.and_(pc.is_valid(labels), pc.invert(pc.is_in(labels, value_set=known.drop_null())))
    names = list(cells.values_of(labels.filter(unseen)))
    if not names:
        return _only_one(labels, column) if problem == "single_label" else []
    rows = sorted({int(row) + 1 for row in parents.filter(unseen).to_pylist()})
    return [some("error", "label_unseen", f"The evaluation file has labels that training lacks ({listed(names[:5])})",
                 rows[:cells.SHOWN], len(rows), "Add training rows with these labels, or remove the rows.", column)]


def _only_one(labels: pa.Array, column: str) -> list[Finding]:
    names = cells.values_of(labels)
    return [warning("eval_one_label", f"Every row of the evaluation file has the label '{next(iter(names))}', so only "
                    "that one is measured.", column, "Choose a file with rows of every label.")] \
        if len(names) == 1 and len(labels) > 1 else []


def _alike(names: Collection[str], column: str) -> list[Finding]:
    folded: dict[str, list[str]] = {}
    for name in names:
        key = " ".join(name.casefold().split())
        folded.setdefault(key.partition(".")[0] if _DECIMAL.fullmatch(key) else key, []).append(name)
    alike = next((group for group in folded.values() if len(group) > 1), None)
    return [warning("labels_alike", f"The labels {listed(alike)} differ only in capitals, blanks or a '.0'.", column,
                    "Write them alike if they mean the same.")] if alike else []


def _decimal(values: pa.ChunkedArray, names: Collection[str], column: str) -> list[Finding]:
    """Return what is said of classes written as numbers with a point, and of numbers among words."""
    whole = [name for name in names if _DECIMAL.fullmatch(name)]
    if names and (len(whole) == len(names) or (pt.is_floating(values.type) and all(map(str.isdigit, names)))):
        return [note("labels_decimal", f"The labels of '{column}' are whole numbers written with a point "
                     f"(such as {next(iter(whole), next(iter(names)) + '.0')}); each is a class.", column,
                     "Go on, write 1 for 1.0, or choose regression if they are amounts.")]
    numbers = [name for name in names if _NUMBER.fullmatch(name)]
    words = [name for name in names if name not in numbers and name.casefold() not in _ODD]
    if not numbers or not words:
        return []
    return [warning("labels_mixed", f"Some labels are numbers ({listed(numbers[:3])}), others words "
                    f"({listed(words[:3])}).", column, "Write all as one or the other if they mean the same.")]


def _far(numbers: pa.Array, column: str) -> list[Finding]:
    """Return a warning about numbers so far from the others that they alone decide the loss."""
    values = np.asarray(numbers)
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    if len(values) < 20 or high == low:
        return []
    rows, count = cells.rows_where(pa.array(np.abs(values - middle) > _FAR * (high - low)))
    return [some("warning", "label_far", f"The label '{column}' is far from all others", rows, count,
                 "Correct these numbers if they are slips; they outweigh the others.", column)] if count else []


def _per_row(labels: pa.Array, parents: pa.Array, rows: int, column: str) -> list[Finding]:
    """Return what is odd about how many labels rows have: none, or one of them twice."""
    place = np.asarray(parents, dtype=np.int64)
    codes = np.asarray(labels.dictionary_encode().indices, dtype=np.int64)
    bare, count = cells.rows_where(pa.array(np.bincount(place, minlength=rows) == 0))
    found = [some("note", "label_none", f"There is no label in '{column}'", bare, count,
                  "Go on if none applies; else fill them in.", column)] if count else []
    pairs, times = np.unique(np.stack([place, codes]), axis=1, return_counts=True)
    again = np.unique(pairs[0][times > 1]) + 1
    return found + ([some("warning", "label_twice", f"A label stands twice in a cell of '{column}'",
                          [int(row) for row in again[:cells.SHOWN]], len(again),
                          "It counts once. Go on, or correct these rows.", column)] if len(again) else [])


def _counted(labels: list[str]) -> str:
    return "1 label has" if len(labels) == 1 else f"{len(labels)} labels have"
