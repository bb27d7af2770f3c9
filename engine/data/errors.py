"""Everything that can be wrong with a data file, each with what to do next."""

from __future__ import annotations

from typing import Any

from engine.errors import DataError, StudioError
from engine.findings import Finding


class Cancelled(StudioError):
    """Reading was cancelled."""

    kind = "cancelled"
    try_this = "Start it again when you like."
    exit_code = 3


class FileMissing(DataError):
    """There is no file '{name}'."""

    kind = "file_missing"
    try_this = "Check the path, or upload the file again."


class FileUnreadable(DataError):
    """The file '{name}' cannot be opened ({reason})."""

    kind = "file_unreadable"
    try_this = "Check its permissions, or upload it again."


class FileEmpty(DataError):
    """The file is empty."""

    kind = "file_empty"
    try_this = "Export it again and check that it holds rows."


class NotATable(DataError):
    """This is {what}, not a table of examples."""

    kind = "not_a_table"
    try_this = "{remedy}"


class BinaryFile(DataError):
    """This is a binary file of an unknown kind, not text."""

    kind = "binary_file"
    try_this = "Use csv, tsv, json, jsonl or parquet; a text file should be saved as UTF-8."


class NulByte(DataError):
    """There is a NUL byte at byte {offset} (line {line}): the file is damaged or not text."""

    kind = "nul_byte"
    try_this = "Export the file again as UTF-8 text; a NUL often means that a copy was cut short."


class InvalidText(DataError):
    """The byte {byte} at byte {offset} (line {line}) is not valid {encoding}."""

    kind = "invalid_text"
    try_this = "Save the file as UTF-8, or correct that line."


class LineTooLong(DataError):
    """Line {line} is longer than {limit}: this is not one example a line."""

    kind = "line_too_long"
    try_this = "Check that rows end with a line break; split or shorten that row."


class ExpandedTooLarge(DataError):
    """The compressed file grows beyond {limit} when it is unpacked."""

    kind = "expanded_too_large"
    try_this = "Upload a smaller part of it, or raise the limit if you trust the file."


class GzipBroken(DataError):
    """The gzip file is damaged or cut short ({reason})."""

    kind = "gzip_broken"
    try_this = "Download or compress it again; `gzip -t` tells whether a copy is whole."


class QuoteNotClosed(DataError):
    """A quote opened in {place} is never closed, so the rows after it run together."""

    kind = "quote_not_closed"
    try_this = "Close the quote there, or double a quote that belongs to the text."


class BadJson(DataError):
    """The JSON is broken at line {line}, column {column}: {reason}."""

    kind = "bad_json"
    try_this = "Correct that place. One object a line (jsonl) or an array of objects both work."


class JsonTooDeep(DataError):
    """Row {row} is nested deeper than {limit} levels."""

    kind = "json_too_deep"
    try_this = "Flatten it: one field for each column."


class NoRecords(DataError):
    """The JSON holds no list of examples, only {what}."""

    kind = "no_records"
    try_this = "Use an array of objects, one object a line, or columns of equal length."


class NotRows(DataError):
    """This JSON holds {what}, not rows."""

    kind = "not_rows"
    try_this = "Use an array of objects, one object a line, or columns of equal length."


class UnequalColumns(DataError):
    """The columns differ in length: {lengths}."""

    kind = "unequal_columns"
    try_this = "Give every column the same number of values."


class ColumnarTooLarge(DataError):
    """A JSON file that stores whole columns must fit in memory; this one is larger than {limit}."""

    kind = "columnar_too_large"
    try_this = "Store it as jsonl (one object a line) or parquet."


class ParquetBroken(DataError):
    """The parquet file is damaged or cut short ({reason})."""

    kind = "parquet_broken"
    try_this = "Write or download it again."


class ColumnUnknown(DataError):
    """There is no column '{column}'."""

    kind = "column_missing"
    try_this = "Choose one of: {columns}."


class TooManyColumns(DataError):
    """The file has {count} columns; at most {limit} are read."""

    kind = "too_many_columns"
    try_this = "Keep the columns that hold texts and labels."


class DiskFull(DataError):
    """There is not enough disk space to store the dataset ({reason})."""

    kind = "disk_full"
    try_this = "Free some space on the data folder's disk and try again."


class FoundFault(DataError):
    """{problem}"""

    kind = "data_invalid"
    try_this = "Correct the data and try again."

    def __init__(self, where: str = "", *, try_this: str | None = None, **facts: Any) -> None:
        """Carry the kind of the finding, given as the fact `kind`."""
        super().__init__(where, try_this=try_this, **facts)
        self.kind = str(facts.get("kind", type(self).kind))


def from_finding(finding: Finding, name: str = "") -> FoundFault:
    """Return a finding as an error to raise; `name` is the file."""
    where = ", ".join(part for part in (name, finding.where) if part)
    return FoundFault(where, problem=finding.what, try_this=finding.try_this, kind=finding.kind)


class BrokenImage(DataError):
    """The image '{name}' cannot be read: {reason}."""

    kind = "image_broken"
    try_this = "Replace that file, or leave it out."


class ImageTooLarge(DataError):
    """The image '{name}' has {size}; at most {limit} are opened."""

    kind = "image_too_large"
    try_this = "Store it smaller; models look at a few hundred pixels a side."


class ArchiveBroken(DataError):
    """The zip archive is damaged or cut short ({reason})."""

    kind = "archive_broken"
    try_this = "Pack or download it again; `unzip -t` tells whether a copy is whole."


class ArchiveLocked(DataError):
    """The file '{name}' in the zip archive is protected by a password."""

    kind = "archive_locked"
    try_this = "Pack it again without a password."


class UnsafeArchive(DataError):
    """The zip archive names a file outside itself: '{name}'."""

    kind = "archive_unsafe"
    try_this = "Do not trust this archive. Pack the folder again yourself."


class NoImages(DataError):
    """There are no images in folders, one folder a class."""

    kind = "no_images"
    try_this = "Put the images of each class into a folder of that name; jpg, png, webp, bmp, gif and tiff are read."


class MemberBroken(DataError):
    """The file '{name}' inside cannot be read: {reason}."""

    kind = "member_broken"
    try_this = "Pack or download it again; `unzip -t` tells whether a copy is whole."


class TooManyFiles(DataError):
    """There are more than {limit} files inside."""

    kind = "too_many_files"
    try_this = "Keep the files that hold rows or images."


class NothingInside(DataError):
    """There is no file with rows or images inside."""

    kind = "nothing_inside"
    try_this = "Put in csv, tsv, json, jsonl, parquet, xlsx or text files, or a folder of images for each class."


class PartMissing(DataError):
    """There is no '{part}' inside."""

    kind = "part_missing"
    try_this = "Choose one of: {known}."


class ArrowBroken(DataError):
    """The Arrow file is damaged or cut short ({reason})."""

    kind = "arrow_broken"
    try_this = "Write or download it again, or store it as parquet."


class WorkbookBroken(DataError):
    """The Excel workbook is damaged or cut short ({reason})."""

    kind = "workbook_broken"
    try_this = "Open it and save it again as .xlsx, or save the sheet as csv (UTF-8)."


class WorkbookEmpty(DataError):
    """No sheet of the Excel workbook holds cells."""

    kind = "workbook_empty"
    try_this = "Put a header and rows on a sheet of it, and save it again."


class YamlBroken(DataError):
    """The YAML is broken at line {line}: {reason}."""

    kind = "yaml_broken"
    try_this = "Correct that place, or store the rows as jsonl."


class IdxBroken(DataError):
    """The IDX file '{name}' is damaged ({reason})."""

    kind = "idx_broken"
    try_this = "Download it again; it should hold a header and one byte a pixel or label."


class IdxWithoutPartner(DataError):
    """There are IDX images and no IDX labels for them, or the other way round."""

    kind = "idx_unpaired"
    try_this = "Put the file of images and the file of their labels into one folder or zip archive."
