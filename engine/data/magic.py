"""Files that are not tables, known by their first bytes, and what to do about each."""

from __future__ import annotations

import re

from engine.data.errors import NotATable

IMAGES = "Pack images into a zip archive, a folder for each class."
#: First bytes (at an offset), what it is, what to do.
_KINDS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x05\x06", "an empty zip archive", "Pack it again, or upload the file itself."),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it and upload the file inside."),
    (0, b"Rar!\x1a\x07", "a RAR archive", "Unpack it and upload the file inside."),
    (0, b"BZh", "a bzip2 archive", "Unpack it (`bunzip2`) and upload the file inside."),
    (0, b"\xfd7zXZ\x00", "an xz archive", "Unpack it (`unxz`) and upload the file inside."),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it (`unzstd`) and upload the file inside."),
    (257, b"ustar", "a tar archive", "Unpack it and upload the file inside."),
    (0, b"SQLite format 3\x00", "an SQLite database",
     "Export the table as csv: `sqlite3 FILE -csv -header 'select * from …'`."),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Office document, or one with a password (.xls, .doc)",
     "Save the sheet as .xlsx without a password, or as csv (UTF-8)."),
    (0, b"\x89PNG\r\n", "a PNG image", IMAGES),
    (0, b"\xff\xd8\xff", "a JPEG image", IMAGES),
    (0, b"GIF8", "a GIF image", IMAGES),
    (8, b"WEBP", "a WebP image", IMAGES),
    (0, b"%PDF-", "a PDF document", "Export its text as csv or jsonl, one example a row."),
    (0, b"{\\rtf", "an RTF document", "Save the text as csv or jsonl, one example a row."),
    (0, b"\x7fELF", "a program", "Upload a table of texts."),
    (0, b"MZ\x90", "a program", "Upload a table of texts."),
    (0, b"GGUF", "a GGUF model", "Upload models on the Models page."),
    (0, b"\x93NUMPY", "a NumPy array", "Store texts and labels as csv, jsonl or parquet."),
    (0, b"\x89HDF\r\n", "an HDF5 file", "Store texts and labels as csv, jsonl or parquet."),
    (0, b"FEA1", "an old Feather file", "Write it again: `pyarrow.feather.write_feather` makes files that are read."),
    (0, b"ORC", "an ORC file", "Write it as parquet."),
    (0, b"Obj\x01", "an Avro file", "Write it as parquet."),
    (0, b"\x00\x00\x08\x01", "an IDX label file (MNIST)",
     "Pack it into one zip archive with the file of its images."),
    (0, b"\x00\x00\x08\x03", "an IDX image file (MNIST)",
     "Pack it into one zip archive with the file of its labels."),
    (0, b"ID3", "an MP3 recording", "Upload a table of texts."),
    (0, b"RIFF", "a sound or video file", "Upload a table of texts."),
    (4, b"ftyp", "a video", "Upload a table of texts."),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95|c|\}|\]|X|q|\(|K|J|N|\x8c|\x8a)", re.DOTALL)
_MARKUP = re.compile(rb"^\s*<(?:!doctype\s+html|html|head|body|\?xml|svg|!--)", re.IGNORECASE)
_SAFETENSORS = re.compile(rb"^.{7}\x00\{\"", re.DOTALL)


def refuse(head: bytes, name: str) -> None:
    """Raise NotATable when the first bytes belong to a known kind of file that holds no table."""
    if head.startswith(b"PK\x03\x04"):
        raise NotATable(name, what=_zip_kind(head)[0], remedy=_zip_kind(head)[1])
    for offset, mark, what, remedy in _KINDS:
        if head[offset:offset + len(mark)] == mark:
            raise NotATable(name, what=what, remedy=remedy)
    if _PICKLE.match(head):
        raise NotATable(name, what="a Python pickle, which can run code when it is opened",
                        remedy="Store the data as csv, jsonl or parquet instead; pickles are never opened here.")
    if _SAFETENSORS.match(head):
        raise NotATable(name, what="a safetensors model file", remedy="Upload models on the Models page.")
    if _MARKUP.match(head.removeprefix(b"\xef\xbb\xbf")[:512]):
        raise NotATable(name, what="a web page or XML document", remedy=(
            "It may be an error page saved in place of the file: download it again, or export a table as csv."))


def _zip_kind(head: bytes) -> tuple[str, str]:
    if b"xl/" in head or b"[Content_Types].xml" in head[:200]:
        return "an Office document that is no workbook", "Save its table as .xlsx or as csv (UTF-8)."
    if b".pkl" in head[:300] or b"/data.pkl" in head:
        return "a PyTorch checkpoint (a pickle), which can run code when it is opened", (
            "Store the data as csv, jsonl or parquet; models go on the Models page as safetensors.")
    if b".npy" in head[:300]:
        return "a NumPy archive", "Store texts and labels as csv, jsonl or parquet."
    return "a zip archive within another file", "Upload the archive itself, or unpack it."
