"""The first rows of a split, of which only the head of its first file is fetched."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from engine.data import read
from engine.hub_data import client
from engine.hub_data.errors import NoPreview
from engine.hub_data.listing import Listing

#: Bytes of a file that is fetched whole, into the cache; of a larger text, those looked at.
SMALL, TEXT = 2 << 20, 512 << 10
#: Bytes fetched at a time, and of a larger archive at most.
BLOCK, ARCHIVE = 256 << 10, 8 << 20


def preview(listing: Listing, config: str, split: str, rows: int = 20) -> read.Preview:
    """Return the first rows of a split, from the cache or by reading the head of its first file on the Hub.

    Raises NoSuchSplit, NoPreview, DataError, DatasetUnreachable, DatasetGated.
    """
    files = listing.split(config, split).files
    name = next((name for name, size in files.items() if size), next(iter(files)))
    here = client.cached(listing.id, name, listing.revision)
    with tempfile.TemporaryDirectory(prefix="head-") as folder:
        if here is None:
            with client.calls(listing.id, listing.revision):
                here = _fetched(listing, name, files[name], rows, Path(folder))
        return read.preview(here, rows)


def _fetched(listing: Listing, name: str, size: int, rows: int, folder: Path) -> Path:
    """Return a file with the first rows: the whole where it is small, else made of its head."""
    from huggingface_hub import HfFileSystem, hf_hub_download

    if size <= SMALL:
        return Path(hf_hub_download(listing.id, name, revision=listing.revision, repo_type="dataset",
                                    **client.settings()))
    files = HfFileSystem(**client.settings(), skip_instance_cache=True)
    opened: Any = files.open(f"datasets/{listing.id}@{listing.revision}/{name}", "rb", block_size=BLOCK)
    with opened as file:
        return _head(cast(IO[bytes], file), name, rows, folder / Path(name).name)


def _head(file: IO[bytes], name: str, rows: int, target: Path) -> Path:
    """Write the first rows of a file that is read from afar into `target`, by its content."""
    start = file.read(8)
    file.seek(0)
    try:
        if start.startswith(b"PAR1"):
            # Without buffering ahead, only the pages of the first rows are fetched, not a whole row group.
            source = pq.ParquetFile(file, pre_buffer=False, buffer_size=BLOCK)
            return _rows(next(source.iter_batches(batch_size=rows, use_threads=False), None), source.schema_arrow,
                         target)
        if start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
            stream: Any = pa.ipc.open_file(file) if start.startswith(b"ARROW1") else pa.ipc.open_stream(file)
            batch = stream.get_batch(0) if start.startswith(b"ARROW1") else stream.read_next_batch()
            return _rows(batch.slice(0, rows), stream.schema, target)
        if start.startswith(b"PK\x03\x04"):
            return _archive(file, rows, target)
    except (pa.ArrowException, StopIteration, zipfile.BadZipFile) as error:
        raise NoPreview(name, file=name, reason=str(error).split("\n", 1)[0][:200] or "it is damaged") from None
    return _text(file.read(TEXT), name, target)


def _rows(batch: pa.RecordBatch | None, schema: pa.Schema, target: Path) -> Path:
    table = schema.empty_table() if batch is None else pa.Table.from_batches([batch], batch.schema)
    pq.write_table(table.replace_schema_metadata(schema.metadata), target)
    return target


def _archive(file: IO[bytes], rows: int, target: Path) -> Path:
    """Copy the first files of an archive, its tables before its images; a workbook cannot be cut."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(target, "w") as out:
        entries = [one for one in archive.infolist() if one.file_size]
        tables = [one for one in entries if one.filename.lower().endswith((".csv", ".tsv", ".json", ".jsonl", ".txt"))]
        others = [one for one in entries if one not in tables]
        spread = others[::max(1, len(others) // max(rows, 1))]
        done = 0
        for one in [*tables, *spread]:
            if done + one.compress_size <= ARCHIVE:
                out.writestr(one.filename, archive.read(one))
                done += one.compress_size
    if not done:
        raise NoPreview(target.name, file=target.name, reason="the first file inside it is too large")
    return target


def _text(data: bytes, name: str, target: Path) -> Path:
    """Write the whole lines of the head of a text, or the whole entries of a JSON list, one a line."""
    if data.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            data = zlib.decompressobj(wbits=31).decompress(data, TEXT)
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        entries = _entries(data.decode("utf-8-sig", "ignore"))
        if not entries:
            raise NoPreview(name, file=name, reason="its first entry is too long")
        target.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in entries), encoding="utf-8")
        return target
    end = data.rfind(b"\n")
    if end <= 0:
        raise NoPreview(name, file=name, reason="its first line is too long")
    target.write_bytes(data[:end + 1])
    return target


def _entries(text: str) -> list[Any]:
    """Return the whole entries at the start of a JSON list that is cut off."""
    decoder, place, found = json.JSONDecoder(), text.index("[") + 1, list[Any]()
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return found
        found.append(value)
