"""Any page of a stored table, searched and sorted over the whole file, which is never loaded."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.data import cells, order
from engine.data.compute import pc
from engine.data.errors import ColumnUnknown, FileMissing, ParquetBroken
from engine.data.search import matching
from engine.data.stream import Hooks, Progress
from engine.data.views import Views

#: Characters of one cell that are shown; the whole length is told beside them.
LONGEST_CELL = 2_000
#: Texts inside a cell that are never cut, such as who speaks.
SHORT = 32
#: Bytes decoded at once while the whole file is gone through.
SCANNED = 8 << 20
#: One look at a whole file at a time in a process, so that its memory stays bounded.
_LOOKING = threading.Lock()


@dataclass(frozen=True)
class Page:
    """Rows to look at: each with its number in the file, counted from 1, out of `total` that were searched for.

    An image is {path, bytes}: its name and size. Long texts are cut: `clipped` holds, for each row, the columns that
    were and how many characters they really have.
    """

    rows: list[dict[str, Any]]
    total: int
    numbers: list[int]
    clipped: list[dict[str, int]]


class Rows:
    """The rows of a parquet file; searches and orders are kept in a folder beside it, `<file>.views`."""

    def __init__(self, parquet: Path, *, longest: int = LONGEST_CELL, views: Path | None = None) -> None:
        """Open nothing yet. `longest` is in characters of a cell; raises FileMissing or ParquetBroken when read."""
        self.path = parquet
        self.longest = longest
        self.views = Views(views or parquet.with_name(parquet.name + ".views"))

    @property
    def total(self) -> int:
        """How many rows the file has."""
        return self._metadata().num_rows

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._metadata().schema.to_arrow_schema().names)

    @property
    def bytes(self) -> int:
        """How many bytes the rows have unpacked."""
        found = self._metadata()
        return sum(found.row_group(group).total_byte_size for group in range(found.num_row_groups))

    def page(self, offset: int, limit: int, *, search: str = "", sort: str | None = None, descending: bool = False,
             columns: Sequence[str] | None = None, progress: Progress | None = None,
             cancelled: Callable[[], bool] | None = None) -> Page:
        """Return `limit` rows from place `offset` on, of those that hold `search` anywhere, in the order of `sort`.

        The first page of a search or an order goes through the whole file, as `prepare` does; those after it do not.
        Raises ColumnUnknown, Cancelled.
        """
        offset, limit = max(0, offset), max(0, limit)
        chosen = self._chosen(search, sort, descending, Hooks(progress, cancelled))
        if chosen is None:
            total = self.total
            places = np.arange(min(offset, total), min(offset + limit, total))
        else:
            total, places = len(chosen), np.asarray(chosen[offset:offset + limit], dtype=np.int64)
        rows, clipped = _shown(self.take((places + 1).tolist(), columns), self.longest)
        return Page(rows=rows, total=total, numbers=(places + 1).tolist(), clipped=clipped)

    def prepare(self, search: str = "", sort: str | None = None, descending: bool = False, *,
                progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> int:
        """Search and sort ahead of the first page; return how many rows there are. Raises Cancelled."""
        chosen = self._chosen(search, sort, descending, Hooks(progress, cancelled))
        return self.total if chosen is None else len(chosen)

    def ready(self, search: str = "", sort: str | None = None, descending: bool = False) -> bool:
        """Tell whether a page of this search in this order is there without going through the file."""
        return all(self.views.has(key) for key in self._keys(search, sort, descending) if key)

    def take(self, numbers: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of these numbers (from 1, in any order) whole, reading only the parts they lie in."""
        wanted = np.asarray(numbers, dtype=np.int64) - 1
        with self._opened() as file:
            names = self._known(columns)
            schema = file.schema_arrow
            if not len(wanted):
                return pa.schema([schema.field(name) for name in names]).empty_table()
            ends = _ends(file.metadata)
            groups = np.searchsorted(ends, wanted, side="right")
            parts: list[pa.Table] = []
            places: list[np.ndarray] = []
            for group in np.unique(groups):
                here = np.flatnonzero(groups == group)
                first = ends[group - 1] if group else 0
                whole = file.read_row_group(int(group), columns=names, use_threads=False).select(names)
                parts.append(whole.take(pa.array(wanted[here] - first)))
                places.append(here)
        return pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(places))))

    def batches(self, columns: Sequence[str] | None = None,
                at: Progress = lambda part: None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (place of the first row, rows) through the whole file, about SCANNED bytes at a time.

        `at` is told the share done.
        """
        with self._opened() as file:
            names, done, total = self._known(columns), 0, max(1, file.metadata.num_rows)
            for group in range(file.metadata.num_row_groups):
                facts = file.metadata.row_group(group)
                size = max(1, SCANNED * facts.num_rows // max(1, facts.total_byte_size))
                at(done / total)
                for batch in file.iter_batches(batch_size=min(size, 1 << 16), row_groups=[group], columns=names,
                                               use_threads=False):
                    yield done, batch.select(names)
                    done += batch.num_rows

    def size(self, column: str) -> int:
        """Return the bytes of a column's values, as they lie in the file unpacked."""
        found = self._metadata()
        inside = [i for i in range(found.num_columns)
                  if found.schema.column(i).path == column or found.schema.column(i).path.startswith(f"{column}.")]
        return sum(found.row_group(group).column(i).total_uncompressed_size
                   for group in range(found.num_row_groups) for i in inside)

    def _chosen(self, search: str, sort: str | None, descending: bool, hooks: Hooks) -> np.ndarray | None:
        """Return the places (from 0) of the rows to show, in order; None for all of them as they stand."""
        if sort is not None:
            self._known([sort])
        found, ordered = self._keys(search, sort, descending)
        text = search.strip()
        first, second = (hooks.within(0.0, 0.5), hooks.within(0.5, 0.5)) if found and ordered else (hooks, hooks)
        matches = self._view(found, lambda: self._search(text, first), first) if found else None
        if not ordered:
            return matches
        places = self._view(ordered, lambda: self._sort(str(sort), descending, second), second)
        if matches is None:
            return places
        among = np.zeros(self.total, dtype=bool)
        among[matches] = True
        return places[among[places]]

    def _view(self, key: str, work: Callable[[], np.ndarray], hooks: Hooks) -> np.ndarray:
        found = self.views.get(key)
        if found is not None:
            return found
        while not _LOOKING.acquire(timeout=0.2):
            hooks.at(0.0)
        try:
            found = self.views.get(key)
            return self.views.put(key, work()) if found is None else found
        finally:
            pa.default_memory_pool().release_unused()
            _LOOKING.release()

    def _keys(self, search: str, sort: str | None, descending: bool) -> tuple[str, str]:
        """Return the names that the search and the order are kept under; empty where there is none."""
        state = self._state()
        text = search.strip()
        return (Views.key("search", state, text) if text else "",
                Views.key("sort", state, sort, descending) if sort is not None else "")

    def _search(self, text: str, hooks: Hooks) -> np.ndarray:
        found = [start + np.flatnonzero(matching(batch, text)) for start, batch in self.batches(None, hooks.at)]
        return np.concatenate(found).astype(np.uint32) if found else np.zeros(0, np.uint32)

    def _sort(self, column: str, descending: bool, hooks: Hooks) -> np.ndarray:
        def read(at: Progress) -> Iterator[tuple[int, pa.Array]]:
            return ((start, batch.column(0)) for start, batch in self.batches([column], at))

        return order.of(read, self.total, descending, hooks).astype(np.uint32)

    def _known(self, columns: Sequence[str] | None) -> list[str]:
        names = self.columns
        for name in columns or ():
            if name not in names:
                raise ColumnUnknown(name, column=name, columns=", ".join(names[:20]))
        return list(columns) if columns is not None else names

    def _metadata(self) -> pq.FileMetaData:
        return _metadata(self.path, *self._state())

    def _state(self) -> tuple[int, int]:
        """Return what changes when the file does."""
        try:
            found = self.path.stat()
        except OSError:
            raise FileMissing(self.path.name, name=self.path.name) from None
        return found.st_size, found.st_mtime_ns

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        metadata = self._metadata()
        with intact(self.path), \
                pq.ParquetFile(self.path, metadata=metadata, memory_map=False, pre_buffer=False) as file:
            yield file


@functools.lru_cache(maxsize=4)
def _metadata(path: Path, size: int, changed: int) -> pq.FileMetaData:
    """Return the file's table of contents; `size` and `changed` only tell one state of the file from another."""
    with intact(path):
        return pq.read_metadata(path)


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises about a file into ParquetBroken."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ParquetBroken(path.name, reason=str(error).split("\n", 1)[0][:200]) from None


def _ends(metadata: pq.FileMetaData) -> np.ndarray:
    """Return after how many rows each row group ends."""
    return np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])


def _shown(table: pa.Table, longest: int) -> tuple[list[dict[str, Any]], list[dict[str, int]]]:
    """Return rows for a person to look at, and the lengths of the cells that were cut."""
    rows: list[dict[str, Any]] = [{} for _ in range(table.num_rows)]
    clipped: list[dict[str, int]] = [{} for _ in range(table.num_rows)]
    for name in table.column_names:
        column = table.column(name)
        values = _pictures(column) if cells.is_image(column) else column.to_pylist()
        for row, cut, value in zip(rows, clipped, values, strict=True):
            characters = _length(value)
            row[name] = value if characters <= longest else _cut(value, [longest])
            if characters > longest:
                cut[name] = characters
    return rows, clipped


def _pictures(column: pa.ChunkedArray) -> list[Any]:
    array = cells.whole(column)
    sizes = pc.fill_null(pc.binary_length(pc.struct_field(array, "bytes")), 0).to_pylist()
    names = pc.struct_field(array, "path").to_pylist()
    return [{"path": name, "bytes": size} if there else None
            for name, size, there in zip(names, sizes, array.is_valid().to_pylist(), strict=True)]


def _length(value: Any) -> int:
    """Return the characters of a cell, all texts in it together."""
    if isinstance(value, str):
        return len(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_length, items))


def _cut(value: Any, room: list[int]) -> Any:
    """Return a cell with only the first `room[0]` characters of its texts; lists end where the room does."""
    if isinstance(value, str):
        kept, room[0] = value[:room[0]], max(0, room[0] - len(value))
        return value if len(value) <= max(SHORT, len(kept)) else kept + "…"
    if isinstance(value, dict):
        return {name: _cut(item, room) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    kept = []
    for item in value:
        if room[0] <= 0:
            break
        kept.append(_cut(item, room))
    return kept
