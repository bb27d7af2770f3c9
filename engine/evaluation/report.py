"""evaluation.json: the metrics of a run with their intervals, slices, charts and the rows it was most wrong about."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

#: Raised whenever what is stored changes in kind.
VERSION = 1
#: Name of the file in a run's folder.
FILE = "evaluation.json"
#: The word that stands for the bundled neutral text where a dataset could be named to measure forgetting on.
NEUTRAL = "neutral"

Number = float | None


#: What rows are parted by beside columns.
LABEL, LENGTH = "label", "length"


class Part(BaseModel):
    """A part of the report; what a newer version adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Measured(Part):
    """A metric and its interval; None where there is no number."""

    value: Number
    low: Number = None
    high: Number = None


class Slice(Part):
    """The rows that have `value` in `by`; the interval is that of the sorted metric.

    `by` is "label", "length", or where `column` says so the name of a column, which may be one of both as well.
    """

    by: str
    column: bool = False
    value: str
    rows: int
    metrics: dict[str, Number]
    low: Number = None
    high: Number = None

    @property
    def title(self) -> str:
        """What the rows are parted by, in words."""
        return f"column '{self.by}'" if self.column and self.by in (LABEL, LENGTH) else self.by


class Slices(Part):
    """Slices, the worst by `metric` first."""

    metric: str = ""
    greater_is_better: bool = True
    items: list[Slice] = []


class Suspect(Part):
    """A row the model was wrong about and sure: its label may be. `row` counts the evaluation rows from 0.

    `number` is the row's number in the dataset's file, from 1, where it is known.
    """

    row: int
    number: int | None = None
    expected: Any = None
    predicted: Any = None
    loss: Number = None
    confidence: Number = None


class Forgetting(Part):
    """What was measured on other data before training and after it; `note` says why there is nothing."""

    on: str
    measure: str = ""
    before: Number = None
    after: Number = None
    change: Number = None
    greater_is_better: bool = False
    note: str = ""


class Evaluation(Part):
    """Everything that is told of the last evaluation of a run."""

    version: int = VERSION
    task: str = ""
    step: int = 0
    rows: int = 0
    metric: str = ""
    greater_is_better: bool = True
    level: float = 0.95
    metrics: dict[str, Measured] = {}
    slices: Slices = Slices()
    charts: dict[str, Any] = {}
    settled: dict[str, Any] = {}
    suspects: list[Suspect] = []
    forgetting: Forgetting | None = None
