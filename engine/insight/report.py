"""What is told of a trained result: sections of figures and tables, each with the sentence that explains it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Raised whenever what is stored changes in kind, so that older files are made anew.
VERSION = 1
#: Name of the file beside a run's adapter.
FILE = "insight.json"

Number = float | int | None
Cell = str | float | int | None


class Part(BaseModel):
    """What the figures and the table of a section share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str


class Heat(Part):
    """A number for each row and column, None where there is none; `texts` say it in words."""

    kind: Literal["heat"] = "heat"
    rows: list[str]
    columns: list[str]
    values: list[list[Number]]
    texts: list[list[str]] = []
    x_title: str = "layer"


class Series(BaseModel):
    """One line: y over x."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    x: list[Number]
    y: list[Number]


class Lines(Part):
    """Lines over one axis."""

    kind: Literal["lines"] = "lines"
    series: list[Series]
    x_title: str = ""
    y_title: str = ""


class Table(Part):
    """Rows of cells; `numeric` are the columns of numbers. `open` tables are seen at once, others on demand."""

    kind: Literal["table"] = "table"
    columns: list[str]
    rows: list[list[Cell]]
    numeric: list[int] = []
    open: bool = False


Figure = Annotated[Heat | Lines | Table, Field(discriminator="kind")]


class Section(BaseModel):
    """One thing that was learned: `how` is the sentence that says how to read its parts, `note` what is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    how: str
    parts: list[Figure] = []
    facts: dict[str, Cell] = {}
    note: str = ""


class Insight(BaseModel):
    """Everything that is told of one trained result; JSON of it is `insight.json`."""

    model_config = ConfigDict(extra="forbid")

    version: int = VERSION
    kind: str = ""
    sections: list[Section] = []
    notes: list[str] = []
    seconds: float = 0.0


def digits(value: Any, count: int = 5) -> float | int | None:
    """Return a number with so many significant digits; None for what is no finite number."""
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    return float(f"{number:.{count}g}") if math.isfinite(number) else None


def rounded(values: Iterable[Any], count: int = 5) -> list[Number]:
    """Return numbers with so many significant digits."""
    return [digits(value, count) for value in values]
