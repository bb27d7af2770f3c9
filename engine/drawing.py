"""How a prediction is drawn, without saying with what: pages, documents and command lines each do it their way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Picture(BaseModel):
    """Something to draw; `kind` tells which."""

    model_config = ConfigDict(frozen=True)


class Bars(Picture):
    """Shares of one whole, or independent probabilities, by name."""

    kind: Literal["bars"] = "bars"
    values: dict[str, float]


class Span(BaseModel):
    """Part of a text, from character `start` up to `end`; `score` is the model's probability, None when unknown."""

    model_config = ConfigDict(frozen=True)

    start: int
    end: int
    label: str = ""
    score: float | None = None


class Marked(Picture):
    """A text with parts of it highlighted; spans neither overlap nor leave the text."""

    kind: Literal["marked"] = "marked"
    text: str
    spans: list[Span] = []


class Prose(Picture):
    """A text that was written."""

    kind: Literal["prose"] = "prose"
    text: str


class Number(Picture):
    """One number."""

    kind: Literal["number"] = "number"
    value: float


Drawing = Annotated[Bars | Marked | Prose | Number, Field(discriminator="kind")]
