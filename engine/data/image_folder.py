"""Images sorted into folders, one folder a class, or named in a table: a directory, or a zip archive never unpacked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.data import bundle, image, image_table, kinds
from engine.data.entries import Entry, bounded, opened
from engine.data.errors import BrokenImage, ImageTooLarge, MemberBroken, NoImages
from engine.data.faults import Faults
from engine.data.files import Make, tell
from engine.data.source import Source
from engine.data.stream import Hooks, size_text

COLUMNS = ["image", "label"]
#: Bytes and images of one batch.
BATCH_BYTES, BATCH = 16 << 20, 256


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks, make: Make, rows: int | None = None, *,
            thorough: bool = False) -> Iterator[pa.RecordBatch]:
    """Yield batches of `image` (bytes, path) and `label`, in the order of the paths, or as a table beside them says.

    Images that cannot be used are noted by name and left out; `thorough` decodes each of them. Raises ArchiveBroken,
    ArchiveLocked, UnsafeArchive, ExpandedTooLarge, NoImages, Cancelled.
    """
    with opened(path) as entries:
        plan = bundle.plan(entries, path.name)
        chosen = plan.chosen(source.part)
        images = [entry for entry in chosen if bundle.is_image(entry)]
        bounded(images, hooks, path.name)
        tables = image_table.tables(chosen, images, hooks, make)
        if not tables and not any(entry.label for entry in images):
            raise NoImages(path.name)
        tell(plan, source.part, faults, entries)
        found = _listed(tables, images, faults, hooks, make) if tables else _sorted(images, hooks, faults)
        yield from _batched(found, faults, min(rows or BATCH, BATCH), thorough)


def digest(folder: Path) -> tuple[str, int]:
    """Return the sha256 over the names and bytes of all files of a folder, and their size."""
    found, size = hashlib.sha256(), 0
    with opened(folder) as entries:
        for entry in entries:
            found.update(f"{entry.path}\0{entry.size}\0".encode())
            with entry.open() as file:
                while data := file.read(1 << 20):
                    found.update(data)
                    size += len(data)
    return found.hexdigest(), size


def _sorted(images: Sequence[Entry], hooks: Hooks, faults: Faults) -> Iterator[tuple[int, Entry, dict[str, Any]]]:
    """Yield (row, image, its label), the class being the folder it lies in."""
    for number, entry in enumerate(images, 1):
        hooks.at(number / len(images))
        if entry.label:
            yield number, entry, {"label": entry.label}
            continue
        name = str(entry.path)
        faults.add("image_without_class", number, f"The image '{name}' lies in no folder, so its class is not known.",
                   "Move it into the folder of its class, or leave it out.", where=name)


def _listed(tables: Sequence[tuple[Entry, str]], images: Sequence[Entry], faults: Faults, hooks: Hooks,
            make: Make) -> Iterator[tuple[int, Entry, dict[str, Any]]]:
    last = 0
    for place, (table, column) in enumerate(tables):
        part = hooks.within(place / len(tables), 1 / len(tables))
        for number, entry, row in image_table.rows(table, column, images, faults, part, make, last):
            last = number
            yield number, entry, row


def _batched(found: Iterator[tuple[int, Entry, dict[str, Any]]], faults: Faults, most: int,
             thorough: bool) -> Iterator[pa.RecordBatch]:
    cells: list[dict[str, object]] = []
    rows: list[dict[str, Any]] = []
    weight = 0
    for number, entry, row in found:
        data = _usable(entry, number, faults, thorough)
        if data is None:
            continue
        cells.append({"bytes": data, "path": str(entry.path)})
        rows.append(row)
        weight += len(data)
        if len(cells) >= most or weight > BATCH_BYTES:
            yield _batch(cells, rows)
            cells, rows, weight = [], [], 0
    if cells:
        yield _batch(cells, rows)


def _batch(cells: list[dict[str, object]], rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Return images with the columns of their rows, all as text: a class may be written as a number."""
    names = list(rows[0])
    columns = [kinds.array([row.get(name) for row in rows], "string", name, 1, Faults()) for name in names]
    return pa.RecordBatch.from_arrays([pa.array(cells, image.TYPE), *columns], names=[image_table.IMAGE, *names])


def _usable(entry: Entry, row: int, faults: Faults, thorough: bool) -> bytes | None:
    """Return the bytes of an image that can be used; what cannot is noted under its own name."""
    name = str(entry.path)
    try:
        if entry.size > image.MAX_BYTES:
            raise ImageTooLarge(name, name=name, size=size_text(entry.size), limit=size_text(image.MAX_BYTES))
        data = entry.read()
        if thorough:
            image.check(data, name)
        elif not image.known(data[:16]):
            raise BrokenImage(name, name=name, reason="it is no image of a known format")
    except MemberBroken as error:
        faults.add(BrokenImage.kind, row, BrokenImage(name, name=name, reason=error.facts["reason"]).what,
                   BrokenImage.try_this, where=name)
        return None
    except (BrokenImage, ImageTooLarge) as error:
        faults.add(error.kind, row, error.what, error.try_this, where=name)
        return None
    return data
