"""Excel workbooks (.xlsx): one sheet as record batches, row by row, formulas by the values stored with them."""

from __future__ import annotations

import datetime
import re
import warnings
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.data import dialect, records
from engine.data.errors import (
    ExpandedTooLarge,
    PartMissing,
    TooManyColumns,
    UnsafeArchive,
    WorkbookBroken,
    WorkbookEmpty,
)
from engine.data.faults import Faults
from engine.data.layout import Layout
from engine.data.source import Source
from engine.data.stream import Hooks, size_text
from engine.findings import Finding

#: Rows looked at for the header and the width.
_LOOKED_AT = 400
_MOST_COLUMNS = 10_000
#: Bytes of what is kept in memory while rows stream by: the texts that cells share, styles, the list of sheets.
_SHARED = 512 << 20
_ERRORS = frozenset({"#N/A", "#NAME?", "#DIV/0!", "#REF!", "#VALUE!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"})
_UNCOUNTED = re.compile(rb"</f>\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>|<f[^>]*/>\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")


def is_workbook(names: Sequence[str]) -> bool:
    """Tell whether an archive with these names is a workbook."""
    return "xl/workbook.xml" in names and "[Content_Types].xml" in names


def source(path: Path, *, header: bool | None = None, part: str = "") -> Source:
    """Return how to read a workbook: the sheet called `part`, or the first that holds cells.

    Raises WorkbookBroken, WorkbookEmpty, PartMissing.
    """
    with _opened(path, Hooks()) as book:
        sheets = _filled(book, part)
        title = part or next(iter(sheets), "")
        if not title:
            raise WorkbookEmpty(path.name)
        head, parts = _head(book[title]), list(book.sheetnames)
    skipped = _titles(head)
    rows = [[_shown(value) for value in row] for row in head[skipped:] if any(value is not None for value in row)]
    if header is None:
        header = dialect.has_header(rows)
    first = rows[0] if header and rows else []
    width = max(map(len, rows), default=0)
    if width > _MOST_COLUMNS:
        raise TooManyColumns(path.name, count=width, limit=_MOST_COLUMNS)
    return Source(format="xlsx", part=title, parts=parts if len(parts) > 1 else [], header=header,
                  columns=dialect.column_names([*first, *[""] * (width - len(first))]))


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks, layout: Layout,
            rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """Yield batches of string, int64 and float64 columns; raises Widened to start again, or DataError."""
    with _opened(path, hooks) as book:
        if source.part not in book.sheetnames:
            raise PartMissing(path.name, part=source.part, known=", ".join(book.sheetnames))
        sheet, size = book[source.part], rows or records.SIZE
        total = sheet.max_row or 0
        _tell_others(book, source, faults)
        held: list[dict[str, Any]] = []
        first, number, gaps = 1, 0, False
        for number, row in enumerate(_body(sheet, source), 1):
            gaps = gaps or None in row or len(row) < len(source.columns)
            held.append(_record(row, source.columns, number, faults))
            if len(held) >= size:
                hooks.at(number / max(number, total))
                yield records.batch(held, layout, first, faults)
                held, first = [], number + 1
        if held:
            yield records.batch(held, layout, first, faults)
    if gaps and rows is None:
        _uncounted(path, source, faults)


@contextmanager
def _opened(path: Path, hooks: Hooks) -> Generator[Any, None, None]:
    """Open a workbook for reading row by row; its expanded size is known before anything is unpacked."""
    import openpyxl

    _bounded(path, hooks)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book: Any = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            try:
                yield book
            finally:
                book.close()
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, IndexError, AttributeError, SyntaxError,
            EOFError, OSError, OverflowError, NotImplementedError, RuntimeError) as error:
        # Whatever a damaged part leads its readers into; ParseError is a SyntaxError.
        raise WorkbookBroken(path.name, reason=" ".join(str(error).split())[:200] or type(error).__name__) from None


def _bounded(path: Path, hooks: Hooks) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise WorkbookBroken(path.name, reason=str(error)) from None
    for member in members:
        if member.filename.startswith("/") or ".." in Path(member.filename).parts:
            raise UnsafeArchive(path.name, name=member.filename)
    kept = sum(member.file_size for member in members if "worksheets/" not in member.filename)
    for size, limit in ((kept, min(_SHARED, hooks.largest)), (sum(m.file_size for m in members), hooks.largest)):
        if size > limit:
            raise ExpandedTooLarge(path.name, limit=size_text(limit))


def _filled(book: Any, part: str) -> list[str]:
    """Return the sheets that hold cells, those that are shown before hidden ones; only `part` when that is wanted."""
    if part:
        if part not in book.sheetnames:
            raise PartMissing(part, part=part, known=", ".join(book.sheetnames))
        return [part]
    sheets = sorted(book.worksheets, key=lambda sheet: sheet.sheet_state != "visible")
    return [sheet.title for sheet in sheets if any(value is not None for row in _head(sheet) for value in row)]


def _head(sheet: Any) -> list[list[Any]]:
    sheet.reset_dimensions()
    rows: list[list[Any]] = []
    for row in sheet.iter_rows(values_only=True):
        rows.append(_trimmed(row))
        if len(rows) >= _LOOKED_AT:
            break
    return rows


def _trimmed(row: Sequence[Any]) -> list[Any]:
    cells = [None if isinstance(value, str) and not value.strip() else value for value in row]
    while cells and cells[-1] is None:
        cells.pop()
    return cells


def _titles(head: Sequence[Sequence[Any]]) -> int:
    """Return how many rows stand above the table: a heading, one cell above rows of two or more, and empty rows."""
    filled = [sum(value is not None for value in row) for row in head]
    usual = sorted(count for count in filled if count)
    if not usual or usual[len(usual) // 2] < 2:
        return 0
    return next((place for place, count in enumerate(filled) if count > 1), 0)


def _body(sheet: Any, source: Source) -> Iterator[list[Any]]:
    """Yield the rows under the header that hold anything."""
    skipped = _titles(_head(sheet))
    sheet.reset_dimensions()
    header = source.header
    for place, row in enumerate(sheet.iter_rows(values_only=True)):
        cells = _trimmed(row)
        if place < skipped or not cells:
            continue
        if header:
            header = False
            continue
        yield cells


def _record(row: list[Any], columns: list[str], number: int, faults: Faults) -> dict[str, Any]:
    if len(row) > len(columns):
        faults.add("ragged_rows", number, f"Row {number} has too many cells: {len(row)} where there are "
                   f"{len(columns)} columns; the cells beyond are left out.", "Give every column a name.", always=True)
    found: dict[str, Any] = dict.fromkeys(columns)
    for name, value in zip(columns, row, strict=False):
        if isinstance(value, str) and value in _ERRORS:
            faults.add("cell_error", number, f"Row {number} holds {value}, an error of a formula, in the column "
                       f"'{name}'; it is read as empty.", "Correct the formula, or fill in the value.", always=True)
            continue
        found[name] = value if value is None or isinstance(value, str | int | float) else _shown(value)
    return found


def _shown(value: Any) -> str:
    """Return a cell as text: dates as ISO 8601, without a time when it is midnight."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "seconds")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _tell_others(book: Any, source: Source, faults: Faults) -> None:
    others = [title for title in book.sheetnames if title != source.part]
    if others:
        listed = ", ".join(f"'{title}'" for title in others[:6])
        faults.note(Finding(kind="other_sheets", level="note", where=others[0], count=len(others),
                            what=f"The sheet '{source.part}' is read; the workbook also has {listed}.",
                            try_this="Add the file again and choose another sheet as its part if you want that one."))


def _uncounted(path: Path, source: Source, faults: Faults) -> None:
    """Note formulas without a stored value, as programs write them that do not calculate."""
    count, rest = 0, b""
    with _opened(path, Hooks()) as book, zipfile.ZipFile(path) as archive:
        place = book.sheetnames.index(source.part)
        sheets = sorted((name for name in archive.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)),
                        key=lambda name: int(re.sub(r"\D", "", name)))
        if place >= len(sheets):
            return
        with archive.open(sheets[place]) as file:
            while data := file.read(1 << 20):
                data = rest + data
                found = list(_UNCOUNTED.finditer(data))
                count += len(found)
                rest = data[max(len(data) - 4096, found[-1].end() if found else 0):]
    if count:
        faults.note(Finding(kind="formula_uncounted", level="warning", where=source.part, count=count,
                            what=f"{count:,} formulas come without their values; those cells are empty.",
                            try_this="Open the workbook in Excel or LibreOffice and save it, then add it again."))
