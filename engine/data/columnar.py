"""Parquet files as record batches of the few types that training uses."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from engine.data import chat, kinds
from engine.data import names as names_of
from engine.data.compute import pc
from engine.data.errors import ParquetBroken
from engine.data.faults import Faults
from engine.data.source import Source
from engine.data.stream import Hooks, expanded
from engine.findings import Finding

SIZE = 20_000


def names(path: Path, source: Source) -> list[str]:
    """Return the names of the columns; raises ParquetBroken."""
    with _opened(path, source, Hooks()) as file:
        return [field.name for field in file.schema_arrow if not _is_bytes(field.type)]


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks,
            rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """Yield batches of string, int64, float64, list<string> and message columns; raises ParquetBroken."""
    with _opened(path, source, hooks) as file:
        schema = file.schema_arrow
        classes = _class_names(schema)
        _dropped([field.name for field in schema if _is_bytes(field.type)], faults)
        total, done = max(1, file.metadata.num_rows), 0
        try:
            for batch in file.iter_batches(batch_size=min(rows or SIZE, SIZE), use_threads=False):
                hooks.at(done / total)
                kept = [i for i, field in enumerate(schema) if not _is_bytes(field.type)]
                arrays = [_column(batch.column(i), schema.field(i).name, done + 1, faults, classes) for i in kept]
                done += batch.num_rows
                yield pa.RecordBatch.from_arrays(arrays, names=source.columns or [schema.field(i).name for i in kept])
        except (pa.ArrowException, OSError) as error:
            raise ParquetBroken(path.name, reason=_first_line(error)) from None


@contextmanager
def _opened(path: Path, source: Source, hooks: Hooks) -> Generator[pq.ParquetFile, None, None]:
    with tempfile.TemporaryDirectory(prefix="parquet-") as folder:
        if source.compression:
            plain = Path(folder) / "data.parquet"
            with plain.open("wb") as out:
                for data in expanded(path, source.compression, hooks):
                    out.write(data)
        else:
            plain = path
        try:
            file = pq.ParquetFile(plain, memory_map=False)
        except (pa.ArrowException, OSError) as error:
            raise ParquetBroken(path.name, reason=_first_line(error)) from None
        with file:
            yield file


def _column(array: pa.Array, name: str, first: int, faults: Faults, classes: dict[str, list[str]]) -> pa.Array:
    kind = array.type
    if pt.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if name in classes and pt.is_integer(kind):
        known = pa.array(classes[name], pa.string())
        return known.take(pc.if_else(pc.and_(pc.greater_equal(array, 0), pc.less(array, len(known))), array, None))
    if pt.is_boolean(kind) or pt.is_string(kind) or pt.is_large_string(kind):
        return pc.cast(array, pa.string())
    if pt.is_integer(kind) and kind != pa.uint64():
        return pc.cast(array, pa.int64())
    if pt.is_floating(kind):
        return pc.cast(array, pa.float64())
    if pt.is_nested(kind):
        return _nested(array, name, first, faults)
    if pt.is_null(kind):
        return pa.nulls(len(array), pa.string())
    return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())


def _nested(array: pa.Array, name: str, first: int, faults: Faults) -> pa.Array:
    kind = array.type
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        inner = kind.value_type
        if pt.is_struct(inner) and chat.is_message({inner.field(i).name: "" for i in range(inner.num_fields)}):
            return kinds.array(array.to_pylist(), "messages", name, first, faults)
        if not pt.is_nested(inner) and not _is_bytes(inner):
            return kinds.array(array.to_pylist(), "strings", name, first, faults)
    if name not in names_of.UNDERSTOOD:
        faults.note(Finding(kind="nested_json", level="warning", where=name, count=1,
                            what=f"The column '{name}' holds nested data; it is kept as JSON text.",
                            try_this="Flatten it into columns of its own if you want to train on what is inside."))
    return kinds.array(array.to_pylist(), "json", name, first, faults)


def _is_bytes(kind: pa.DataType) -> bool:
    if pt.is_struct(kind):
        return any(_is_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the class names that the `datasets` library stores beside integer labels, by column."""
    stored = (schema.metadata or {}).get(b"huggingface")
    try:
        features: dict[str, Any] = json.loads(stored)["info"]["features"] if stored else {}
        return {name: list(map(str, entry["names"])) for name, entry in features.items()
                if isinstance(entry, dict) and entry.get("_type") == "ClassLabel" and entry.get("names")}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _dropped(columns: list[str], faults: Faults) -> None:
    if columns:
        listed = ", ".join(f"'{name}'" for name in columns)
        faults.note(Finding(kind="binary_columns", level="warning", where=columns[0], count=len(columns),
                            what=f"The columns {listed} hold bytes, such as images; they are left out.",
                            try_this="Go on if you do not need them."))


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]
