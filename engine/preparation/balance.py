"""Labels in more even numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from engine.data import cells
from engine.data.compute import pc
from engine.knobs import knob
from engine.preparation.base import Change, Setting, Step, StepCard, StepValue


class Balance(Step):
    """Draws rows anew so that labels are more even: rare ones again, or frequent ones less often."""

    name: Literal["balance"] = "balance"
    column: str = knob(title="Column", of="column", help="The column that holds the labels.")
    way: Literal["repeat", "drop"] = knob("repeat", title="How", help=(
        "repeat: rows of rare labels are taken several times. drop: rows of frequent labels are left out. To weigh "
        "rows instead, leave this step out and choose class weights among the settings of the task."))
    ratio: float = knob(1.0, ge=1, le=1000, slider=(1, 20), step=0.5, title="Most frequent to rarest",
                        help="How many times as many rows the most frequent label may have as the rarest; 1: all even.")

    card: ClassVar[StepCard] = StepCard("Balance labels", "Repeat rows of rare labels, or drop some of frequent ones. "
                                        "Rows to evaluate on are set aside before and stay as they are.", order=110)
    evaluation: ClassVar[bool] = False
    picks: ClassVar[bool] = True
    repeats: ClassVar[bool] = True

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns, which stay."""
        self.need(before, self.column)
        return list(before)

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return rows drawn by label, in the order of the table; rows without a label stay."""
        self.after(table.column_names)
        column = table.column(self.column)
        if not cells.is_text(column):
            raise StepValue(f"step {self.name}", step=self.card.title, problem=(
                f"'{self.column}' holds several labels a row, or none at all"))
        encoded = cells.label_strings(column).dictionary_encode()
        codes = np.asarray(pc.fill_null(encoded.indices, -1))
        sizes = np.bincount(codes[codes >= 0], minlength=1)
        if len(sizes) < 2:
            return Change(table, "There is one label only: nothing to balance.", np.arange(table.num_rows))
        parts = [np.flatnonzero(codes == -1)]
        for code, size in enumerate(sizes):
            parts.append(self._drawn(np.flatnonzero(codes == code), self._wanted(int(size), sizes), setting.draw))
        rows = np.sort(np.concatenate(parts), kind="stable")
        after = np.bincount(codes[rows][codes[rows] >= 0], minlength=len(sizes))
        note = f"Labels had {sizes.min():,} to {sizes.max():,} rows, now {after.min():,} to {after.max():,}."
        return Change(table.take(pa.array(rows)), note, rows)

    def _wanted(self, size: int, sizes: np.ndarray) -> int:
        """Return how many rows a label of so many shall have."""
        if self.way == "repeat":
            return max(size, int(np.ceil(sizes.max() / self.ratio)))
        return min(size, int(sizes.min() * self.ratio))

    def _drawn(self, rows: np.ndarray, wanted: int, draw: np.random.Generator) -> np.ndarray:
        """Return `wanted` of the rows, each as often as any other, give or take one."""
        whole, rest = divmod(wanted, len(rows))
        return np.concatenate([np.tile(rows, whole), draw.choice(rows, rest, replace=False)])

    def told(self) -> str:
        """Return how the labels are balanced."""
        how = "repeating rare ones" if self.way == "repeat" else "dropping frequent ones"
        return f"balance '{self.column}' by {how}, at most {self.ratio:g} to 1"
