"""Fewer columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from engine.knobs import knob
from engine.preparation.base import Change, Setting, Step, StepCard, listed

if TYPE_CHECKING:
    import pyarrow as pa


class Drop(Step):
    """Leaves columns out, or all others."""

    name: Literal["drop"] = "drop"
    columns: list[str] = knob(title="Columns", help="The columns that are dropped, or the only ones that are kept.",
                             of="columns", min_length=1)
    keep: bool = knob(False, title="Keep only these", help="Drop all other columns instead.")

    card: ClassVar[StepCard] = StepCard("Drop columns", "Leave out columns that nothing is learned from.", order=20)

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns that stay, in their order."""
        self.need(before, *self.columns)
        return [name for name in before if (name in self.columns) == self.keep]

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the table without the columns; rows to evaluate on need not have all of them."""
        if setting.evaluation:
            return Change(table.select([name for name in table.column_names if (name in self.columns) == self.keep]))
        return Change(table.select(self.after(table.column_names)))

    def told(self) -> str:
        """Return what is dropped or kept."""
        return f"{'keep only' if self.keep else 'drop'} {listed(self.columns)}"
