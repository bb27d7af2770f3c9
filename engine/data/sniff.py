"""Recognises a data file by its content, never by its name."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from pathlib import Path

from engine.data import conll, dialect, image_folder, magic
from engine.data.errors import BinaryFile, FileEmpty, GzipBroken, NotRows, ParquetBroken
from engine.data.source import Source
from engine.data.stream import BOMS, open_raw

HEAD = 256 << 10
#: Bytes looked at to tell UTF-8 from older encodings; one odd byte may be far from the start.
SURVEY = 32 << 20
_STARTS_LIST = re.compile(r'\{\s*"[^"]{1,80}"\s*:\s*(?:"[^"]{0,200}"\s*,\s*"[^"]{1,80}"\s*:\s*)?\[')
_CONTROL = bytes([*range(1, 7), *range(14, 32)])
_LABELLED = re.compile(r"[A-Za-z][\w-]{0,30}:[\w-]{1,40}[ \t]+\S")


def sniff(path: Path, *, header: bool | None = None) -> Source:
    """Return how to read a file, or a folder of images; raises DataError (FileEmpty, NotATable, BinaryFile ...).

    `header` says whether the first row of delimited text holds names; None looks at the rows to tell.
    """
    if path.is_dir():
        return Source(format="images", columns=image_folder.COLUMNS)
    with open_raw(path) as file:
        head = file.read(HEAD)
        if head.startswith(b"PAR1"):
            return _parquet(path, None)
        compression = "gzip" if head.startswith(b"\x1f\x8b") else None
        if compression:
            file.seek(0)
            head = _unpacked(path.name, file.read(SURVEY), HEAD)
        if not head.strip(b"\0 \t\r\n"):
            raise FileEmpty(path.name)
        if head.startswith(b"PAR1"):
            return _parquet(path, compression)
        if head.startswith(b"PK\x03\x04") and not compression and image_folder.holds_images(path):
            return Source(format="images", columns=image_folder.COLUMNS)
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
    return found.model_copy(update={"compression": compression, "encoding": encoding})


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
    from engine.data import columnar
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
    tagged = conll.columns(complete)
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
    return dialect.detect(body, whole, sample, header=header).model_copy(update={"newline": newline})


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
    if len(lists) == len(value) and lists:
        return any(isinstance(entry, dict) and ({"role", "from", "content"} & set(entry)) for entry in lists[0][:1])
    return not (len(lists) == 1 and lists[0] and isinstance(lists[0][0], dict)
                and not ({"role", "from"} & set(lists[0][0])))
