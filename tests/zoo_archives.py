"""Broken archives: what is packed, and how."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

from beast import GOOD, Beast, changed, data, repeated, table, zipped

#: A zip archive that holds a table.
PACKED = zipped({"data.csv": GOOD})


def inner() -> bytes:
    """Return a zip archive as bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data.csv", GOOD)
    return out.getvalue()


def tarred(path: Path) -> None:
    """Write a tar archive."""
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("data.csv"), io.BytesIO(b""))


def linked(path: Path) -> None:
    """Write a zip archive with a table and a symbolic link out of it."""
    link = zipfile.ZipInfo("notes.csv")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.csv", GOOD)
        archive.writestr(link, "/etc/passwd")


def locked(content: bytearray) -> bytearray:
    """Set the marks of encryption in the headers of a zip archive."""
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    return content


def promising(content: bytearray) -> bytearray:
    """Say in a zip archive's headers that its file grows to almost 4 GB."""
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = content.index(mark) + offset
        content[place:place + 4] = struct.pack("<I", 0xFFFFFFF0)
    return content


def bomb(path: Path) -> None:
    """Write a zip archive with 64 MB of one short row, packed into little."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, \
            archive.open("data.csv", "w") as file:
        file.write(b"text,label\n")
        for _ in range(64):
            file.write(b"so small,label\n" * ((1 << 20) // 15))


BEASTS = [
    Beast("zip.csv", zipped({"data.zip": GOOD}), "nothing_inside"),
    Beast("nested.zip", zipped({"data.zip": inner()}), "nothing_inside"),
    Beast("nested_as_table.zip", zipped({"data.csv": inner()}), "not_a_table"),
    Beast("zip.csv.gz", data(gzip.compress(b"PK\x03\x04" + bytes(100) + b"a")), "not_a_table"),
    Beast("nothing.zip", zipped({}), "not_a_table"),
    Beast("only_readme.zip", zipped({"README.md": "about", "LICENSE": "free"}), "nothing_inside"),
    Beast("empty_table.zip", zipped({"data.csv": ""}), "nothing_inside"),
    Beast("up.zip", zipped({"../data.csv": GOOD}), "archive_unsafe"),
    Beast("deep_up.zip", zipped({"data/../../data.csv": GOOD}), "archive_unsafe"),
    Beast("backwards_up.zip", zipped({"..\\data.csv": GOOD}), "archive_unsafe"),
    Beast("absolute.zip", zipped({"/etc/data.csv": GOOD}), "archive_unsafe"),
    Beast("drive.zip", zipped({"C:/data.csv": GOOD}), "archive_unsafe"),
    Beast("link.zip", linked, "links_skipped", "warning"),
    Beast("locked.zip", changed(PACKED, locked), "archive_locked"),
    Beast("cut.zip", changed(zipped({"data.csv": GOOD * 20}), lambda content: content[:-60]), "archive_broken"),
    Beast("damaged.zip", changed(PACKED, lambda content: content.replace(b"number 30", b"number 03")),
          "member_broken"),
    Beast("promising.zip", changed(PACKED, promising), "expanded_too_large"),
    Beast("bomb.zip", bomb, "expanded_too_large", heavy=True),
    Beast("differing.zip", zipped({"a.csv": GOOD, "b.csv": table([(1, 2)] * 9, ("size", "weight"))}),
          "files_differ", "warning"),
    Beast("ragged_inside.zip", zipped({"a.csv": GOOD, "b.csv": GOOD + b"too few\n"}), "ragged_rows", "error",
          rows=(121,)),
    Beast("leaked_parts.zip", zipped({"train.csv": GOOD, "test.csv": GOOD}), "eval_overlap", "warning",
          eval=data(GOOD)),
    Beast("empty_folder.zip", zipped({**{f"{name}/{i}.txt": f"{name} text {i}" for i in range(12)
                                         for name in ("good", "bad")}, "ugly/": ""}), "class_empty", "warning"),
    Beast("tar.csv", tarred, "not_a_table"),
    Beast("cut.csv.gz", data(gzip.compress(GOOD * 3000)[:-400]), "gzip_broken"),
    Beast("flipped.csv.gz", data(bytes(bytearray(gzip.compress(GOOD))[:60] + b"\xff" * 60)), "gzip_broken"),
    Beast("twice.csv.gz", data(gzip.compress(gzip.compress(GOOD))), "gzip_broken"),
    Beast("tail.csv.gz", data(gzip.compress(GOOD * 300) + b"and more"), "gzip_broken"),
    Beast("bomb.csv.gz", repeated(b"so small,label\n", 64, b"text,label\n"), "expanded_too_large", heavy=True),
    Beast("bomb.jsonl.gz", repeated(b'{"text": "' + b"so small " * 200 + b'"}\n', 64), "expanded_too_large",
          heavy=True),
    Beast("one_line_bomb.json.gz", repeated(b"a", 64, b'[{"text": "', b'"}]'), "line_too_long", heavy=True),
]
