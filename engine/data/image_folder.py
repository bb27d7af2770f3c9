"""Images sorted into folders, one folder a class: a directory, or a zip archive that is never unpacked to disk."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from engine.data import image
from engine.data.errors import (
    ArchiveBroken,
    ArchiveLocked,
    BrokenImage,
    ExpandedTooLarge,
    ImageTooLarge,
    NoImages,
    UnsafeArchive,
)
from engine.data.faults import Faults
from engine.data.source import Source
from engine.data.stream import Hooks, size_text
from engine.findings import Finding

COLUMNS = ["image", "label"]
#: Bytes and images of one batch.
BATCH_BYTES, BATCH = 16 << 20, 256
#: Names of folders that hold parts of a dataset rather than a class.
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"})
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Entry:
    """A file: its path inside the folder or archive, its size, and how to read it."""

    path: PurePosixPath
    size: int
    read: Callable[[], bytes]

    @property
    def label(self) -> str:
        """The name of the folder it lies in; nothing at the top."""
        return self.path.parent.name


def holds_images(path: Path) -> bool:
    """Tell whether a zip archive holds images in folders, by the names inside; a broken one does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_wanted(PurePosixPath(name)) and "/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks, rows: int | None = None, *,
            thorough: bool = False) -> Iterator[pa.RecordBatch]:
    """Yield batches of `image` (bytes, path) and `label`, in the order of the paths.

    Images that cannot be used are noted by name and left out; `thorough` decodes each of them. Raises ArchiveBroken,
    ArchiveLocked, UnsafeArchive, ExpandedTooLarge, NoImages, Cancelled.
    """
    with ExitStack() as stack:
        entries = _of_folder(path) if path.is_dir() else _of_archive(stack.enter_context(_archive(path)))
        images = [entry for entry in entries if _wanted(entry.path)]
        if not any(entry.label for entry in images):
            raise NoImages(path.name)
        if sum(entry.size for entry in images) > hooks.largest:
            raise ExpandedTooLarge(path.name, limit=size_text(hooks.largest))
        _note(images, len(entries) - len(images), faults)
        yield from _batched(images, faults, hooks, min(rows or BATCH, BATCH), thorough)


def digest(folder: Path) -> tuple[str, int]:
    """Return the sha256 over the names and bytes of all files of a folder, and their size."""
    found, size = hashlib.sha256(), 0
    for entry in _of_folder(folder):
        data = entry.read()
        found.update(f"{entry.path}\0{len(data)}\0".encode())
        found.update(data)
        size += len(data)
    return found.hexdigest(), size


def _batched(images: list[Entry], faults: Faults, hooks: Hooks, most: int,
             thorough: bool) -> Iterator[pa.RecordBatch]:
    cells: list[dict[str, object]] = []
    labels: list[str] = []
    weight = 0
    for number, entry in enumerate(images):
        hooks.at(number / len(images))
        data = _usable(entry, number + 1, faults, thorough)
        if data is None:
            continue
        cells.append({"bytes": data, "path": str(entry.path)})
        labels.append(entry.label)
        weight += len(data)
        if len(cells) >= most or weight > BATCH_BYTES:
            yield _batch(cells, labels)
            cells, labels, weight = [], [], 0
    if cells:
        yield _batch(cells, labels)


def _batch(cells: list[dict[str, object]], labels: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(cells, image.TYPE), pa.array(labels, pa.string())], names=COLUMNS)


def _usable(entry: Entry, row: int, faults: Faults, thorough: bool) -> bytes | None:
    """Return the bytes of an image that can be used; what cannot is noted under its own name."""
    name = str(entry.path)
    if not entry.label:
        faults.add("image_without_class", row, f"The image '{name}' lies in no folder, so its class is not known.",
                   "Move it into the folder of its class, or leave it out.", where=name)
        return None
    try:
        if entry.size > image.MAX_BYTES:
            raise ImageTooLarge(name, name=name, size=size_text(entry.size), limit=size_text(image.MAX_BYTES))
        data = entry.read()
        if thorough:
            image.check(data, name)
        elif not image.known(data[:16]):
            raise BrokenImage(name, name=name, reason="it is no image of a known format")
    except (BrokenImage, ImageTooLarge) as error:
        faults.add(error.kind, row, error.what, error.try_this, where=name)
        return None
    return data


def _of_folder(folder: Path) -> list[Entry]:
    files = sorted((path for path in folder.rglob("*") if path.is_file()),
                   key=lambda path: path.relative_to(folder).as_posix())
    return [Entry(PurePosixPath(path.relative_to(folder).as_posix()), path.stat().st_size, path.read_bytes)
            for path in files]


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ArchiveBroken(path.name, reason=str(error)) from None


def _of_archive(archive: zipfile.ZipFile) -> list[Entry]:
    entries: list[Entry] = []
    for info in archive.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
            raise UnsafeArchive(str(archive.filename), name=info.filename)
        if info.is_dir() or (info.external_attr >> 16) & 0o170000 == 0o120000:
            continue
        if info.flag_bits & 1:
            raise ArchiveLocked(str(archive.filename), name=info.filename)
        entries.append(Entry(path, info.file_size, lambda info=info: _member(archive, info)))
    return sorted(entries, key=lambda entry: str(entry.path))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a member, never more than its entry says; a damaged one is a broken image by its name."""
    try:
        with archive.open(info) as file:
            return file.read(info.file_size)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise BrokenImage(info.filename, name=info.filename, reason=str(error) or "its copy is damaged") from None


def _wanted(path: PurePosixPath) -> bool:
    """Tell whether a file is meant as an image: by its ending, and not one that systems leave behind."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in _ENDINGS and not hidden


def _note(images: list[Entry], others: int, faults: Faults) -> None:
    parts = {part for entry in images for part in entry.path.parts[:-2] if part.lower() in SPLITS}
    if len(parts) > 1:
        listed = ", ".join(f"'{part}'" for part in sorted(parts))
        faults.note(Finding(kind="image_splits", level="warning", where=sorted(parts)[0], count=len(parts),
                            what=f"The folders {listed} hold parts of one dataset; all are read as one.",
                            try_this="Upload them apart, one as the data to evaluate on, to keep them apart."))
    if others:
        faults.note(Finding(kind="other_files", level="note", count=others,
                            what=f"{others:,} other files, which are no images, are left out.",
                            try_this="Go on if you do not need them."))
