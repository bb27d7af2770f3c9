"""Reads a data file: recognise, preview, read whole, or stream into parquet."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from engine.data import (
    columnar,
    conll,
    delimited,
    derive,
    files,
    idx,
    image,
    image_folder,
    labelled,
    layout,
    paragraphs,
    records,
    store,
    workbook,
)
from engine.data.dialect import column_names
from engine.data.errors import DiskFull, FileEmpty, FoundFault, NotATable, from_finding
from engine.data.faults import Faults
from engine.data.kinds import TYPES, Widened
from engine.data.sniff import sniff
from engine.data.source import Ingested, Preview, Source
from engine.data.stream import LARGEST_EXPANDED, Hooks, Progress, open_raw
from engine.findings import Finding

__all__ = ["Ingested", "Preview", "Source", "digest", "ingest", "preview", "read", "sniff"]


def preview(path: Path, rows: int = 50, source: Source | None = None, *, largest: int = LARGEST_EXPANDED) -> Preview:
    """Return the first `rows` rows, reading only the head of the file; raises DataError."""
    source = source or sniff(path)
    reading = _Reading(path, source, Hooks(largest=largest), rows)
    names, found = _again(reading, lambda: _head(reading, rows))
    return Preview(columns=names, rows=found, source=source.model_copy(update={"columns": reading.names(names)}),
                   findings=reading.findings())


def _head(reading: _Reading, rows: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the column names and the first rows."""
    found: list[dict[str, Any]] = []
    names = list(reading.source.columns)
    with closing(reading.batches()) as batches:
        for batch in batches:
            names = list(batch.schema.names)
            found.extend(shown(batch.slice(0, rows - len(found))))
            if len(found) >= rows:
                break
    return names, found


def shown(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Return rows for a person to look at: of an image, its name and how many bytes it has."""
    rows: list[dict[str, Any]] = [{} for _ in range(batch.num_rows)]
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for row, value in zip(rows, column.to_pylist(), strict=True):
            if value is not None and image.is_image(column.type):
                value = {"path": value["path"], "bytes": len(value["bytes"] or b"")}
            row[name] = value
    return rows


def read(path: Path, source: Source | None = None, *, progress: Progress | None = None,
         cancelled: Callable[[], bool] | None = None, largest: int = LARGEST_EXPANDED) -> pa.Table:
    """Return the whole file as a table; raises a DataError for a file or row that does not fit, or Cancelled."""
    reading = _Reading(path, source or sniff(path), Hooks(progress, cancelled, largest))
    batches = _again(reading, lambda: list(reading.batches()))
    fault = next((item for item in reading.findings() if item.level == "error"), None)
    if fault is not None:
        raise from_finding(fault, path.name)
    return _table(batches, reading)


def ingest(path: Path, out_parquet: Path, source: Source | None = None, progress: Progress | None = None,
           cancelled: Callable[[], bool] | None = None, *, largest: int = LARGEST_EXPANDED) -> Ingested:
    """Stream a file into parquet in bounded memory; rows that do not fit are left out and reported in `findings`.

    Nothing is left at `out_parquet` when it fails; raises DataError, DiskFull or Cancelled.
    """
    reading = _Reading(path, source or sniff(path), Hooks(progress, cancelled, largest), thorough=True)
    part = out_parquet.with_name(out_parquet.name + ".part")
    try:
        with _digesting(path) as digested:
            rows, names = _again(reading, lambda: _write(reading, part))
            sha256, size = digested.result()
        part.replace(out_parquet)
    except OSError as error:
        raise DiskFull(str(out_parquet.parent), reason=error.strerror or str(error)) from None
    finally:
        part.unlink(missing_ok=True)
    if progress is not None:
        progress(1.0)
    return Ingested(rows=rows, columns=names, findings=reading.findings(), sha256=sha256, bytes=size,
                    source=reading.source.model_copy(update={"columns": reading.names(names)}))


def digest(path: Path, over: Callable[[], bool] = lambda: False) -> tuple[str, int]:
    """Return the sha256 and the size of a file, or of a folder's files; of a part only once it is `over`."""
    if path.is_dir():
        return image_folder.digest(path)
    found, size = hashlib.sha256(), 0
    with open_raw(path) as file:
        while (data := file.read(1 << 20)) and not over():
            found.update(data)
            size += len(data)
    return found.hexdigest(), size


@contextmanager
def _digesting(path: Path) -> Generator[Future[tuple[str, int]], None, None]:
    """Add up a file beside its reading; given up when that fails."""
    over = threading.Event()
    with ThreadPoolExecutor(1, "digest") as pool:
        try:
            yield pool.submit(digest, path, over.is_set)
        finally:
            over.set()


_TRIES = 200
#: Columns from which on there are oddly many.
MANY_COLUMNS = 1_000
_NAMELESS = re.compile(r"column_\d+")
Result = TypeVar("Result")


def _again(reading: _Reading, work: Callable[[], Result]) -> Result:
    """Do `work`, from the start again whenever a row needs wider columns or larger blocks than those before it."""
    for _ in range(_TRIES):
        with suppress(Widened):
            return work()
    raise FoundFault(reading.path.name, problem="the columns change their kind too often")


def _write(reading: _Reading, part: Path) -> tuple[int, list[str]]:
    """Write all batches; return rows and column names."""
    with closing(reading.batches()) as batches:
        first = next(batches, None)
        schema = reading.empty_schema() if first is None else first.schema
        with store.writing(part, schema) as out:
            if first is not None:
                out.add(first)
            for batch in batches:
                out.add(batch)
    return out.rows, list(schema.names)


class _Reading:
    """One pass over a file, or several when later rows widen the columns; a `thorough` one decodes every image.

    For the files of a folder or archive it keeps the readings `inside`, each with what it has learned.
    """

    def __init__(self, path: Path, source: Source, hooks: Hooks, rows: int | None = None, *,
                 thorough: bool = False) -> None:
        self.thorough = thorough
        self.path = path
        self.source = source
        self.hooks = hooks
        self.rows = rows
        self.layout = layout.Layout()
        self.block = delimited.BLOCK
        self.faults = Faults()
        self.added: list[str] = []
        self.pile = files.Pile()
        self.inside: dict[str, _Reading] = {}

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """Yield the batches from the start."""
        self.faults = Faults(skip=self.source.faulty == "skip")
        self.layout.begin()
        for batch in self._plain():
            wider = derive.extended(batch)
            self.added = wider.schema.names[batch.num_columns:]
            yield wider

    def _plain(self) -> Iterator[pa.RecordBatch]:
        path, source, faults, hooks = self.path, self.source, self.faults, self.hooks
        match source.format:
            case "parquet" | "arrow":
                return columnar.batches(path, source, faults, hooks, self.rows, thorough=self.thorough)
            case "images":
                return image_folder.batches(path, source, faults, hooks, self._inner, self.rows, thorough=self.thorough)
            case "files":
                return files.batches(path, source, faults, hooks, self.pile, self._inner, self.rows)
            case "idx":
                return idx.batches(path, source, faults, hooks, self.rows)
            case "xlsx":
                return workbook.batches(path, source, faults, hooks, self.layout, self.rows)
            case "labelled":
                return labelled.batches(path, source, faults, hooks)
            case "conll":
                return conll.batches(path, source, faults, hooks)
            case "json" | "jsonl" | "yaml":
                return records.batches(path, source, faults, hooks, self.layout, self.rows)
            case "text" if source.unit == "paragraph":
                return paragraphs.batches(path, source, hooks)
            case _:
                block, self.block = self.block, delimited.LARGE_BLOCK
                return delimited.batches(path, source, faults, hooks, block)

    def _inner(self, key: str, path: Path, hooks: Hooks, rows: int | None) -> _Reading:
        """Return the reading of a file of this folder or archive, the one of an earlier pass when there was one."""
        reading = self.inside.get(key)
        if reading is None:
            source = sniff(path)
            if source.format in ("files", "images", "idx"):
                raise NotATable(path.name, what="an archive inside another", remedy="Unpack the inner one first.")
            reading = self.inside[key] = _Reading(path, source, hooks, rows, thorough=self.thorough)
        reading.path, reading.hooks = path, hooks
        return reading

    def names(self, found: list[str]) -> list[str]:
        """Return the columns of the file itself, without derived ones."""
        return [name for name in found if name not in self.added]

    def empty_schema(self) -> pa.Schema:
        """Return the schema of a file without rows."""
        kinds = self.layout.kinds or dict.fromkeys(self.source.columns, "string")
        if not kinds:
            raise FileEmpty(self.path.name)
        return pa.schema([(name, TYPES[kind]) for name, kind in kinds.items()])

    def findings(self) -> list[Finding]:
        """Return what was noticed about the file as a whole and about its rows."""
        found = [*self.faults.findings(), *layout.kept_whole(self.layout), *layout.mixed(self.layout),
                 *_odd_source(self.source)]
        if any(item.kind == "invalid_utf8" for item in found):
            found = [item for item in found if item.kind != "old_encoding"]
        return [*found, *derive.findings(self.added)]


def _table(batches: list[pa.RecordBatch], reading: _Reading) -> pa.Table:
    if not batches:
        return reading.empty_schema().empty_table()
    return pa.Table.from_batches(batches)


def _oddly_named(source: Source) -> list[Finding]:
    """Return what is said of byte order marks, and of columns without a name or beyond counting."""
    found: list[Finding] = []
    inside = source.marks[1:] if source.marks[:1] == [1] else source.marks
    if inside:
        found.append(Finding(
            kind="byte_mark", level="warning", where=f"line {inside[0]}", count=len(inside),
            what=f"A byte order mark stands at the start of line {inside[0]:,}, as where files were joined.",
            try_this="Look whether that line is a header or begins with a strange letter; remove the mark."))
    elif source.marks:
        found.append(Finding(kind="byte_mark", level="note", where="line 1", what="The file begins with a byte order "
                             "mark; it is not read as a part of the first name.", try_this="Nothing needs to be done."))
    nameless = [name for name in source.columns if _NAMELESS.fullmatch(name)]
    if source.header and source.format in ("csv", "tsv", "xlsx") and nameless:
        found.append(Finding(kind="header_blank", level="note", where=nameless[0], count=len(nameless),
                             what=f"A column has no name in the header; it is called '{nameless[0]}'.",
                             try_this="Go on, or name it in the file if you need it."))
    if len(source.columns) > MANY_COLUMNS:
        found.append(Finding(kind="columns_many", level="warning", where=source.columns[MANY_COLUMNS],
                             what=f"There are {len(source.columns):,} columns; only those that are mapped are used.",
                             try_this="Leave out the others if reading takes long, or check that rows are rows."))
    return found


def _odd_source(source: Source) -> list[Finding]:
    found = _oddly_named(source)
    if source.encoding not in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        what = f"The text is not UTF-8; it was read as {source.encoding}."
        found.append(Finding(kind="old_encoding", level="note", what=what,
                             try_this="Look whether accented letters are right; if not, save the file as UTF-8."))
    doubled = [name for name in source.columns if name.endswith(")") and column_names(
        [name.rpartition(" (")[0]] * 2)[1][:-2] == name[:-2] and name.rpartition(" (")[0] in source.columns]
    if doubled:
        found.append(Finding(kind="duplicate_header", level="warning", where=doubled[0], count=len(doubled),
                             what=f"A column name stands twice in the header; the later one is called '{doubled[0]}'.",
                             try_this="Check that the right one is mapped, or rename it in the file."))
    return found
