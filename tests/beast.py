"""A broken data file, and short ways to write one."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

#: Rows without a fault: sixty texts, two classes in turn.
ROWS = [(f"example number {i} about {'cats' if i % 2 else 'dogs'}", "cat" if i % 2 else "dog") for i in range(60)]
HEADER = ("text", "label")

Write = Callable[[Path], object]


@dataclass(frozen=True)
class Beast:
    """A broken file: how to write it, and the kind it must be named by.

    `level` is "refused" when reading must stop, else that of the finding; `rows` are those the finding must name.
    Task, columns and options are guessed where they are not given. `eval` writes a second file, to evaluate on. A
    `heavy` one would fill the memory of a careless reader.
    """

    name: str
    write: Write
    kind: str
    level: str = "refused"
    columns: Mapping[str, str] | None = None
    task: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    eval: Write | None = None
    rows: tuple[int, ...] = ()
    heavy: bool = False


def table(rows: list[tuple[object, ...]], header: tuple[str, ...] = HEADER, delimiter: str = ",") -> bytes:
    """Return rows as csv bytes."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([header, *rows])
    return out.getvalue().encode()


def data(content: bytes | str) -> Write:
    """Return a writer of these bytes."""
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def lines(*records: object) -> Write:
    """Return a writer of one JSON value a line; texts are written as they are."""
    text = "\n".join(item if isinstance(item, str) else json.dumps(item) for item in records) + "\n"
    return data(text)


def document(value: object) -> Write:
    """Return a writer of one JSON document."""
    return data(json.dumps(value))


def zipped(members: Mapping[str, bytes | str], packing: int = zipfile.ZIP_STORED) -> Write:
    """Return a writer of a zip archive."""
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", packing) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    return write


def workbook(rows: list[tuple[Any, ...]]) -> Write:
    """Return a writer of an Excel workbook with one sheet."""
    def write(path: Path) -> None:
        book = openpyxl.Workbook()
        sheet: Any = book.active
        for row in rows:
            sheet.append(row)
        book.save(path)
    return write


def parquet(columns: Mapping[str, Any]) -> Write:
    """Return a writer of a parquet file."""
    return lambda path: pq.write_table(pa.table(dict(columns)), path)


def changed(write: Write, change: Callable[[bytearray], bytes | bytearray]) -> Write:
    """Return a writer of a file whose bytes were changed after it was written."""
    def damaged(path: Path) -> None:
        write(path)
        path.write_bytes(change(bytearray(path.read_bytes())))
    return damaged


def scrambled(start: int, end: int) -> Callable[[bytearray], bytearray]:
    """Return a change that overwrites the bytes from `start` to `end` with nonsense."""
    def change(content: bytearray) -> bytearray:
        size = len(content[start:end])
        content[start:end] = b"\xff" * size
        return content
    return change


def repeated(piece: bytes, megabytes: int, before: bytes = b"", after: bytes = b"") -> Write:
    """Return a writer of a gzip file that is one `piece` over and over."""
    def write(path: Path) -> None:
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(before)
            for _ in range(megabytes):
                file.write(piece * ((1 << 20) // len(piece)))
            file.write(after)
    return write


def picture(number: int, size: tuple[int, int] = (12, 10), kind: str = "PNG") -> bytes:
    """Return a small image, another one for each number."""
    out = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 11 % 256, number % 256)).save(out, kind)
    return out.getvalue()


GOOD = table(ROWS)
COLUMNS = {"text": [row[0] for row in ROWS], "label": [row[1] for row in ROWS]}
