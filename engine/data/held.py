"""The part of a folder or archive to evaluate on, taken out as a file of its own; folders packed into archives."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.data import bundle, entries, workbook
from engine.data.entries import Entry
from engine.data.sniff import sniff
from engine.data.source import Source
from engine.data.stream import Hooks

#: Bytes of a table that tell its columns.
_HEAD = 33 << 20


@dataclass(frozen=True)
class Held:
    """A file to evaluate on, and how to read it where that has been found out."""

    path: Path
    source: Source | None = None


def evaluation(path: Path, folder: Path) -> Held | None:
    """Write what a folder or archive holds to evaluate on into `folder`; None when no part of it is evidently that.

    A table without a header gets the column names of the one to learn from. Raises DataError.
    """
    if not path.is_dir() and (not zipfile.is_zipfile(path) or workbook.is_workbook(entries.names(path))):
        return None
    with entries.opened(path) as found:
        plan = bundle.plan(found, path.name)
        if not plan.eval:
            return None
        first, *more = plan.eval
        if more or plan.layout != "tables":
            return Held(pack(plan.eval, folder / f"{bundle.EVAL}.zip"))
        file = first.copy(folder / first.path.name, Hooks())
        return Held(file, _named(file, plan.train, folder))


def pack(files: Iterable[Entry], target: Path) -> Path:
    """Write files into a zip archive, as they are; returns `target`."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for entry in files:
            info = zipfile.ZipInfo(str(entry.path))
            with entry.open() as source, archive.open(info, "w", force_zip64=entry.size > 1 << 30) as out:
                while data := source.read(1 << 20):
                    out.write(data)
    return target


def pack_folder(folder: Path, target: Path) -> Path:
    """Write a folder into a zip archive, after a look at what is inside; raises NothingInside and its like."""
    with entries.opened(folder) as found:
        bundle.plan(found, folder.name)
        return pack(found, target)


def _named(file: Path, train: Iterable[Entry], folder: Path) -> Source | None:
    """Return how to read a table without a header, when the one to learn from has names for as many columns."""
    mine = sniff(file)
    if mine.format not in ("csv", "tsv") or mine.header:
        return None
    first = next(iter(train))
    head = first.copy(folder / "head", Hooks(), most=_HEAD)
    try:
        other = sniff(head)
    finally:
        head.unlink()
    fits = other.format == mine.format and other.header and len(other.columns) == len(mine.columns)
    return mine.model_copy(update={"columns": other.columns}) if fits else None
