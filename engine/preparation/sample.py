"""Fewer rows, drawn at random or the first."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from engine.knobs import knob
from engine.preparation.base import Change, Setting, Step, StepCard


class Sample(Step):
    """Keeps a number of rows, to try something out quickly."""

    name: Literal["sample"] = "sample"
    rows: int = knob(1000, ge=1, le=1_000_000_000, scale="log2", slider=(16, 65_536), title="Rows",
                     help="How many rows stay.")
    way: Literal["random", "first"] = knob("random", title="Which", help="Rows drawn at random, or the first ones.")

    card: ClassVar[StepCard] = StepCard("Keep some rows", "Keep a number of rows, drawn at random or the first.",
                                        order=35)
    evaluation: ClassVar[bool] = False
    picks: ClassVar[bool] = True

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return so many rows, in the order of the table."""
        if table.num_rows <= self.rows:
            return Change(table, "There are no more rows than that.")
        rows = np.arange(self.rows) if self.way == "first" else \
            np.sort(setting.draw.choice(table.num_rows, self.rows, replace=False))
        return Change(table.take(pa.array(rows)), rows=rows)

    def told(self) -> str:
        """Return how many rows stay."""
        return f"keep {self.rows:,} rows {'at random' if self.way == 'random' else 'from the start'}"
