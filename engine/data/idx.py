"""MNIST's IDX files: one of grey or coloured images, one of their labels, as rows of PNG images and labels."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa

from engine.data import bundle, image
from engine.data.entries import Entry, opened
from engine.data.errors import ExpandedTooLarge, IdxBroken, IdxWithoutPartner, ImageTooLarge
from engine.data.faults import Faults
from engine.data.files import tell
from engine.data.source import Source
from engine.data.stream import Hooks, size_text
from engine.errors import DataError

COLUMNS = ["image", "label"]
_BATCH = 512
#: Most labels read into memory at once.
_MOST_LABELS = 100_000_000


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks,
            rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """Yield batches of `image` (PNG) and `label`, in the order of the files.

    Raises IdxBroken, IdxWithoutPartner, ImageTooLarge, ExpandedTooLarge, Cancelled.
    """
    with opened(path) as entries:
        plan = bundle.plan(entries, path.name)
        chosen = plan.chosen(source.part)
        tell(plan, source.part, faults, entries)
        try:
            for pictures, labels in _pairs(chosen, path.name):
                yield from _rows(pictures, labels, hooks, rows)
        except DataError as error:
            if path.name not in error.where:
                error.where = f"{path.name}: {error.where}"
            raise


def _pairs(chosen: Sequence[Entry], name: str) -> list[tuple[Entry, Entry]]:
    """Return each file of images with the file of its labels: those of the same part, in the order of their names."""
    pictures = [entry for entry in chosen if bundle.idx_kind(entry) == "images"]
    labels = [entry for entry in chosen if bundle.idx_kind(entry) == "labels"]
    if not pictures or len(pictures) != len(labels):
        raise IdxWithoutPartner(name)
    return list(zip(pictures, labels, strict=True))


def _rows(pictures: Entry, labels: Entry, hooks: Hooks, rows: int | None) -> Iterator[pa.RecordBatch]:
    classes = _labels(labels, hooks)
    with pictures.open() as raw:
        file = _unpacked(raw)
        count, *shape = _header(file, pictures)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)) or not all(shape):
            raise IdxBroken(str(pictures.path), name=str(pictures.path), reason=f"its images have the shape {shape}")
        if math.prod(shape) > image.MAX_PIXELS:
            raise ImageTooLarge(str(pictures.path), name=str(pictures.path), size=f"{shape[0]} × {shape[1]} pixels",
                                limit=f"{image.MAX_PIXELS / 1e6:.0f} million pixels")
        if count * math.prod(shape) > hooks.largest:
            raise ExpandedTooLarge(str(pictures.path), limit=size_text(hooks.largest))
        if count != len(classes):
            raise IdxBroken(str(labels.path), name=str(labels.path),
                            reason=f"it holds {len(classes):,} labels for {count:,} images")
        size, wanted = math.prod(shape), min(count, rows or count)
        step = max(1, min(_BATCH, (16 << 20) // size))
        for start in range(0, wanted, step):
            hooks.at(start / count)
            here = min(step, wanted - start)
            data = np.frombuffer(_read(file, here * size, pictures), np.uint8).reshape(here, *shape)
            cells = [{"bytes": _png(pixels), "path": f"{start + i + 1}.png"} for i, pixels in enumerate(data)]
            texts = [str(label) for label in classes[start:start + here].tolist()]
            yield pa.RecordBatch.from_arrays([pa.array(cells, image.TYPE), pa.array(texts, pa.string())], names=COLUMNS)


def _labels(entry: Entry, hooks: Hooks) -> np.ndarray:
    """Return all labels, (count,) of bytes."""
    with entry.open() as raw:
        file = _unpacked(raw)
        count, *more = _header(file, entry)
        if more or count > min(_MOST_LABELS, hooks.largest):
            raise IdxBroken(str(entry.path), name=str(entry.path), reason="it says it holds far too many labels")
        return np.frombuffer(_read(file, count, entry), np.uint8)


def _unpacked(raw: io.BufferedReader) -> IO[bytes]:
    """Return a file, unpacked when it is gzip."""
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if raw.peek(2)[:2] == b"\x1f\x8b" else raw


def _header(file: IO[bytes], entry: Entry) -> list[int]:
    """Return the sizes an IDX file says it has: count, then height, width and colours of its images."""
    mark = _read(file, 4, entry)
    if mark[:3] != b"\0\0\x08":
        raise IdxBroken(str(entry.path), name=str(entry.path), reason="its header is not that of bytes")
    return [int.from_bytes(_read(file, 4, entry), "big") for _ in range(mark[3])]


def _read(file: IO[bytes], size: int, entry: Entry) -> bytes:
    """Return exactly `size` bytes; raises IdxBroken where the file ends early."""
    parts, left = list[bytes](), size
    try:
        while left and (data := file.read(min(left, 1 << 20))):
            parts.append(data)
            left -= len(data)
    except (OSError, EOFError, zlib.error) as error:
        raise IdxBroken(str(entry.path), name=str(entry.path), reason=str(error)) from None
    if left:
        raise IdxBroken(str(entry.path), name=str(entry.path), reason=f"it ends {left:,} bytes too early")
    return b"".join(parts)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(
        out, "PNG", compress_level=1)
    return out.getvalue()
