"""Parquet and Arrow files as record batches of the few types that training uses."""

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

from engine.data import chat, image, kinds
from engine.data import names as names_of
from engine.data.arrow import IpcFile
from engine.data.compute import pc
from engine.data.dialect import column_names
from engine.data.errors import BrokenImage, FileEmpty, ImageTooLarge, ParquetBroken, TooManyColumns
from engine.data.faults import Faults
from engine.data.source import Source
from engine.data.stream import Hooks, expanded
from engine.findings import Finding

SIZE = 20_000
MOST_COLUMNS = 10_000
#: Rows read at once where some hold images.
IMAGES = 128


def names(path: Path, source: Source) -> list[str]:
    """Return the names of the columns; raises ParquetBroken or ArrowBroken."""
    with _opened(path, source, Hooks()) as file:
        if len(file.schema_arrow) > MOST_COLUMNS:
            raise TooManyColumns(path.name, count=len(file.schema_arrow), limit=MOST_COLUMNS)
        images = _images(file)
        found = [field.name for field in file.schema_arrow if field.name in images or not _is_bytes(field.type)]
    if not len(file.schema_arrow):
        raise FileEmpty(path.name)
    return found if len(set(found)) == len(found) else column_names(found)


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks,
            rows: int | None = None, *, thorough: bool = False) -> Iterator[pa.RecordBatch]:
    """Yield batches of string, int64, float64, list<string>, message and image columns.

    Raises ParquetBroken or ArrowBroken.
    Rows whose image cannot be used are noted and left out; `thorough` decodes every one to see.
    """
    with _opened(path, source, hooks) as file:
        schema = file.schema_arrow
        classes, images = _class_names(schema), _images(file)
        wanted = [i for i, field in enumerate(schema) if field.name in images or not _is_bytes(field.type)]
        left = set(range(len(schema))) - set(wanted)
        _dropped([schema.field(i).name for i in sorted(left)], faults)
        total, done = max(1, 1 if isinstance(file, IpcFile) else file.metadata.num_rows), 0
        try:
            for batch in file.iter_batches(batch_size=min(rows or SIZE, IMAGES if images else SIZE), use_threads=False):
                hooks.at(file.read if isinstance(file, IpcFile) else done / total)
                arrays = [_pictures(batch.column(i), done + 1) if schema.field(i).name in images else
                          _column(batch.column(i), schema.field(i).name, done + 1, faults, classes) for i in wanted]
                names = source.columns or [schema.field(i).name for i in wanted]
                made = pa.RecordBatch.from_arrays(arrays, names=names)
                done += batch.num_rows
                yield _usable(made, done - batch.num_rows + 1, faults) if images and thorough else made
        except (pa.ArrowException, OSError) as error:
            raise ParquetBroken(path.name, reason=_first_line(error)) from None


@contextmanager
def _opened(path: Path, source: Source, hooks: Hooks) -> Generator[pq.ParquetFile | IpcFile, None, None]:
    with tempfile.TemporaryDirectory(prefix="columns-") as folder:
        if source.compression:
            plain = Path(folder) / "data"
            with plain.open("wb") as out:
                for data in expanded(path, source.compression, hooks):
                    out.write(data)
        else:
            plain = path
        if source.format == "arrow":
            yield IpcFile(plain, path.name)
            return
        try:
            file = pq.ParquetFile(plain, memory_map=False)
        except (pa.ArrowException, OSError) as error:
            raise ParquetBroken(path.name, reason=_first_line(error)) from None
        with file:
            yield file


def _images(file: pq.ParquetFile | IpcFile) -> set[str]:
    """Return the columns that hold images: bytes that begin as images do, alone or as the `datasets` library has them.

    Only the first filled rows are looked at.
    """
    found: set[str] = set()
    for field in file.schema_arrow:
        bare = pt.is_binary(field.type) or pt.is_large_binary(field.type)
        if not bare and not image.is_image(field.type):
            continue
        batch = next(file.iter_batches(batch_size=IMAGES, columns=[field.name], use_threads=False), None)
        values = [] if batch is None else batch.column(0).to_pylist()
        data = next((value if bare else value["bytes"] for value in values
                     if value is not None and (bare or value["bytes"] is not None)), b"")
        if image.known(data[:16]):
            found.add(field.name)
    return found


def _pictures(array: pa.Array, first: int) -> pa.Array:
    """Return images as `image.TYPE`, those without a name called by their row."""
    cells: list[dict[str, Any] | None] = []
    for row, value in enumerate(array.to_pylist(), first):
        data = value["bytes"] if isinstance(value, dict) else value
        name = value["path"] if isinstance(value, dict) else None
        cells.append(None if data is None else {"bytes": data, "path": name or f"row {row}"})
    return pa.array(cells, image.TYPE)


def _usable(batch: pa.RecordBatch, first: int, faults: Faults) -> pa.RecordBatch:
    """Return the rows whose images can be used."""
    kept = [True] * batch.num_rows
    for column in (column for column in batch.columns if image.is_image(column.type)):
        for place, value in enumerate(column.to_pylist()):
            try:
                if value is not None:
                    image.check(value["bytes"], value["path"])
            except (BrokenImage, ImageTooLarge) as error:
                faults.add(error.kind, first + place, error.what, error.try_this)
                kept[place] = False
    return batch if all(kept) else batch.filter(pa.array(kept))


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
