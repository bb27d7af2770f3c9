"""Broken images: in folders, beside tables, in parquet and in MNIST's format."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from beast import GOOD, Beast, Write, picture, zipped

SOUND = {f"{name}/{i}.png": picture(20 * i + place) for i in range(12) for place, name in enumerate(("cats", "dogs"))}
LISTED = {f"pictures/{i}.png": picture(i) for i in range(24)}
#: The lines of a table that names them.
NAMED = [f"{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(24)]


def promise(width: int, height: int, *more: bytes) -> bytes:
    """Return a PNG that says it has `width` times `height` pixels and holds next to none."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunk(b"tEXt", text) for text in more) + \
        chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def with_one(name: str, content: bytes | str) -> Write:
    """Return a writer of an archive of sound images and one more file."""
    return zipped({**SOUND, name: content})


def listed(*rows: str) -> Write:
    """Return a writer of an archive whose images are named in a table, the rows of which are sound but for `rows`."""
    return zipped({**LISTED, "labels.csv": "\n".join(["file,label", *NAMED, *rows]) + "\n"})


def stored(*cells: bytes | None, bare: bool = False) -> Write:
    """Return a writer of a parquet file of images, the broken ones after 24 sound ones."""
    every = [*(picture(i) for i in range(24)), *cells]
    values = every if bare else [None if cell is None else {"bytes": cell, "path": f"{i}.png"}
                                 for i, cell in enumerate(every)]
    kind = pa.binary() if bare else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = ["cat" if i % 2 else "dog" for i in range(len(every))]

    def write(path: Path) -> None:
        pq.write_table(pa.table({"image": pa.array(values, kind), "label": labels}), path)
    return write


def junk(path: Path) -> None:
    """Write a parquet file whose image bytes are no images."""
    cells = [{"bytes": b"no image at all", "path": f"{i}.png"} for i in range(24)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(cells, kind), "label": ["a", "b"] * 12}), path)


def mnist(count: int = 20, labels: int = 20, *, pixels: int = 20, side: int = 4, mark: int = 8) -> dict[str, bytes]:
    """Return MNIST's two files: `count` and `side` as the header says, `pixels` images' worth of bytes."""
    return {"train-images-idx3-ubyte": bytes([0, 0, mark, 3]) + struct.pack(">III", count, side, side)
            + bytes(i * 7 // 16 % 256 for i in range(16 * pixels)),
            "train-labels-idx1-ubyte": bytes([0, 0, 8, 1]) + struct.pack(">I", labels)
            + bytes(i % 2 for i in range(labels))}


BEASTS = [
    Beast("cut_image.zip", with_one("dogs/x.png", picture(7, (200, 200))[:-60]), "image_broken", "error", rows=(25,)),
    Beast("cut_photo.zip", with_one("dogs/x.jpg", picture(7, (200, 200), "JPEG")[:400]), "image_broken", "error",
          rows=(25,)),
    Beast("empty_image.zip", with_one("dogs/x.png", b""), "image_broken", "error", rows=(25,)),
    Beast("text_as_image.zip", with_one("dogs/x.png", "not an image"), "image_broken", "error", rows=(25,)),
    Beast("script_as_image.zip", with_one("dogs/x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n(x) run\n"), "image_broken",
          "error", rows=(25,)),
    Beast("huge_image.zip", with_one("dogs/x.png", promise(50_000, 50_000)), "image_too_large", "error", rows=(25,),
          heavy=True),
    Beast("large_image.zip", with_one("dogs/x.png", promise(9_000, 9_000)), "image_too_large", "error", rows=(25,),
          heavy=True),
    Beast("hollow_image.zip", with_one("dogs/x.png", promise(6_000, 6_000)), "image_broken", "error", rows=(25,),
          heavy=True),
    Beast("no_pixels.zip", with_one("dogs/x.png", promise(0, 0)), "image_broken", "error", rows=(25,)),
    Beast("classless.zip", with_one("x.png", picture(99)), "image_without_class", "error", rows=(25,)),
    Beast("no_classes.zip", zipped({f"{i}.png": picture(i) for i in range(24)}), "no_images"),
    Beast("one_class.zip", zipped({f"cats/{i}.png": picture(i) for i in range(24)}), "one_label", "error"),
    Beast("empty_class.zip", with_one("cows/", ""), "class_empty", "warning"),
    Beast("foreign_images.zip", with_one("cows/x.svg", "<svg/>"), "other_files", "note"),
    Beast("rare_class.zip", with_one("cows/x.png", picture(77)), "label_rare", "warning"),
    Beast("same_image_twice.zip", with_one("dogs/x.png", SOUND["cats/0.png"]), "duplicates_conflict", "warning",
          rows=(25,)),
    Beast("leaked_images.zip", zipped(SOUND), "eval_overlap", "warning",
          eval=zipped({**{f"cats/{i}.png": picture(900 + i) for i in range(3)}, "dogs/x.png": SOUND["dogs/0.png"],
                       "dogs/y.png": SOUND["dogs/1.png"]}), rows=(4, 5)),
    Beast("image_not_there.zip", listed("24.png,cat"), "image_not_there", "error", rows=(25,)),
    Beast("image_unlabelled.zip", zipped({**LISTED, "labels.csv": "file,label\n" + "".join(
        f"{i}.png,{'cat' if i % 2 else ''}\n" for i in range(24))}), "label_missing", "error"),
    Beast("image_unlisted.zip", zipped({**LISTED, "pictures/more.png": picture(99), "labels.csv": "\n".join(
        ["file,label", *NAMED])}), "images_unlisted", "note"),
    Beast("cut_image.parquet", stored(picture(7, (200, 200))[:-60]), "image_broken", "error", rows=(25,)),
    Beast("huge_image.parquet", stored(promise(50_000, 50_000)), "image_too_large", "error", rows=(25,), heavy=True),
    Beast("text_as_image.parquet", stored(b"hello", bare=True), "image_broken", "error", rows=(25,)),
    Beast("no_image.parquet", stored(None), "image_missing", "error", rows=(25,)),
    Beast("junk_images.parquet", junk, "binary_columns", "warning"),
    Beast("too_few_labels.zip", zipped(mnist(labels=19)), "idx_broken"),
    Beast("too_few_pixels.zip", zipped(mnist(pixels=18)), "idx_broken"),
    Beast("promised_pixels.zip", zipped(mnist(side=60_000)), "image_too_large"),
    Beast("promised_images.zip", zipped(mnist(count=4_000_000_000)), "expanded_too_large"),
    Beast("no_labels.zip", zipped({"train-images-idx3-ubyte": mnist()["train-images-idx3-ubyte"]}), "idx_unpaired"),
    Beast("images.idx", lambda path: path.write_bytes(mnist()["train-images-idx3-ubyte"]), "not_a_table"),
    Beast("images_and_rows.zip", zipped({"cats/1.png": b"", "data.csv": GOOD}), "image_broken", "error"),
]
