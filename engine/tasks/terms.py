"""The words in which tasks speak with the rest: roles of columns, encoded rows, outputs, questions and replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class ColumnRole:
    """A part a column can play in a task. `needs` on the task tells which roles are needed together.

    `kind` tells how a person fills it when asking: a text, a list of words (a text does too), or an image. `alike`
    names roles of other tasks: a column that plays one of them can play this one.
    """

    name: str
    title: str
    help: str
    kind: Literal["text", "words", "image"] = "text"
    alike: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskCard:
    """What a person reads before picking a task."""

    title: str
    summary: str
    order: int = 100


@dataclass
class Encoded:
    """Examples as the model takes them. `rows` holds one mapping an example: `input_ids` (or an image), and `labels`.

    How long an example is the task's `length` says; `truncated` counts those cut at the maximum length. `tokenizer` is
    there when evaluation has to turn tokens into text again.
    """

    rows: Sequence[dict[str, Any]]
    truncated: int = 0
    labels: list[str] = field(default_factory=list)
    tokenizer: Any = None


#: Row indices of the eval rows and the batch made of them, on the model's device.
Batches = Iterable[tuple[list[int], dict[str, Any]]]


@dataclass
class Outputs:
    """What evaluation collects: `metrics` by usual name, and `examples`, one JSON-able record a row, worst first.

    A record holds `row` (index in the eval table), `input`, `expected`, `predicted`, `loss`, `correct` (or None), and
    may hold `counts`, numbers by name that `Task.summarise` adds up. `charts` is what the run's page draws, by kind:

    - "confusion": {"labels": [...], "counts": [[...]]}, a line for each expected label, a column for each predicted one
    - "curves": {"x_title", "y_title", "series": [{"name", "x", "y", "area" (or none)}]}, any lines; a number besides
      each name
    - "scatter": {"x_title", "y_title", "x", "y"}
    - "calibration": {"bins": [{"predicted", "observed", "rows"}]}
    - anything else: {name: {metric: number}} becomes a table, such as "by_type"

    `settled` holds options of the task that this evaluation found (a threshold): they are saved with what was trained.
    """

    metrics: dict[str, float]
    examples: list[dict[str, Any]]
    charts: dict[str, Any] = field(default_factory=dict)
    settled: dict[str, Any] = field(default_factory=dict)


class Asking(BaseModel):
    """What a person can choose when asking a model: nothing, unless a task's own class adds fields (knobs)."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Asked:
    """Who is asked, and how: a model with its tokenizer or processor, and what it was trained on.

    `limit` is how many tokens it may read (0: no limit), `columns` the roles it was trained with, `options` what the
    person chose, such as beams or a temperature.
    """

    model: Any
    tokenizer: Any
    labels: Sequence[str]
    device: str = "cpu"
    limit: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    cancelled: Callable[[], bool] = lambda: False


class Reply(TypedDict):
    """What a model says about one row: in a word or two, with probabilities by name, and as a drawing.

    `drawing` is an `engine.drawing.Drawing` as JSON, `note` what a person should know (cut short, untrained head).
    """

    label: str
    scores: dict[str, float]
    note: str
    drawing: dict[str, Any]
