"""What can be wrong with the rows of a dataset: errors block training, warnings ask, notes inform."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from engine.data import cells, labels
from engine.data.compute import pc
from engine.data.errors import from_finding
from engine.data.findings import error, in_eval, listed, some, warning
from engine.data.messages import conversations
from engine.findings import Finding

__all__ = ["classification", "columns_there", "conversations", "images", "language", "raise_first_error", "table_size",
           "texts", "unrecognised"]

#: What stands for letters that were lost, and UTF-8 read as an older encoding; the first are looked for quickly.
_GARBLED = ("\ufffd", "Ã", "â€")
_GARBLED_LETTER = "\ufffd|Ã[\u00a0-\u00bf]|â€[\u0098-\u009d\u2122\u0153\u201c\u201d\u00a6\u02dc]"


def raise_first_error(findings: Iterable[Finding], name: str = "") -> None:
    """Raise FoundFault for the first finding of level "error"; `name` is the file it is about."""
    for finding in findings:
        if finding.level == "error":
            raise from_finding(finding, name)


def classification(table: pa.Table, columns: Mapping[str, str], problem: str = "single_label", *,
                   eval_table: pa.Table | None = None, separator: str = "auto") -> list[Finding]:
    """Return everything wrong or odd about texts (role `text`, `text_pair`) and their `label`."""
    found = columns_there(table, columns, ("text", "label"), eval_table)
    if found:
        return found
    found = table_size(table, eval_table)
    for role in ("text", "text_pair"):
        if role in columns:
            found += texts(table, columns[role])
            found += in_eval(texts(eval_table, columns[role], few=True)) if eval_table is not None else []
    if not table.num_rows:
        return found
    column = columns["label"]
    found += labels.check(table, column, problem, separator)
    if eval_table is not None and eval_table.num_rows:
        found += labels.evaluated(table, eval_table, column, problem, separator)
    return _ordered(found)


def images(table: pa.Table, columns: Mapping[str, str], *, eval_table: pa.Table | None = None) -> list[Finding]:
    """Return everything wrong or odd about images (role `image`) and their `label`."""
    found = columns_there(table, columns, ("image", "label"), eval_table)
    if found:
        return found
    found = table_size(table, eval_table)
    for part in (table, eval_table):
        if part is not None and part.num_rows:
            more = _pictures(part.column(columns["image"]), columns["image"])
            found += more if part is table else in_eval(more)
    if table.num_rows:
        found += labels.check(table, columns["label"])
    if eval_table is not None and eval_table.num_rows:
        found += labels.evaluated(table, eval_table, columns["label"])
    return _ordered(found)


def _pictures(values: pa.ChunkedArray, column: str) -> list[Finding]:
    if not cells.is_image(values):
        return [error("not_images", f"The column '{column}' holds no images.", column,
                      "Map a column of images: a zip archive with a folder for each class, or parquet.")]
    rows, count = cells.rows_where(pc.is_null(cells.image_names(values)))
    return [some("error", "image_missing", f"There is no image in '{column}'", rows, count,
                 "Remove these rows, or add the images.", column)] if count else []


def language(table: pa.Table, columns: Mapping[str, str], *, eval_table: pa.Table | None = None) -> list[Finding]:
    """Return everything wrong or odd about conversations, prompts with completions, or plain texts."""
    needed = ("messages",) if "messages" in columns else \
        ("prompt", "completion") if {"prompt", "completion"} & set(columns) else ("text",)
    found = columns_there(table, columns, needed, eval_table)
    if found:
        return found
    found = table_size(table, eval_table)
    for part in (table, eval_table):
        if part is None or not part.num_rows:
            continue
        few = part is eval_table
        if needed == ("messages",):
            more = conversations(part, columns["messages"])
        elif needed == ("text",):
            more = texts(part, columns["text"], few=few)
        else:
            more = texts(part, columns["completion"], few=few)
            more += [item for item in texts(part, columns["prompt"], few=True) if item.kind != "text_constant"]
        found += in_eval(more) if few else more
    return _ordered(found)


def columns_there(table: pa.Table, columns: Mapping[str, str], needed: Iterable[str],
                  eval_table: pa.Table | None = None) -> list[Finding]:
    """Return an error for each role without a column, and for each mapped column that a table lacks."""
    found = [error("role_missing", f"No column is mapped as {role}.", role,
                   f"Map one of: {listed(table.column_names)}.") for role in needed if role not in columns]
    for role, column in columns.items():
        if column not in table.column_names:
            found.append(error("column_missing", f"The column '{column}' ({role}) is not in this dataset.", column,
                               f"Pick one of: {listed(table.column_names)}."))
        elif eval_table is not None and column not in eval_table.column_names:
            found.append(error("column_missing", f"The evaluation file has no column '{column}' ({role}).", column,
                               f"It has {listed(eval_table.column_names)}; rename one, or choose another file."))
    twice = {column for column in columns.values() if list(columns.values()).count(column) > 1}
    found += [error("column_twice", f"The column '{column}' is mapped to two roles.", column,
                    "Choose another column for one of them.") for column in sorted(twice)]
    return found


def table_size(table: pa.Table, eval_table: pa.Table | None = None) -> list[Finding]:
    """Return an error for no rows, or for a single row that cannot be split, and a warning for very few."""
    rows = table.num_rows
    if rows == 0:
        return [error("no_rows", "There are no rows.", "", "Add rows beneath the header, or choose another file.")]
    if eval_table is not None and eval_table.num_rows == 0:
        return [error("no_rows", "The evaluation file has no rows.", "",
                      "Choose another, or let a share be kept aside.")]
    if rows == 1 and eval_table is None:
        return [error("one_row", "There is only one row, so none can be kept aside for evaluation.", "row 1",
                      "Add more rows, or an evaluation file.")]
    if rows < 20:
        there = "is only 1 row" if rows == 1 else f"are only {rows} rows"
        return [warning("few_rows", f"There {there}; a model learns little from so few.", "",
                        "Go on for a trial, or add rows.")]
    return []


def unrecognised(table: pa.Table) -> list[Finding]:
    """Return why no column could be given a part: there are no rows, columns without a text, or nothing known."""
    if not table.num_rows:
        return table_size(table)
    hollow = [name for name in table.column_names if cells.is_text(table.column(name))
              and pc.all(cells.blank(cells.strings(table.column(name)))).as_py()]
    return [*(error("text_empty", f"The column '{name}' is empty in every row.", name,
                    "Fill it, or map another column.") for name in hollow),
            error("columns_not_recognised", "No column of texts was found.", "",
                  "Check the file, or say which column plays which part.")]


def texts(table: pa.Table, column: str, *, few: bool = False) -> list[Finding]:
    """Return faults of a text column: not text, empty in all or some rows, always the same (unless `few`)."""
    values = table.column(column)
    if cells.is_messages(values) or not cells.is_text(values):
        kind = "conversations" if cells.is_messages(values) else "lists"
        return [error("not_text", f"The column '{column}' holds {kind}, not texts.", column,
                      "Map a column of texts, or choose the task that fits it.")]
    if not table.num_rows:
        return []
    array = cells.strings(values)
    empty = cells.blank(array)
    rows, count = cells.rows_where(empty)
    if count == table.num_rows:
        return [error("text_empty", f"The column '{column}' is empty in every row.", column, "Map another column.")]
    found = _garbled(array, column)
    if count:
        found.append(some("warning", "text_empty", f"The column '{column}' is empty", rows, count,
                          "Such rows teach nothing. Go on, or fill or remove them.", column))
    if not few and table.num_rows > 1 and pc.count_distinct(array.filter(pc.invert(empty))).as_py() == 1 and not count:
        found.append(error("text_constant", f"The column '{column}' has the same text in every row.", column,
                           "Map the column that differs from row to row."))
    return found


def _garbled(array: pa.Array, column: str) -> list[Finding]:
    """Return what is said of letters that were lost, or read in a wrong encoding, before the file was written."""
    suspicious = pc.fill_null(functools.reduce(pc.or_, (pc.match_substring(array, mark) for mark in _GARBLED)), False)
    rows = np.flatnonzero(np.asarray(suspicious))
    odd = pc.match_substring_regex(array.take(pa.array(rows)), _GARBLED_LETTER)
    rows = rows[np.asarray(pc.fill_null(odd, False))] + 1
    shown = [int(row) for row in rows[:cells.SHOWN]]
    return [some("warning", "text_garbled", f"Letters in '{column}' are garbled (such as Ã© for é, or \ufffd)", shown,
                 len(rows), "Export the data again as UTF-8; what is lost cannot be told from the file. Or go on.",
                 column)] if len(rows) else []


def _ordered(findings: list[Finding]) -> list[Finding]:
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda item: order[item.level])
