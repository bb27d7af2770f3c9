"""Changes to single cells and rows of a stored table: checked, put together, and written as a table of its own."""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.data import cells
from engine.data.errors import Cancelled, ColumnUnknown
from engine.errors import DataError

#: Most changes between two versions, and most characters of one changed cell.
MOST, LONGEST = 10_000, 100_000
#: Characters kept of a row that was left out, to show it by.
SHOWN = 300


class RowUnknown(DataError):
    """There is no row {row}: the rows are numbered 1 to {rows}."""

    kind = "row_unknown"
    try_this = "Choose one of them."


class NotEditable(DataError):
    """Cells of the column '{column}' cannot be changed here: it holds {what}."""

    kind = "cell_not_editable"
    try_this = "Exclude the row, or correct the file and upload it again."


class BadValue(DataError):
    """'{value}' does not fit the column '{column}', which holds {what}."""

    kind = "value_does_not_fit"
    try_this = "Enter {example}."


class TooManyEdits(DataError):
    """There are more than {limit} changes."""

    kind = "too_many_edits"
    try_this = "Save them as a new version, then go on with that one."


class NothingToExclude(DataError):
    """Every row would be left out."""

    kind = "no_rows_left"
    try_this = "Keep at least one row."


class Edit(BaseModel):
    """One change: the cell of a row (counted from 1) gets another value, or the row is left out or taken back in.

    `before` is what stood there in the version that was changed; of a row left out, its beginning.
    """

    model_config = ConfigDict(extra="forbid")

    row: int = Field(ge=1)
    column: str | None = None
    value: Any = None
    exclude: bool | None = None
    before: Any = None

    @model_validator(mode="after")
    def _one_change(self) -> Edit:
        if (self.column is None) == (self.exclude is None):
            raise ValueError("say either which column gets which value, or whether the row is excluded")
        return self


@dataclass(frozen=True)
class Changes:
    """Edits put together: the last value of each changed cell with what stood there, and the rows left out."""

    cells: dict[tuple[int, str], Any] = field(default_factory=dict[tuple[int, str], Any])
    before: dict[tuple[int, str], Any] = field(default_factory=dict[tuple[int, str], Any])
    excluded: dict[int, Any] = field(default_factory=dict[int, Any])

    def __bool__(self) -> bool:
        return bool(self.cells or self.excluded)

    @property
    def count(self) -> int:
        """How many cells and rows differ."""
        return len(self.cells) + len(self.excluded)

    def edits(self) -> list[Edit]:
        """Return the fewest edits that come to the same, by row."""
        made = [Edit(row=row, column=column, value=value, before=self.before.get((row, column)))
                for (row, column), value in self.cells.items() if row not in self.excluded]
        made += [Edit(row=row, exclude=True, before=before) for row, before in self.excluded.items()]
        return sorted(made, key=lambda edit: (edit.row, edit.column or ""))


def together(edits: Iterable[Edit]) -> Changes:
    """Return what edits made one after the other come to; a cell that has its old value again is not changed."""
    made = Changes()
    for edit in edits:
        if edit.column is None:
            if edit.exclude:
                made.excluded.setdefault(edit.row, edit.before)
            else:
                made.excluded.pop(edit.row, None)
            continue
        place = (edit.row, edit.column)
        first = made.before.setdefault(place, edit.before)
        if edit.value == first:
            made.cells.pop(place, None)
        else:
            made.cells[place] = edit.value
    for place in [place for place in made.before if place not in made.cells]:
        del made.before[place]
    return made


def parse(items: Sequence[Any]) -> list[Edit]:
    """Return stored edits."""
    return [Edit.model_validate(item) for item in items]


def checked(edits: Sequence[Edit], schema: pa.Schema, rows: int) -> list[Edit]:
    """Return the edits with values as their columns hold them.

    Raises RowUnknown, ColumnUnknown, NotEditable, BadValue, TooManyEdits.
    """
    if len(edits) > MOST:
        raise TooManyEdits("edits", limit=f"{MOST:,}")
    return [_checked(edit, schema, rows) for edit in edits]


def _checked(edit: Edit, schema: pa.Schema, rows: int) -> Edit:
    if edit.row > rows:
        raise RowUnknown(f"row {edit.row}", row=edit.row, rows=rows)
    if edit.column is None:
        return edit
    if edit.column not in schema.names:
        raise ColumnUnknown(edit.column, column=edit.column, columns=", ".join(schema.names))
    value = fitting(edit.value, schema.field(edit.column).type, edit.column, f"row {edit.row}, column {edit.column}")
    return edit.model_copy(update={"value": value})


def editable(kind: pa.DataType) -> bool:
    """Tell whether cells of a column of this type can be given another value."""
    nested = pa.array([], kind)
    return (not pt.is_nested(kind) and not pt.is_binary(kind)) or cells.is_list(nested) or cells.is_messages(nested)


def fitting(value: Any, kind: pa.DataType, column: str, where: str) -> Any:
    """Return a value as a column of this type holds it; texts are read as numbers or JSON where the column needs it.

    Raises NotEditable, BadValue.
    """
    empty = pa.array([], kind)
    if not editable(kind):
        raise NotEditable(where, column=column, what="images" if cells.is_image(empty) else "nested values")
    if pt.is_string(kind) or pt.is_large_string(kind):
        text = value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
        if text is not None and len(text) > LONGEST:
            raise BadValue(where, value=text[:40] + "…", column=column, what="texts", example=_upto())
        return text
    what, example = _said(kind)
    told = BadValue(where, value=str(value)[:80], column=column, what=what, example=example)
    try:
        read = value if not isinstance(value, str) else json.loads(value) if value.strip() else None
        if isinstance(read, bool) and not pt.is_boolean(kind):
            raise told
        if read is not None and pt.is_nested(kind) and not isinstance(read, list):
            raise told
        made = pa.array([read], kind)[0].as_py()
        # Arrow cuts what stands behind the point of a whole number.
        if pt.is_integer(kind) and made != read:
            raise told
        return made
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        raise told from None


def _upto() -> str:
    return f"at most {LONGEST:,} characters"


def _said(kind: pa.DataType) -> tuple[str, str]:
    if pt.is_integer(kind):
        return "whole numbers", "a whole number, such as 3"
    if pt.is_floating(kind):
        return "numbers", "a number, such as 0.5"
    if pt.is_boolean(kind):
        return "true or false", "true or false"
    if cells.is_messages(pa.array([], kind)):
        return "conversations", 'a JSON list such as [{"role": "user", "content": "…"}]'
    return "lists", 'a JSON list such as ["a", "b"]'


def write(base: Path, changes: Changes, out: Path, progress: Callable[[float], None] | None = None,
          cancelled: Callable[[], bool] | None = None) -> tuple[int, str]:
    """Write the table of `base` with its changes to `out`, row group by row group; return its rows and sha256.

    Raises NothingToExclude, Cancelled.
    """
    part = out.with_name(f".part-{out.name}")
    kept = start = 0
    try:
        with pq.ParquetFile(base) as file, pq.ParquetWriter(part, file.schema_arrow, compression="zstd") as writer:
            for group in range(file.metadata.num_row_groups):
                if cancelled is not None and cancelled():
                    raise Cancelled()
                table = file.read_row_group(group)
                changed = _changed(table, changes, start)
                writer.write_table(changed)
                start, kept = start + table.num_rows, kept + changed.num_rows
                if progress is not None:
                    progress((group + 1) / file.metadata.num_row_groups)
        if not kept:
            raise NothingToExclude("edits")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return kept, _digest(out)


def _changed(table: pa.Table, changes: Changes, start: int) -> pa.Table:
    """Return rows `start` + 1 and on with their changes."""
    end = start + table.num_rows
    by_column: dict[str, dict[int, Any]] = {}
    for (row, column), value in changes.cells.items():
        if start < row <= end:
            by_column.setdefault(column, {})[row - start - 1] = value
    for column, values in by_column.items():
        place = table.column_names.index(column)
        table = table.set_column(place, table.schema.field(place), _replaced(table.column(place), values))
    out = [row - start - 1 for row in changes.excluded if start < row <= end]
    if not out:
        return table
    mask = [True] * table.num_rows
    for place in out:
        mask[place] = False
    return table.filter(pa.array(mask))


def _replaced(column: pa.ChunkedArray, values: dict[int, Any]) -> pa.Array:
    """Return a column with the values at these places, put between what lies before and after them."""
    whole = cells.whole(column)
    parts: list[pa.Array] = []
    at = 0
    for place in sorted(values):
        parts += [whole.slice(at, place - at), pa.array([values[place]], whole.type)]
        at = place + 1
    return pa.concat_arrays([*parts, whole.slice(at)])


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            found.update(data)
    return found.hexdigest()


def original_row(row: int, excluded: Sequence[int]) -> int:
    """Return which row a row was before the rows `excluded` (in order) were left out."""
    for left_out in excluded:
        if left_out > row:
            break
        row += 1
    return row


def line(steps: Sequence[Changes]) -> Changes:
    """Return what several versions' changes, one after the other, come to in the rows of the first."""
    made: list[Edit] = []
    left: list[int] = []
    for step in steps:
        moved = [edit.model_copy(update={"row": original_row(edit.row, left)}) for edit in step.edits()]
        made += moved
        for edit in moved:
            if edit.exclude:
                bisect.insort(left, edit.row)
    return together(made)


def preview(row: dict[str, Any]) -> str:
    """Return the beginning of a row as one text."""
    parts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
             for value in row.values() if value not in (None, "")]
    text = " · ".join(parts)
    return text if len(text) <= SHOWN else text[:SHOWN - 1] + "…"


__all__ = ["MOST", "BadValue", "Changes", "Edit", "NotEditable", "RowUnknown", "TooManyEdits", "checked", "editable",
           "fitting", "line", "original_row", "parse", "preview", "together", "write"]
