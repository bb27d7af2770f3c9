"""A file as clean UTF-8 chunks: unpacked, transcoded, guarded and cancellable, in bounded memory."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from engine.data.errors import (
    Cancelled,
    ExpandedTooLarge,
    FileMissing,
    FileUnreadable,
    GzipBroken,
    InvalidText,
    LineTooLong,
    NulByte,
)
from engine.data.source import Source

CHUNK = 1 << 20
LONGEST_LINE = 16 << 20
LARGEST_EXPANDED = 8 << 30
#: Stands for a carriage return inside a line while rows are parsed: a private-use character nobody writes.
STRAY_CR = "\uf8fd"
BOMS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE,
        "utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}
_LONE_CR = re.compile(rb"\r(?!\n)")

Progress = Callable[[float], None]


class Hooks:
    """What a long reading tells and asks: progress as a fraction of the file, and whether to stop."""

    def __init__(self, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None,
                 largest: int = LARGEST_EXPANDED, longest_line: int = LONGEST_LINE) -> None:
        """Limits in bytes: `largest` for the expanded file, `longest_line` for one line."""
        self.progress = progress
        self.cancelled = cancelled
        self.largest = largest
        self.longest_line = longest_line

    def asked(self) -> None:
        """Raise Cancelled when asked to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled()

    def at(self, fraction: float) -> None:
        """Report `fraction` and raise Cancelled when asked to stop."""
        self.asked()
        if self.progress is not None:
            self.progress(min(1.0, fraction))

    def within(self, start: float, share: float) -> Hooks:
        """Return the same hooks for a piece of the work: its progress counts as `share` of the whole from `start`."""
        return Hooks(lambda part: self.at(start + share * part), self.cancelled, self.largest, self.longest_line)

    def endless(self) -> Hooks:
        """Return the same hooks without the limit on lines, for formats whose rows are not lines."""
        return Hooks(self.progress, self.cancelled, self.largest, 1 << 62)

    def shorter(self, longest_line: int) -> Hooks:
        """Return the same hooks with a limit on lines of at most `longest_line` bytes."""
        return Hooks(self.progress, self.cancelled, self.largest, min(self.longest_line, longest_line))


def open_raw(path: Path) -> BinaryIO:
    """Open a file for reading bytes; raises FileMissing or FileUnreadable."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise FileMissing(path.name, name=path.name) from None
    except OSError as error:
        raise FileUnreadable(path.name, name=path.name, reason=error.strerror or "no reason given") from None


def size_text(size: int) -> str:
    """Return a size in bytes as a person reads it."""
    for unit, power in (("GB", 30), ("MB", 20), ("kB", 10)):
        if size >= 1 << power:
            return f"{size / (1 << power):.3g} {unit}"
    return f"{size} bytes"


def expanded(path: Path, compression: str | None, hooks: Hooks, chunk: int = CHUNK) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked; raises GzipBroken, ExpandedTooLarge, Cancelled."""
    total = max(1, path.stat().st_size) if path.exists() else 1
    done = 0
    with open_raw(path) as raw:
        opened = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if compression == "gzip" else raw
        while True:
            try:
                data = opened.read(chunk)
            except (OSError, EOFError, zlib.error) as error:
                raise GzipBroken(path.name, reason=str(error) or type(error).__name__) from None
            if not data:
                return
            done += len(data)
            if done > hooks.largest:
                raise ExpandedTooLarge(path.name, limit=size_text(hooks.largest))
            hooks.at(raw.tell() / total)
            yield data


def clean(path: Path, source: Source, hooks: Hooks, chunk: int = CHUNK,
          on_stray: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Yield the file as UTF-8 with line feeds, guarded against NULs, invalid text and endless lines.

    A carriage return within a line comes out as STRAY_CR for delimited formats, so that it stays part of the value;
    `on_stray` is called before a chunk that holds one.
    """
    chunks = _guarded(path, source, hooks, chunk, on_stray)
    yield from _replaced(chunks, source.separator.encode(), source.delimiter.encode()) if source.separator else chunks


def _guarded(path: Path, source: Source, hooks: Hooks, chunk: int, on_stray: Callable[[], None]) -> Iterator[bytes]:
    guard = _Guard(path.name, source, hooks.longest_line, on_stray)
    for data in expanded(path, source.compression, hooks, chunk):
        yield from guard.feed(data)
    yield from guard.feed(b"", last=True)


def _replaced(chunks: Iterator[bytes], separator: bytes, delimiter: bytes) -> Iterator[bytes]:
    """Yield chunks with one delimiter in place of another, also where it lies across two of them."""
    rest = b""
    for data in chunks:
        data = rest + data
        begun = next((size for size in range(len(separator) - 1, 0, -1) if data.endswith(separator[:size])), 0)
        kept = len(data) - begun
        rest = data[kept:]
        if kept:
            yield data[:kept].replace(separator, delimiter)
    if rest:
        yield rest


class _Guard:
    """Checks and converts one chunk after the other; knows the line and the byte it has come to."""

    def __init__(self, name: str, source: Source, longest: int, on_stray: Callable[[], None]) -> None:
        self.name = name
        self.encoding = source.encoding
        self.cr_is_newline = source.newline == "cr"
        self.keep_cr = source.format in ("csv", "tsv", "labelled", "conll", "text")
        self.longest = longest
        self.on_stray = on_stray
        self.decoder = codecs.getincrementaldecoder(source.encoding)("strict")
        self.single_byte = source.encoding not in BOMS
        self.offset = 0
        self.line = 1
        self.tail = 0
        self.held = b""
        self.cut = b""

    def feed(self, data: bytes, last: bool = False) -> Iterator[bytes]:
        if self.offset == 0 and data:
            bom = BOMS.get(self.encoding, b"")
            if bom and data.startswith(bom):
                self.offset, data = len(bom), data[len(bom):]
        text = self._decoded(data, last)
        start, self.offset = self.offset, self.offset + len(data)
        text = self._newlines(text, last)
        nul = text.find(b"\0")
        if nul >= 0:
            raise NulByte(self.name, offset=start + nul, line=self.line + text.count(b"\n", 0, nul))
        self._measure(text)
        if text:
            yield text

    def _decoded(self, data: bytes, last: bool) -> bytes:
        if self.encoding == "utf-8":
            return self._checked(data, last)
        held = len(self.decoder.getstate()[0])
        try:
            text = self.decoder.decode(data, last)
        except UnicodeDecodeError as error:
            raise self._invalid(error, held) from None
        return text.encode("utf-8", "replace")

    def _checked(self, data: bytes, last: bool) -> bytes:
        """Return the whole characters of UTF-8 text as they are; a begun one waits for the next chunk."""
        held, data = len(self.cut), self.cut + data
        end = len(data) if last else _whole(data)
        text, self.cut = data[:end], data[end:]
        if not _is_utf8(text):
            try:
                text.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._invalid(error, held) from None
        return text

    def _invalid(self, error: UnicodeDecodeError, held: int) -> InvalidText:
        whole = error.object
        line = self.line + whole.count(b"\n", 0, error.start)
        return InvalidText(f"{self.name}, line {line}", byte=f"0x{whole[error.start]:02X}", line=line,
                           offset=self.offset - held + error.start, encoding=self.encoding.upper())

    def _newlines(self, text: bytes, last: bool) -> bytes:
        if b"\r" not in text and not self.held:
            return text
        text, self.held = self.held + text, b""
        if text.endswith(b"\r") and not last:
            text, self.held = text[:-1], b"\r"
        if self.cr_is_newline:
            return text.replace(b"\r", b"\n")
        if self.keep_cr:
            if text.count(b"\r") != text.count(b"\r\n"):
                self.on_stray()
                text = _LONE_CR.sub(STRAY_CR.encode(), text)
            return text.replace(b"\r\n", b"\n")
        return text

    def _measure(self, text: bytes) -> None:
        breaks = text.count(b"\n")
        if not breaks:
            self.tail += len(text)
            longest = self.tail
        else:
            longest = self.tail + text.index(b"\n")
            self.tail = len(text) - text.rindex(b"\n") - 1
        if max(longest, self.tail) > self.longest:
            line = self.line + (breaks if self.tail > longest else 0)
            raise LineTooLong(f"{self.name}, line {line}", line=line, limit=size_text(self.longest))
        self.line += breaks


def _whole(data: bytes) -> int:
    """Return after how many bytes the last whole UTF-8 character of `data` ends."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if needed > back else len(data)
        if byte < 0x80:
            break
    return len(data)


def _is_utf8(data: bytes) -> bool:
    """Tell whether bytes are UTF-8; Arrow finds out without making a text of them, and lets other threads go on."""
    if data.isascii():
        return True
    text = pa.StringArray.from_buffers(1, pa.py_buffer(array("i", (0, len(data)))), pa.py_buffer(data))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def lines(path: Path, source: Source, hooks: Hooks) -> Iterator[str]:
    """Yield the lines of a text file, without their ends."""
    rest = b""
    for data in clean(path, source, hooks):
        *whole, rest = (rest + data).split(b"\n") if b"\n" in data else [rest + data]
        for line in whole:
            yield line.decode("utf-8")
    if rest:
        yield rest.decode("utf-8")
