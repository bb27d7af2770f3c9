"""What a data file turned out to be, and what came of reading it."""

from __future__ import annotations

import codecs
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from engine.findings import Finding

Format = Literal["csv", "tsv", "text", "json", "jsonl", "yaml", "parquet", "arrow", "xlsx", "labelled", "conll",
                 "images", "idx", "files"]


class Source(BaseModel):
    """How to read a file: recognised by its content, correctable by a person before reading.

    `delimiter` is "" for files of one column; where it stands for `separator`, a delimiter of several letters, that is
    put in its place while reading; `quote` is "" where quotes belong to the text; `unit` is what one row of plain text
    is; `part` is the sheet of a workbook, or the file, folder or part of a folder or archive that is read ("" leaves it
    to be found), one of `parts` where there are several; `marks` are the lines that begin with a byte order mark;
    `faulty` says whether rows that do not fit are reported as an error or left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    compression: Literal["gzip"] | None = None
    encoding: str = "utf-8"
    delimiter: str = ""
    separator: str = ""
    quote: str = ""
    escape: str = ""
    newline: Literal["lf", "cr"] = "lf"
    spaced: bool = False
    header: bool = False
    columns: list[str] = []
    unit: Literal["line", "paragraph"] = "line"
    part: str = ""
    parts: list[str] = []
    marks: list[int] = []
    faulty: Literal["report", "skip"] = "report"

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            "".encode(value)
            return codecs.lookup(value).name if value not in ("utf-8", "latin-1") else value
        except LookupError:
            raise ValueError(f"there is no text encoding '{value}'") from None


class Preview(BaseModel):
    """The first rows of a file."""

    columns: list[str]
    rows: list[dict[str, Any]]
    source: Source
    findings: list[Finding] = []


class Ingested(BaseModel):
    """A dataset stored as parquet; `sha256` and `bytes` are those of the file it came from."""

    rows: int
    columns: list[str]
    source: Source
    findings: list[Finding]
    sha256: str
    bytes: int
