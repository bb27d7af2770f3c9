"""Encoded examples in one Arrow file, mapped rather than read: each comes back as it was made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

Row = dict[str, Any]


class Unkept(Exception):
    """These examples hold something that would not come back the same."""


class StoredRows(Sequence[Row]):
    """Examples of a mapped file; one is made when it is asked for, its arrays read-only views of the file."""

    def __init__(self, count: int, fields: dict[str, Callable[[int], Any]]) -> None:
        """`fields` returns the value of a field for the number of an example."""
        self._count = count
        self._fields = fields

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self._row(i) for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._row(int(index) % self._count)

    def __iter__(self) -> Iterator[Row]:
        return map(self._row, range(self._count))

    def _row(self, index: int) -> Row:
        return {name: value(index) for name, value in self._fields.items()}


def write(path: Path, rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """Write examples that have the same fields, and JSON-able `facts`; raises Unkept, OSError."""
    names = list(rows[0]) if rows else []
    if any(list(row) != names for row in rows):
        raise Unkept("fields")
    columns, kinds = [], {}
    for name in names:
        kinds[name], column = _column([row[name] for row in rows])
        columns.append(column)
    about = json.dumps({"rows": len(rows), "kinds": kinds, "facts": _exact(facts)})
    schema = pa.schema([(name, column.type) for name, column in zip(names, columns, strict=True)], {"about": about})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as out:
        out.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def read(path: Path) -> tuple[StoredRows, dict[str, Any]]:
    """Return the examples of a file and the facts kept with them; raises OSError or ValueError for a damaged one."""
    with pa.memory_map(str(path)) as mapped:
        file = pa.ipc.open_file(mapped)
        about = json.loads((file.schema.metadata or {})[b"about"])
        batch = file.get_batch(0)
    if batch.num_rows != about["rows"] and batch.num_columns:
        raise ValueError("rows")
    fields = {name: _reader(batch.column(name), *about["kinds"][name]) for name in batch.schema.names}
    return StoredRows(about["rows"], fields), about["facts"]


def _column(values: list[Any]) -> tuple[list[Any], pa.Array]:
    """Return what a field's values are and an Arrow array of them."""
    first = values[0]
    if isinstance(first, np.ndarray):
        if any(type(value) is not np.ndarray or value.dtype != first.dtype or value.shape[1:] != first.shape[1:]
               or not value.ndim for value in values) or first.dtype.kind not in "iufb":
            raise Unkept("arrays")
        return ["array", first.dtype.str, list(first.shape[1:])], _lists(
            np.concatenate(values).reshape(-1).view(_plain(first.dtype)), [value.size for value in values])
    types = {type(value) for value in values}
    if types == {int} and all(-(1 << 63) <= value < 1 << 63 for value in values):
        return ["int"], pa.array(values, pa.int64())
    if types == {float}:
        return ["float"], pa.array(values, pa.float64())
    if types == {list} and all(type(item) is float for value in values for item in value):
        return ["floats"], _lists(np.array([item for value in values for item in value], dtype=np.float64),
                                  [len(value) for value in values])
    return ["json"], pa.array([json.dumps(_exact(value)) for value in values], pa.large_string())


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of numbers that Arrow keeps these as, bit for bit."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


def _lists(flat: np.ndarray, sizes: list[int]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _exact(value: Any) -> Any:
    """Return a value that JSON gives back as it is; raises Unkept for any other."""
    kind = type(value)
    if kind in (str, int, bool, type(None)) or (kind is float and value == value and abs(value) != float("inf")):
        return value
    if kind is list:
        return [_exact(item) for item in value]
    if kind is dict and all(type(name) is str for name in value):
        return {name: _exact(item) for name, item in value.items()}
    raise Unkept(kind.__name__)


def _reader(column: pa.Array, kind: str, dtype: str = "", shape: Sequence[int] = ()) -> Callable[[int], Any]:
    """Return the function from the number of an example to its value."""
    if kind == "json":
        return lambda index: json.loads(column[index].as_py())
    if kind in ("int", "float"):
        numbers = column.to_numpy()
        return lambda index: numbers[index].item()
    offsets = column.offsets.to_numpy()
    values = column.values.to_numpy()
    if kind == "floats":
        return lambda index: values[offsets[index]:offsets[index + 1]].tolist()
    values = values.view(np.dtype(dtype))
    if shape:
        return lambda index: values[offsets[index]:offsets[index + 1]].reshape(-1, *shape)
    return lambda index: values[offsets[index]:offsets[index + 1]]
