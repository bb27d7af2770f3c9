"""What every step of preparation promises."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from engine.data import cells
from engine.errors import DataError, SpecError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class StepCard:
    """What a person reads before adding a step."""

    title: str
    summary: str
    order: int = 100


@dataclass(frozen=True)
class Change:
    """What a step made of a table.

    `rows` holds, for each row of the new table, the number (from 0) of the row it came from; None where every row
    stayed in its place. `pairs` names rows that were found alike: {"row", "same_as" (both from 1), "alike" (0 to 1)}.
    """

    table: pa.Table
    note: str = ""
    rows: np.ndarray | None = None
    pairs: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Setting:
    """Where a step works: its random numbers, the rows beside, and what it remembers.

    `draw` is seeded by the run's seed and the step's place. `beside` are the rows to evaluate on while those to learn
    from are changed, where they are set aside already. `learned` is what the step found in the rows to learn from, so
    that the rows to evaluate on are changed alike; `evaluation` tells which of both it is given now. `asking` tells
    that these are rows to be predicted: none is left out, and columns that nothing is asked with may be missing.
    """

    draw: np.random.Generator
    evaluation: bool = False
    asking: bool = False
    beside: pa.Table | None = None
    learned: dict[str, Any] = field(default_factory=dict)


class StepColumn(DataError):
    """The step '{step}' speaks of the column '{column}', which is not there at that point."""

    kind = "step_column_missing"
    try_this = "{hint}"


class StepTaken(DataError):
    """The step '{step}' would make a second column called '{column}'."""

    kind = "step_column_taken"
    try_this = "Choose another name, or drop the other column first."


class StepValue(DataError):
    """The step '{step}' cannot be done: {problem}"""

    kind = "step_impossible"
    try_this = "Change the step, or take it out."


class StepInvalid(SpecError):
    """A step of preparation is not valid: {problem}"""

    kind = "step_invalid"
    try_this = "Correct the step."


class Step(BaseModel):
    """One change to the rows of a dataset, made before anything is learned. A subclass is one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    card: ClassVar[StepCard]
    #: Whether rows to evaluate on are changed as well.
    evaluation: ClassVar[bool] = True
    #: Whether a row may come out more than once, so that the rows to evaluate on must be set aside before.
    repeats: ClassVar[bool] = False
    #: Whether the step picks rows and leaves them as they are: rows to be predicted, which all stay, do without it.
    picks: ClassVar[bool] = False
    #: Whether the step sets the rows to evaluate on aside, with `aside`.
    splits: ClassVar[bool] = False

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns there are after the step; raises StepColumn or StepTaken."""
        return list(before)

    def renamed(self, column: str) -> str:
        """Return what a column is called after the step."""
        return column

    def formerly(self, column: str) -> str:
        """Return what a column was called before the step."""
        return column

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return what the step makes of a table; raises StepColumn, StepTaken, StepValue."""
        raise NotImplementedError

    def aside(self, table: pa.Table, setting: Setting) -> tuple[np.ndarray, str]:
        """Return which rows are kept to evaluate on (bool a row), and a sentence on them."""
        raise NotImplementedError

    def told(self) -> str:
        """Return in a few words what the step is set to, for lists and logs."""
        return self.card.title

    def need(self, before: Sequence[str], *wanted: str) -> None:
        """Raise StepColumn for the first of the `wanted` columns that is not there."""
        for column in wanted:
            if column not in before:
                raise StepColumn(f"step {self.name}", step=self.card.title, column=column, hint=hint(column, before))

    def texts(self, table: pa.Table, column: str) -> pa.Array:
        """Return a column of texts; raises StepColumn where it is not there, StepValue where it holds none."""
        self.need(table.column_names, column)
        if not cells.is_text(table.column(column)):
            raise StepValue(f"step {self.name}", step=self.card.title, problem=f"'{column}' holds no texts")
        return cells.strings(table.column(column))


def hint(column: str, known: Sequence[str]) -> str:
    """Return which column may have been meant."""
    close = difflib.get_close_matches(column, known, 1)
    others = ", ".join(list(known)[:20]) + (", …" if len(known) > 20 else "")
    return (f"Did you mean '{close[0]}'? " if close else "") + f"There are: {others}."


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(items: Iterable[str], most: int = 5) -> str:
    """Return the first items in quotes, and how many more there are."""
    names = list(items)
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + rest
