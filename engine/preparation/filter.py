"""Only the rows for which an expression holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from engine.errors import StudioError
from engine.knobs import knob
from engine.preparation import _evaluate, _expression
from engine.preparation.base import Change, Setting, Step, StepCard, counted, hint

if TYPE_CHECKING:
    from engine.preparation._expression import Node


class Filter(Step):
    """Keeps the rows for which a condition holds."""

    name: Literal["filter"] = "filter"
    where: str = knob(title="Condition", lines=True, max_length=_expression.LONGEST, help=(
        'Rows for which it holds stay, such as: length(text) > 20 and label in ["a", "b"]. Columns stand as they are, '
        "or in `backticks`, texts in quotes. There are and, or, not; = != < <= > >=; + - * / %; in, contains, "
        "startswith, endswith, matches (a pattern); is empty; length(), words(), lower(), upper(), trim(), number()."))
    drop: bool = knob(False, title="Drop these rows instead", help="Keep the rows for which it does not hold.")

    card: ClassVar[StepCard] = StepCard("Filter rows", "Keep the rows for which a condition over the columns holds.",
                                        order=30)
    picks: ClassVar[bool] = True

    @field_validator("where")
    @classmethod
    def _can_be_read(cls, where: str) -> str:
        try:
            node = _expression.parse(where)
        except StudioError as error:
            raise ValueError(f"{error.what} {error.try_this}".strip()) from None
        if not _expression.columns(node):
            raise ValueError("the condition speaks of no column")
        return where

    @property
    def node(self) -> Node:
        """The condition as it was read."""
        return _expression.parse(self.where)

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns, which stay; raises ExpressionError for one the condition speaks of that is not there."""
        for name, at in _expression.columns(self.node).items():
            if name not in before:
                raise _expression.fault(self.where, at, f"there is no column '{name}'", hint(name, before))
        return list(before)

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the rows for which the condition holds."""
        self.after(table.column_names)
        kept = np.asarray(_evaluate.mask(self.node, table, self.where)) != self.drop
        rows = np.flatnonzero(kept)
        gone = table.num_rows - len(rows)
        return Change(table.take(pa.array(rows)), f"{counted(gone, 'row')} left out.", rows)

    def told(self) -> str:
        """Return the condition."""
        short = " ".join(self.where.split())
        return f"{'drop' if self.drop else 'keep'} rows where {short[:80]}{'…' if len(short) > 80 else ''}"
