"""What the values of columns look like: texts, short repeated labels, numbers, lists, conversations or images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as pt

from engine.data import cells, decimals, names
from engine.data.chat import is_messages
from engine.data.source import Preview

#: Rows looked at: enough to tell labels from texts.
LOOKED_AT = 2000
NUMBER = re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$")
#: What programs write for numbers that are none; checking names their rows.
_NO_NUMBER = re.compile(r"^[-+]?(?:nan|inf(?:inity)?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Profile:
    """What a column's values look like; shares are of the filled cells, of numbers of those that are not NaN."""

    name: str
    plain: str
    kind: Literal["messages", "list", "text", "image", "empty"]
    filled: float
    count: int
    distinct: int
    words: float
    length: float
    longest: int
    numeric: float
    whole: float
    values: tuple[str, ...]

    @property
    def repeated(self) -> float:
        """Share of the filled cells whose value also stands in another."""
        return 1 - self.distinct / self.count if self.count else 0.0

    @property
    def texty(self) -> bool:
        """Whether it reads like text: several words, or long."""
        return self.kind == "text" and self.numeric < 0.5 and (self.words >= 2.2 or self.length >= 25)

    @property
    def labelly(self) -> bool:
        """Whether it could be a class: short and repeated."""
        if self.kind != "text" or self.filled < 0.8 or self.distinct < 1:
            return False
        short = self.words <= 4 and self.longest <= 64
        return short and (self.distinct <= 2 or self.distinct <= max(3, 0.5 * self.count))


def profiles(data: Preview | pa.Table) -> list[Profile]:
    """Return a profile of each column."""
    if isinstance(data, Preview):
        return [_image_profile(name, len(data.rows)) if _previewed(data, name) else
                _profile(name, [row.get(name) for row in data.rows]) for name in data.columns]
    head = data.slice(0, LOOKED_AT)
    return [_image_profile(name, head.num_rows) if cells.is_image(head.column(name)) else
            _profile(name, head.column(name).to_pylist(), head.column(name).type) for name in head.column_names]


def _image_profile(name: str, rows: int) -> Profile:
    """Return the profile of a column of images; their bytes are not looked at."""
    return Profile(name=name, plain=names.plain(name), kind="image" if rows else "empty", filled=1.0, count=rows,
                   distinct=rows, words=0, length=0, longest=0, numeric=0, whole=0, values=())


def _profile(name: str, values: Sequence[Any], kind: pa.DataType | None = None) -> Profile:
    given = [value for value in values if value is not None and not (isinstance(value, str) and not value.strip())]
    shape: Literal["messages", "list", "text", "empty"] = "text" if given else "empty"
    if (kind is not None and cells.is_messages(pa.nulls(0, kind))) or any(is_messages(value) for value in given[:50]):
        shape = "messages"
    elif any(isinstance(value, list) for value in given[:50]) or (kind is not None and pt.is_list(kind)):
        shape = "list"
    texts = [str(value).strip() for value in given] if shape == "text" else []
    texts = [text for text in texts if text]
    if decimals.are_numbers(texts):
        texts = decimals.pointed(pa.array(texts)).to_pylist()
    numbers = [text for text in texts if NUMBER.match(text)]
    count = max(1, len(texts))
    strange = sum(1 for text in texts if _NO_NUMBER.match(text)) if numbers else 0
    lists = [str(item) for value in given if isinstance(value, list) and shape == "list" for item in value]
    return Profile(
        name=name, plain=names.plain(name), kind=shape if texts or shape in ("messages", "list") else "empty",
        filled=len(given) / max(1, len(values)), count=len(texts) or len(given), distinct=len(set(texts or lists)),
        words=sum(len(text.split()) for text in texts) / count, length=sum(map(len, texts)) / count,
        longest=max(map(len, texts or lists), default=0), numeric=len(numbers) / (count - strange),
        whole=sum(1 for text in numbers if float(text).is_integer()) / max(1, len(numbers)), values=tuple(texts[:500]))


def _previewed(data: Preview, name: str) -> bool:
    """Tell whether a column of a preview stands for images."""
    return any(isinstance(row.get(name), dict) and set(row[name]) == {"path", "bytes"} for row in data.rows[:20])
