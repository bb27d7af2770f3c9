"""The files of a folder, or of a zip archive that is never unpacked as a whole."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from engine.data.errors import ArchiveBroken, ArchiveLocked, ExpandedTooLarge, MemberBroken, TooManyFiles, UnsafeArchive
from engine.data.stream import Hooks, size_text

#: Most files of one folder or archive: the names alone of many more would fill the memory.
MOST = 1_000_000
_CHUNK = 1 << 20
#: What a damaged archive leads its reader into.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
#: What systems leave behind in folders and archives.
_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Entry:
    """A file: its path inside the folder or archive, its size in bytes, and how to open it."""

    path: PurePosixPath
    size: int
    source: Callable[[], IO[bytes]]

    def open(self) -> io.BufferedReader:
        """Open it for reading bytes; this and every reading raises MemberBroken where its copy is damaged."""
        try:
            return io.BufferedReader(_Guarded(self.source(), str(self.path)), 1 << 16)
        except (*_DAMAGE, OSError) as error:
            raise _broken(str(self.path), error) from None

    @property
    def label(self) -> str:
        """The name of the folder it lies in; nothing at the top."""
        return self.path.parent.name

    def read(self, most: int | None = None) -> bytes:
        """Return its bytes (at most `most` from the start), never more than its size says; raises MemberBroken."""
        with self.open() as file:
            return file.read(self.size if most is None else min(most, self.size))

    def copy(self, target: Path, hooks: Hooks, most: int | None = None) -> Path:
        """Write it (at most `most` bytes) to `target`; raises MemberBroken, ExpandedTooLarge, Cancelled."""
        done, limit = 0, self.size if most is None else min(most, self.size)
        if limit > hooks.largest:
            raise ExpandedTooLarge(str(self.path), limit=size_text(hooks.largest))
        with self.open() as file, target.open("wb") as out:
            while done < limit and (data := file.read(min(_CHUNK, limit - done))):
                out.write(data)
                done += len(data)
                hooks.asked()
        return target


class Listing(list[Entry]):
    """The files of a folder or archive, and what else it holds: its folders, and links, which are not followed."""

    def __init__(self) -> None:
        """Start without any."""
        super().__init__()
        self.folders: list[PurePosixPath] = []
        self.links: list[str] = []

    def hollow(self) -> list[PurePosixPath]:
        """Return the folders under which there is no file."""
        holding = {entry.path.parent for entry in self}
        holding |= {above for folder in holding for above in folder.parents}
        return sorted(folder for folder in self.folders if folder not in holding and not _is_litter(folder))


class _Guarded(io.RawIOBase):
    """A file whose damage is named, however its archive's reader comes to grief."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__()
        self.file, self.called = file, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            data = self.file.read(len(buffer))
        except (*_DAMAGE, OSError) as error:
            raise _broken(self.called, error) from None
        buffer[:len(data)] = data
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


def _broken(name: str, error: Exception) -> MemberBroken:
    return MemberBroken(name, name=name, reason=str(error) or "its copy is damaged")


@contextmanager
def opened(path: Path) -> Generator[Listing, None, None]:
    """Give the files of a folder or zip archive in the order of their paths, without what systems leave behind.

    Raises ArchiveBroken, ArchiveLocked, UnsafeArchive, TooManyFiles.
    """
    if path.is_dir():
        listing = Listing()
        yield _filled(listing, _of_folder(path, listing), path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, OSError, ValueError) as error:
        raise ArchiveBroken(path.name, reason=str(error)) from None
    with archive:
        listing = Listing()
        yield _filled(listing, _of_archive(archive, path.name, listing), path)


def _is_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


def _is_litter(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part.lower() in _LITTER for part in path.parts)


def names(path: Path) -> list[str]:
    """Return the names in a zip archive; none when it is broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (*_DAMAGE, OSError, ValueError):
        return []


def bounded(entries: Iterable[Entry], hooks: Hooks, name: str) -> None:
    """Raise ExpandedTooLarge when the files together are larger than `hooks` allow."""
    if sum(entry.size for entry in entries) > hooks.largest:
        raise ExpandedTooLarge(name, limit=size_text(hooks.largest))


def _filled(listing: Listing, entries: Iterable[Entry], path: Path) -> Listing:
    for entry in entries:
        if _is_litter(entry.path):
            continue
        listing.append(entry)
        if len(listing) > MOST:
            raise TooManyFiles(path.name, limit=f"{MOST:,}")
    listing.sort(key=lambda entry: str(entry.path))
    return listing


def _of_folder(folder: Path, listing: Listing) -> Iterable[Entry]:
    for path in folder.rglob("*"):
        inside = PurePosixPath(path.relative_to(folder).as_posix())
        if path.is_dir():
            listing.folders.append(inside)
        elif path.is_file():
            yield Entry(inside, path.stat().st_size, lambda path=path: path.open("rb"))


def _of_archive(archive: zipfile.ZipFile, name: str, listing: Listing) -> Iterable[Entry]:
    for info in archive.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
            raise UnsafeArchive(name, name=info.filename)
        if not info.filename or info.is_dir():
            listing.folders.append(path)
            continue
        if _is_link(info):
            listing.links.append(info.filename)
            continue
        if info.flag_bits & 1:
            raise ArchiveLocked(name, name=info.filename)
        yield Entry(path, info.file_size, lambda info=info: archive.open(info))
