"""The rows of a dataset: any page of them, searched and sorted; single images, small."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from db import datasets, versions
from db.blobs import Blobs
from db.looks import Look
from db.tables import Dataset
from db.users import User
from engine.data import cells, edits, image, look
from engine.data.errors import ImageTooLarge
from engine.data.paging import Rows, intact
from engine.errors import DataError
from studio.service import looks
from studio.service.datasets import DatasetNotReady

#: Rows of one page at most.
MOST = 500
#: Bytes of a file up to which a search is done at once; larger ones are gone through by a worker first.
AT_ONCE = 24 << 20
#: Pixels of a small image at most, and of an image that is made small here.
SMALL, LARGEST = 512, 24_000_000
#: Images decoded at the same time in this process.
_DECODING = threading.BoundedSemaphore(2)


class NoImage(DataError):
    """Row {row} of '{name}' holds no image."""

    kind = "no_image"
    try_this = "Choose a row with an image."


@dataclass(frozen=True)
class Shown:
    """One page: `columns` with what their cells can be given ("" for nothing), rows with their numbers from 1.

    `total` counts what was searched for, `rows_there` all rows; `clipped` names, for each row, cut cells and their
    characters. `waits` is the look of a worker that goes through a large file first; there are no rows until then.
    """

    columns: dict[str, str]
    rows: list[dict[str, Any]]
    numbers: list[int]
    clipped: list[dict[str, int]]
    total: int
    rows_there: int
    offset: int
    waits: Look | None = None


def page(user: User, id: str, offset: int = 0, limit: int = 50, *, search: str = "", sort: str | None = None,
         descending: bool = False, patient: bool = False) -> Shown:
    """Return a page of a dataset's rows; `patient` ones let a worker go through a large file first.

    For the others a process of its own does, never this one. Raises NotFound, DatasetNotReady, ColumnUnknown.
    """
    row = datasets.get(user, id)
    found = rows_of(row)
    columns = kinds(found.path)
    limit = max(0, min(limit, MOST))
    first = not found.ready(search, sort, descending) and found.path.stat().st_size > AT_ONCE
    if first and not patient:
        if sort is None or sort in found.columns:
            look.through(found.path, search, sort, descending)
    elif first:
        waits = looks.view(user, row, search, sort, descending)
        if waits.state != "ready":
            return Shown(columns, [], [], [], 0, found.total, offset, waits)
    made = found.page(offset, limit, search=search, sort=sort, descending=descending)
    if made.total and offset >= made.total:
        # What was searched for has fewer pages than the one that is open.
        offset = (made.total - 1) // max(limit, 1) * max(limit, 1)
        made = found.page(offset, limit, search=search, sort=sort, descending=descending)
    return Shown(columns, made.rows, made.numbers, made.clipped, made.total, found.total, offset)


def rows_of(row: Dataset) -> Rows:
    """Return the rows of a dataset that was read; raises DatasetNotReady."""
    if row.parquet_key is None:
        raise DatasetNotReady(row.id, name=row.name, state=row.state)
    return Rows(Blobs().local(row.parquet_key))


def take(user: User, id: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Return rows by number, images as their names; those that are not there are left out. Raises NotFound."""
    found = rows_of(datasets.get(user, id))
    there = [number for number in numbers if 1 <= number <= found.total]
    if not there:
        return []
    table = found.take(there, [name for name, kind in kinds(found.path).items() if kind != "image"])
    return table.to_pylist()


def kinds(path: Path) -> dict[str, str]:
    """Return what the cells of each column are: text, number, list, conversation, image, or "" for what is fixed."""
    return {field.name: kind_of(field.type) for field in _schema(path, path.stat().st_mtime_ns)}


def schema_of(row: Dataset) -> pa.Schema:
    """Return the schema of a dataset that was read; raises DatasetNotReady."""
    path = rows_of(row).path
    return _schema(path, path.stat().st_mtime_ns)


def kind_of(kind: pa.DataType) -> str:
    """Return what cells of this type are."""
    empty = pa.array([], kind)
    if cells.is_image(empty):
        return "image"
    if cells.is_messages(empty):
        return "conversation"
    if cells.is_list(empty):
        return "list"
    if not edits.editable(kind):
        return ""
    return "number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "text"


@lru_cache(maxsize=64)
def _schema(path: Path, changed: int) -> pa.Schema:
    with intact(path):
        return pq.read_schema(path)


def drafts(row: Dataset) -> edits.Changes:
    """Return the changes of a dataset that were not saved yet, put together."""
    return edits.together(edits.parse(versions.drafted(row)))


def labels(row: Dataset) -> list[str]:
    """Return the labels that are known of a dataset, the most frequent first, and those given to cells since."""
    known = list((row.stats or {}).get("labels") or {})
    column = (row.columns or {}).get("label")
    given = [str(value) for (_, name), value in drafts(row).cells.items() if name == column and value not in known]
    return [*known, *dict.fromkeys(given)]


def thumbnail(user: User, id: str, number: int, size: int = 160, column: str | None = None) -> bytes:
    """Return the image of a row as a small JPEG of at most `size` pixels a side.

    Raises NotFound, DatasetNotReady, NoImage, BrokenImage, ImageTooLarge.
    """
    row = datasets.get(user, id)
    found = rows_of(row)
    names = [name for name, kind in kinds(found.path).items() if kind == "image"]
    name = column if column in names else next(iter(names), None)
    if name is None or not 1 <= number <= found.total:
        raise NoImage(f"row {number}", row=number, name=row.name)
    return _small(found.path, found.path.stat().st_mtime_ns, name, number, max(16, min(size, SMALL)), row.name)


@lru_cache(maxsize=512)
def _small(path: Path, changed: int, column: str, number: int, size: int, name: str) -> bytes:
    data, called = _bytes(path, changed, column, number)
    if not data:
        raise NoImage(f"row {number}", row=number, name=name)
    return small(data, called, size)


def small(data: bytes, name: str, size: int) -> bytes:
    """Return an image as a JPEG of at most `size` pixels a side, a few at a time; raises BrokenImage, ImageTooLarge."""
    width, height = image.measure(data, name)
    if width * height > LARGEST:
        raise ImageTooLarge(name, name=name, size=f"{width} × {height} pixels",
                            limit=f"{LARGEST / 1e6:.0f} million pixels to be shown small")
    with _DECODING:
        return image.thumbnail(data, name, max(16, min(size, SMALL)))


def _bytes(path: Path, changed: int, column: str, number: int) -> tuple[bytes, str]:
    """Return the file of one image and its name; a row group at a time is kept, since neighbours come next."""
    with _DECODING:
        starts = _starts(path, changed)
        group = max(i for i, start in enumerate(starts) if start < number)
        cell = _group(path, changed, column, group)[number - starts[group] - 1].as_py() or {}
    return cell.get("bytes") or b"", cell.get("path") or f"row {number}"


@lru_cache(maxsize=8)
def _starts(path: Path, changed: int) -> list[int]:
    facts = pq.read_metadata(path)
    counts = [facts.row_group(i).num_rows for i in range(facts.num_row_groups)]
    return [sum(counts[:i]) for i in range(len(counts))]


@lru_cache(maxsize=8)
def _group(path: Path, changed: int, column: str, group: int) -> pa.Array:
    with pq.ParquetFile(path) as file:
        return cells.whole(file.read_row_group(group, columns=[column], use_threads=False).column(0))
