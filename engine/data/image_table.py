"""Images whose labels stand in a table beside them: one column names the file, the others say what is on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from engine.data import bundle
from engine.data.entries import Entry
from engine.data.faults import Faults
from engine.data.files import Make
from engine.data.stream import Hooks
from engine.errors import DataError
from engine.findings import Finding

#: Rows looked at, and the share of them that must name an image.
_LOOKED_AT, _NAMED = 200, 0.5
IMAGE = "image"


class Index:
    """Finds images by what a table calls them: a path, a file name, or a name without its ending."""

    def __init__(self, images: Sequence[Entry], base: PurePosixPath) -> None:
        """Paths in the table count from the archive's root, or from `base`, the folder the table lies in."""
        self.base = base
        self.paths = {str(entry.path.with_suffix("")): entry for entry in images}
        self.paths |= {str(entry.path): entry for entry in images}
        self.names: dict[str, Entry | None] = {}
        self.stems: dict[str, Entry | None] = {}
        for entry in images:
            for known, name in ((self.names, entry.path.name), (self.stems, entry.path.stem)):
                known[name] = None if name in known else entry

    def find(self, value: Any, *, bare: bool = True) -> Entry | None:
        """Return the image a cell names; None when there is none, or several of that name.

        `bare` tells whether a file's name without folder and ending is enough.
        """
        text = str(value if value is not None else "").strip().replace("\\", "/").removeprefix("./")
        if not text:
            return None
        name = PurePosixPath(text).name
        found = self.paths.get(text) if bare or "/" in text or "." in text else None
        found = found or (self.paths.get(str(self.base / text)) if bare or "." in text or "/" in text else None)
        return found or self.names.get(name) or (self.stems.get(name) if bare else None)


def tables(chosen: Sequence[Entry], images: Sequence[Entry], hooks: Hooks, make: Make) -> list[tuple[Entry, str]]:
    """Return the tables of which a column names these images, each with that column; all have the same columns."""
    found: list[tuple[Entry, str]] = []
    columns: list[str] = []
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        for entry in chosen:
            if not bundle.is_table(entry):
                continue
            copy = entry.copy(Path(folder) / entry.path.name, hooks)
            try:
                head = next(iter(make(f"head of {entry.path}", copy, hooks.within(0, 0), _LOOKED_AT).batches()), None)
            except DataError:
                # A file that is no table says nothing of the images.
                continue
            column = _naming(head, Index(images, entry.path.parent)) if head is not None else None
            if head is not None and column and (not columns or columns == head.schema.names):
                columns = list(head.schema.names)
                found.append((entry, column))
    return found


def rows(table: Entry, column: str, images: Sequence[Entry], faults: Faults, hooks: Hooks, make: Make,
         before: int) -> Iterator[tuple[int, Entry, dict[str, Any]]]:
    """Yield (row, image, the other columns) for each row of a table; rows without an image are noted."""
    index, seen, number = Index(images, table.path.parent), set[PurePosixPath](), before
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        copy = table.copy(Path(folder) / table.path.name, hooks)
        reading = make(str(table.path), copy, hooks, None)
        for batch in reading.batches():
            for row in batch.to_pylist():
                number += 1
                name = row.pop(column)
                entry = index.find(name)
                if entry is None:
                    faults.add("image_not_there", number, f"Row {number} names the image '{name}', which is not there.",
                               "Add the file, correct its name, or leave the row out.", where=str(table.path))
                    continue
                seen.add(entry.path)
                row.pop(IMAGE, None)
                yield number, entry, row
        faults.take(reading.findings(), table.path.name, before)
    unlisted = [entry for entry in images if entry.path not in seen]
    if unlisted:
        faults.note(Finding(kind="images_unlisted", level="note", where=str(table.path), count=len(unlisted),
                            what=f"{len(unlisted):,} images have no row in '{table.path}' and are left out: "
                                 f"{bundle.listed(unlisted, 3)}.", try_this="Add rows for them if you need them."))


def _naming(head: pa.RecordBatch, index: Index) -> str | None:
    """Return the column whose values name images: each another one, and best with folder or ending, as numbers may."""
    shares: dict[str, float] = {}
    for name, column in zip(head.schema.names, head.columns, strict=True):
        if not head.num_rows or pt.is_nested(column.type):
            continue
        values = column.to_pylist()[:_LOOKED_AT]
        for bare in (False, True):
            found = [entry.path for value in values if (entry := index.find(value, bare=bare))]
            apart = len(set(found)) / max(1, len(found))
            if len(found) >= _NAMED * len(values) and (apart >= _NAMED or not bare):
                shares.setdefault(name, len(found) / len(values) + apart / 10 - bare)
    return max(shares, key=lambda name: shares[name], default=None)
