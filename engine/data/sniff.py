"""Recognises a data file by its content, never by its name."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Literal

from engine.data import (
    arrow,
    bundle,
    columnar,
    conll,
    dialect,
    entries,
    image_folder,
    magic,
    names,
    paragraphs,
    workbook,
    yaml_text,
)
from engine.data.errors import ArchiveBroken, BinaryFile, FileEmpty, GzipBroken, NotRows, ParquetBroken
from engine.data.source import Source
from engine.data.stream import BOMS, open_raw

HEAD = 256 << 10
#: Bytes looked at to tell UTF-8 from older encodings; one odd byte may be far from the start.
SURVEY = 32 << 20
_STARTS_LIST = re.compile(r'\{\s*"[^"]{1,80}"\s*:\s*(?:"[^"]{0,200}"\s*,\s*"[^"]{1,80}"\s*:\s*)?\[')
#: Control characters that no text holds; 1, 30 and 31 part the cells of some tables.
_CONTROL = bytes([*range(2, 7), *range(14, 30)])
_MARKED = re.compile(rb"(?:\A|\n)(?:\xef\xbb\xbf)+")
_LABELLED = re.compile(r"[A-Za-z][\w-]{0,30}:[\w-]{1,40}[ \t]+\S")


def sniff(path: Path, *, header: bool | None = None, part: str = "",
          unit: Literal["line", "paragraph"] | None = None) -> Source:
    """Return how to read a file, folder or archive; raises DataError (FileEmpty, NotATable, BinaryFile ...).

    `header` says whether the first row of a table holds names, `part` which sheet of a workbook or which file or part
    of a folder or archive is read, `unit` what a row of plain text is; None and "" look at the content to tell.
    """
    if path.is_dir():
        return _bundle(path, part)
    with open_raw(path) as file:
        head = file.read(HEAD)
        if head.startswith(b"PK\x03\x04"):
            return _archive(path, head, header, part)
        compression = "gzip" if head.startswith(b"\x1f\x8b") else None
        if compression:
            file.seek(0)
            head = _unpacked(path.name, file.read(SURVEY), HEAD)
        if not head.strip(b"\0 \t\r\n"):
            raise FileEmpty(path.name)
        if head.startswith(b"PAR1"):
            return _parquet(path, compression)
        if head.startswith(arrow.FILE) or arrow.is_stream(head):
            source = Source(format="arrow", compression=compression, header=True)
            return source.model_copy(update={"columns": columnar.names(path, source)})
        magic.refuse(head, path.name)
        file.seek(0)
        sample = _unpacked(path.name, file.read(SURVEY), SURVEY) if compression else file.read(SURVEY)
    encoding = encoding_of(sample, path.name)
    bom = BOMS.get(encoding, b"")
    text = head.removeprefix(bom).decode(encoding, "ignore")
    if not text.strip():
        raise FileEmpty(path.name)
    whole = len(sample) <= len(head)
    found = _text_source(text, whole, sample.removeprefix(bom) if encoding in ("utf-8", "latin-1", "cp1252") else b"",
                         path.name, header)
    if found.format == "text" and unit is not None:
        found = found.model_copy(update={"unit": unit})
    marks = _marks(sample) if encoding == "utf-8" else []
    return found.model_copy(update={"compression": compression, "encoding": encoding, "marks": marks})


def _marks(sample: bytes) -> list[int]:
    """Return the first lines of UTF-8 text that begin with a byte order mark, one twice where two stand there."""
    found: list[int] = []
    for match in _MARKED.finditer(sample):
        found += [sample.count(b"\n", 0, match.end()) + 1] * match.group().count(codecs.BOM_UTF8)
        if len(found) >= 5:
            break
    return found


def _archive(path: Path, head: bytes, header: bool | None, part: str) -> Source:
    """Return how to read a zip archive: as a workbook, or as the folder it holds."""
    names = entries.names(path)
    if workbook.is_workbook(names):
        return workbook.source(path, header=header, part=part)
    if not names:
        raise ArchiveBroken(path.name, reason="its list of files, at the end, is missing")
    if any(name in ("[Content_Types].xml", "xl/workbook.xml", "mimetype") or name.endswith((".pkl", ".npy"))
           for name in names):
        magic.refuse(head, path.name)
    return _bundle(path, part)


def _bundle(path: Path, part: str) -> Source:
    """Return how to read a folder or zip archive: images, IDX files, or tables and texts."""
    with entries.opened(path) as found:
        plan = bundle.plan(found, path.name)
        plan.chosen(part)
    if plan.layout in ("images", "idx"):
        return Source(format=plan.layout, part=part, parts=plan.parts(), columns=image_folder.COLUMNS)
    return Source(format="files", part=part, parts=plan.parts())


def encoding_of(sample: bytes, name: str = "") -> str:
    """Return the encoding of a text: by its mark, else UTF-8 if it can be, else the likeliest older one.

    A file with many proper UTF-8 letters and a few broken bytes is a damaged UTF-8 file: it is called utf-8 and reading
    names the first bad byte. Raises BinaryFile.
    """
    for encoding in ("utf-8", "utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        if sample.startswith(BOMS[encoding]):
            return encoding
    wide = _wide(sample[:4096])
    if wide:
        return wide
    if sample.isascii():
        return _binary_or("utf-8", sample, name)
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(sample)
    broken = text.count("\ufffd") - sample.count(b"\xef\xbf\xbd")
    if not broken:
        return _binary_or("utf-8", sample, name)
    proper = len(text) - (len(sample) - len(_high(sample))) - broken
    if proper > 3 * broken:
        return _binary_or("utf-8", sample, name)
    return _binary_or(_older(sample), sample, name)


def _high(sample: bytes) -> bytes:
    """Return the bytes beyond ASCII."""
    return sample.translate(None, bytes(range(128)))


def _wide(head: bytes) -> str | None:
    """Return UTF-16 without a mark: every other byte of Western text is a NUL."""
    if len(head) < 8 or b"\0" not in head:
        return None
    even, odd = head[::2].count(0) / len(head[::2]), head[1::2].count(0) / len(head[1::2])
    if odd > 0.4 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 and odd < 0.1 else None


def _older(sample: bytes) -> str:
    """Return the likeliest encoding of a text that is not UTF-8."""
    if len(_high(sample[:HEAD])) > 0.1 * min(len(sample), HEAD):
        import charset_normalizer
        best = charset_normalizer.from_bytes(sample[:32 << 10], steps=5, chunk_size=1024).best()
        if best is not None:
            return best.encoding
    if not re.search(rb"[\x80-\x9f]", sample):
        return "latin-1"
    return "latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", sample) else "cp1252"


def _binary_or(encoding: str, sample: bytes, name: str) -> str:
    """Return `encoding`, or raise BinaryFile when the sample is full of control characters."""
    head = sample[:64 << 10]
    control = len(head) - len(head.translate(None, _CONTROL))
    if control > 0.02 * len(head) or head.count(0) > 0.05 * len(head):
        raise BinaryFile(name)
    return encoding


def _unpacked(name: str, packed: bytes, size: int) -> bytes:
    """Return up to `size` bytes of the expanded start of a gzip file."""
    reader = zlib.decompressobj(wbits=31)
    try:
        data = reader.decompress(packed, size)
        if reader.eof and reader.unused_data and len(data) < size:
            data = gzip.decompress(packed)[:size] if len(packed) < size // 64 else data
    except (zlib.error, EOFError, OSError) as error:
        raise GzipBroken(name, reason=str(error)) from None
    if data.startswith(b"\x1f\x8b"):
        raise GzipBroken(name, reason="it is compressed twice", try_this="Unpack it once and upload the result.")
    return data


def _parquet(path: Path, compression: str | None) -> Source:
    if compression is None:
        with open_raw(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 4))
            if size < 12 or file.read() != b"PAR1":
                raise ParquetBroken(path.name, reason="its end is missing, so the copy was cut short")
    source = Source(format="parquet", compression="gzip" if compression else None, header=True)
    return source.model_copy(update={"columns": columnar.names(path, source)})


def _text_source(text: str, whole: bool, sample: bytes, name: str, header: bool | None) -> Source:
    start = text.lstrip("\ufeff \t\r\n")
    newline = "cr" if "\r" in text and "\n" not in text else "lf"
    body = (text.replace("\r", "\n") if newline == "cr" else text.replace("\r\n", "\n"))
    lines = [line for line in body.split("\n")[:2000] if line.strip()]
    complete = lines if whole or len(lines) < 2 else lines[:-1]
    tagged = conll.columns(body.split("\n")[:2000])
    if tagged:
        return Source(format="conll", newline=newline, columns=tagged)
    if whole and len(complete) == 1:
        _refuse_single(start, name)
    if start[:1] == "[" and re.match(r"\[\s*(?:[\[{\]]|\"|-?\d|null|true|false)", start) and not _is_csv_like(start):
        return Source(format="json", header=True)
    if start[:1] == "{":
        return Source(format="jsonl" if _one_object_a_line(start, whole) else "json", header=True)
    if len(complete) >= 1 and _is_labelled(complete):
        return Source(format="labelled", newline=newline, columns=["label", "fine_label", "text"])
    if yaml_text.looks_like(body, whole):
        return Source(format="yaml", newline=newline, header=True)
    found = dialect.detect(body, whole, sample, header=header)
    if not found.delimiter and not found.quote and not found.header:
        unit = "paragraph" if paragraphs.wrapped(body.split("\n")[:2000]) else "line"
        return found.model_copy(update={"format": "text", "newline": newline, "unit": unit})
    return found.model_copy(update={"newline": newline})


def _refuse_single(start: str, name: str) -> None:
    """Raise NotRows for a file that is one JSON number, truth value or null."""
    try:
        value = json.loads(start)
    except (ValueError, RecursionError):
        return
    if value is None or isinstance(value, bool | int | float):
        what = "null" if value is None else "true or false" if isinstance(value, bool) else "a number"
        raise NotRows(name, what=what)


def _is_csv_like(start: str) -> bool:
    """Tell a csv whose first cell begins with a bracket from JSON."""
    first = start.split("\n", 1)[0].strip()
    return first.count("[") == first.count("]") and not first.endswith(("]", ",", "[")) and "{" not in first[:3]


def _is_labelled(lines: list[str]) -> bool:
    hits = sum(1 for line in lines if _LABELLED.match(line))
    kinds = {line.split(":", 1)[0] for line in lines}
    few = len(kinds) <= max(2, len(lines) // 4)
    return few and hits >= 0.98 * len(lines) and not any("\t" in line for line in lines[:50])


def _one_object_a_line(start: str, whole: bool) -> bool:
    """Tell jsonl from one large JSON object."""
    lines = [line.strip() for line in start.split("\n")[:20] if line.strip()]
    if len(lines) == 1:
        return _single_row(lines[0], whole)
    try:
        return isinstance(json.loads(lines[0]), dict)
    except (ValueError, RecursionError):
        pass
    opened = sum(1 for line in lines if line.startswith("{") and len(line) > 1)
    return opened > len(lines) / 2 and (lines[0].endswith("}") or lines[1].startswith("{"))


def _single_row(line: str, whole: bool) -> bool:
    """Tell one row from a document of columns or records on one line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return not whole and not _STARTS_LIST.match(line)
    lists = [item for item in value.values() if isinstance(item, list)]
    if any(isinstance(item, dict) for item in value.values()):
        return False
    if any(value.get(name) == [] for name in names.CONVERSATIONS):
        return True
    if len(lists) == len(value) and lists:
        return any(isinstance(entry, dict) and ({"role", "from", "content"} & set(entry)) for entry in lists[0][:1])
    return not (len(lists) == 1 and lists[0] and isinstance(lists[0][0], dict)
                and not ({"role", "from"} & set(lists[0][0])))
