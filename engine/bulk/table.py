"""A file that grows by rows: csv or parquet, the columns it had and those that a model fills."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from engine.data import cells

Format = Literal["csv", "parquet"]
#: What a person should know of a row: why it has no prediction, or that it was cut short.
NOTE = "note"
#: Which window of its row a line is about, from 1; only where long texts were cut into windows.
WINDOW = "window"
#: What is said of a line without any reply.
BESIDE = frozenset({NOTE, WINDOW})


def named(wanted: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Return the name of each new column; one that the file has already is said to be `predicted`."""
    made: dict[str, str] = {}
    for name in wanted:
        used, tried, number = {*taken, *made.values()}, name, 2
        if tried in used:
            tried = f"{name}_predicted"
        while tried in used:
            tried, number = f"{name}_predicted_{number}", number + 1
        made[name] = tried
    return made


class Growing:
    """A file of rows with what a model says about them; `names` are the columns of the file that stay.

    What a model fills is known from its first reply: rows before that are held back. An image stays as its name.
    """

    def __init__(self, path: Path, format: Format, names: Sequence[str]) -> None:
        self.path, self.format, self.names = path, format, list(names)
        self.rows = 0
        #: What is filled, by the name of its column in the file; empty before the first reply.
        self.filled: dict[str, str] = {}
        self._types: dict[str, pa.DataType] = {}
        self._held: list[tuple[pa.RecordBatch, list[dict[str, Any]]]] = []
        self._sink: _Csv | _Parquet | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        elif self._sink is not None:
            self._sink.close()

    def add(self, batch: pa.RecordBatch, filled: Sequence[Mapping[str, Any]]) -> None:
        """Take rows and what is filled in for each: values by name, and a `note`; a row without a reply has no more."""
        self._held.append((batch, [dict(one) for one in filled]))
        if self._sink is not None or any(set(one) - BESIDE for one in filled):
            self._flush()

    def close(self) -> None:
        """Write what is left and end the file."""
        if self._held:
            self._flush()
        if self._sink is None:
            self._open(pa.schema([]))
        assert self._sink is not None
        self._sink.close()

    def _flush(self) -> None:
        for batch, filled in self._held:
            kept = _plain(batch.select([name for name in self.names if name in batch.schema.names]))
            if self._sink is None:
                self._settle([one for _, rows in self._held for one in rows])
                self._open(kept.schema)
            assert self._sink is not None
            arrays = [_array([one.get(name) for one in filled], self._types[name]) for name in self.filled]
            schema = pa.schema([*kept.schema, *(pa.field(self.filled[name], self._types[name])
                                                for name in self.filled)])
            self._sink.add(pa.RecordBatch.from_arrays([*kept.columns, *arrays], schema=schema))
            self.rows += batch.num_rows
        self._held = []

    def _settle(self, filled: Sequence[Mapping[str, Any]]) -> None:
        """Find out which columns are filled, and with what."""
        wanted = [name for name in dict.fromkeys(name for one in filled for name in one) if name != NOTE]
        self.filled = named([*wanted, NOTE], self.names)
        self._types = {name: _type([one[name] for one in filled if one.get(name) is not None])
                       for name in wanted} | {NOTE: pa.string()}

    def _open(self, kept: pa.Schema) -> None:
        if not self.filled:
            self._settle([])
        schema = pa.schema([*kept, *(pa.field(self.filled[name], self._types[name]) for name in self.filled)])
        self._sink = _Csv(self.path, schema) if self.format == "csv" else _Parquet(self.path, schema)


class _Csv:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(schema.names)

    def add(self, batch: pa.RecordBatch) -> None:
        self._writer.writerows(zip(*([_text(value) for value in column.to_pylist()] for column in batch.columns),
                                   strict=True))

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="snappy")

    def add(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with the names of images in the place of images."""
    for index, name in enumerate(batch.schema.names):
        if cells.is_image(batch.column(index)):
            names = cells.image_names(pa.chunked_array([batch.column(index)]))
            made = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
            batch = batch.set_column(index, name, made.cast(pa.string()))
    return batch


def _text(value: Any) -> str:
    """Return a cell of a csv file: numbers and lists as JSON has them, nothing for nothing."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str).strip('"')


def _type(values: Sequence[Any]) -> pa.DataType:
    if values and all(isinstance(value, int | float) for value in values):
        whole = all(isinstance(value, int) for value in values)
        return pa.int64() if whole else pa.float64()
    return pa.string()


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        values = [None if value is None else str(value) for value in values]
    return pa.array(values, kind, from_pandas=True)
