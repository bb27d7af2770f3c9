"""What can be wrong with the rows of a dataset: errors block training, warnings ask, notes inform."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from engine.data import cells
from engine.data.compute import pc
from engine.data.errors import from_finding
from engine.data.findings import error, in_eval, note, some, warning
from engine.data.messages import conversations
from engine.findings import Finding

__all__ = ["classification", "columns_there", "conversations", "images", "language", "raise_first_error", "table_size",
           "texts", "unrecognised"]


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
    checks = {"regression": _numbers, "multi_label": _several}
    column = columns["label"]
    found += checks[problem](table, column, separator) if problem in checks else _classes(table, column)
    if eval_table is not None and eval_table.num_rows:
        found += _eval_labels(table, eval_table, columns["label"], problem, separator)
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
        found += _classes(table, columns["label"])
    if eval_table is not None and eval_table.num_rows:
        found += _eval_labels(table, eval_table, columns["label"], "single_label", "auto")
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
                   f"Map one of: {_listed(table.column_names)}.") for role in needed if role not in columns]
    for role, column in columns.items():
        if column not in table.column_names:
            found.append(error("column_missing", f"The column '{column}' ({role}) is not in this dataset.", column,
                               f"Pick one of: {_listed(table.column_names)}."))
        elif eval_table is not None and column not in eval_table.column_names:
            found.append(error("column_missing", f"The evaluation file has no column '{column}' ({role}).", column,
                               f"It has {_listed(eval_table.column_names)}; rename one, or choose another file."))
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
        return [warning("few_rows", f"There are only {rows} rows; a model learns little from so few.", "",
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
    found: list[Finding] = []
    if count:
        found.append(some("warning", "text_empty", f"The column '{column}' is empty", rows, count,
                          "Such rows teach nothing. Go on, or fill or remove them.", column))
    if not few and table.num_rows > 1 and pc.count_distinct(array.filter(pc.invert(empty))).as_py() == 1 and not count:
        found.append(error("text_constant", f"The column '{column}' has the same text in every row.", column,
                           "Map the column that differs from row to row."))
    return found


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
    found: list[Finding] = []
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(name.casefold(), []).append(name)
    alike = next((group for group in folded.values() if len(group) > 1), None)
    if alike:
        found.append(warning("labels_alike", f"The labels {_listed(alike)} differ only in capitals.", column,
                             "Write them alike if they mean the same."))
    odd = [name for name in names if name.casefold() in ("none", "null", "n/a", "#n/a", "na", "-", "?")]
    if odd and len(names) > 2:
        found.append(warning("label_odd", f"The label '{odd[0]}' stands {names[odd[0]]:,} times; it may mean "
                             "that there is none.", column, "Go on if it is a class of its own."))
    single = [name for name, count in names.items() if count == 1]
    if single and rows > 2:
        found.append(warning("label_rare", f"{_counted(single)} a single row: {_listed(single[:5])}.", column,
                             "They are trained on but cannot be evaluated; add rows or join them with others."))
    most = next(iter(names))
    if len(names) > 1 and rows >= 20 and names[most] > 0.95 * rows:
        found.append(warning("label_unbalanced", f"{names[most] / rows:.0%} of the rows are '{most}'.", column,
                             "Always answering that looks good by accuracy; watch F1 and add rows of the others."))
    return found


def _numbers(table: pa.Table, column: str, separator: str) -> list[Finding]:
    numbers = cells.numbers(table.column(column))
    rows, count = cells.rows_where(pc.invert(pc.fill_null(pc.is_finite(numbers), False)))
    if count:
        return [some("error", "label_not_number", f"The label '{column}' is not a finite number", rows, count,
                     "Correct these cells, or choose single_label for classes.", column)]
    if pc.count_distinct(numbers).as_py() == 1 and table.num_rows > 1:
        return [error("one_label", f"Every row has the same number in '{column}'; there is nothing to learn.", column,
                      "Map another column.")]
    return []


def _several(table: pa.Table, column: str, separator: str) -> list[Finding]:
    if cells.is_messages(table.column(column)):
        return [error("label_not_plain", f"The column '{column}' holds conversations, not labels.", column,
                      "Map another column.")]
    labels, parents = cells.several(table.column(column), separator)
    names = cells.values_of(labels)
    if not names:
        return [error("label_missing", f"No row has a label in '{column}'.", column, "Map another column.")]
    found: list[Finding] = []
    if len(names) == 1:
        found.append(error("one_label", f"'{next(iter(names))}' is the only label there is.", column,
                           "Add rows with other labels, or map another column."))
    if pc.count_distinct(parents).as_py() == len(parents) == table.num_rows:
        found.append(note("label_always_one", "Every row has exactly one label.", column,
                          "single_label fits better, unless the labels are joined by another separator."))
    return found


def _eval_labels(table: pa.Table, eval_table: pa.Table, column: str, problem: str, separator: str) -> list[Finding]:
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
        return []
    rows = sorted({int(row) + 1 for row in parents.filter(unseen).to_pylist()})
    return [some("error", "label_unseen", f"The evaluation file has labels that training lacks ({_listed(names[:5])})",
                 rows[:cells.SHOWN], len(rows), "Add training rows with these labels, or remove the rows.", column)]


def _counted(labels: list[str]) -> str:
    return "1 label has" if len(labels) == 1 else f"{len(labels)} labels have"


def _ordered(findings: list[Finding]) -> list[Finding]:
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda item: order[item.level])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
