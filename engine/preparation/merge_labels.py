"""Rare labels as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import model_validator

from engine.data import cells
from engine.knobs import knob
from engine.preparation.base import Change, Setting, Step, StepCard, listed
from engine.preparation.map_labels import replaced


class MergeLabels(Step):
    """Gives rare labels, or chosen ones, one common name."""

    name: Literal["merge_labels"] = "merge_labels"
    column: str = knob(title="Column", of="column", help="The column that holds the labels.")
    into: str = knob("other", title="New label", min_length=1, help="What the merged labels are called.")
    rarer_than: int | None = knob(None, ge=2, title="Rarer than", unit="rows", words={None: "No limit"},
                                  help="Merge every label that fewer rows to learn from have.")
    labels: list[str] = knob([], title="Labels", lines=True, help="Labels to merge, however many rows have them.")

    card: ClassVar[StepCard] = StepCard("Merge labels", "Collect rare or chosen labels under one name.", order=60)

    @model_validator(mode="after")
    def _merges_something(self) -> MergeLabels:
        if not self.labels and self.rarer_than is None:
            raise ValueError("nothing is merged: say which labels, or how rare they are")
        return self

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns, which stay."""
        self.need(before, self.column)
        return list(before)

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the table with the labels merged; rows to evaluate on follow those to learn from."""
        self.after(table.column_names)
        column = table.column(self.column)
        if not setting.evaluation:
            setting.learned["merged"] = self._chosen(column)
        # How rare a label was is not known of rows that are only asked about.
        merged: list[str] = setting.learned.get("merged", self.labels)
        made, seen = replaced(column, dict.fromkeys(merged, self.into), self.card.title)
        there = [label for label in merged if label in seen]
        note = f"{listed(there)} became '{self.into}'." if there else "No label was merged."
        return Change(table.set_column(table.column_names.index(self.column), self.column, made), note)

    def _chosen(self, column: pa.ChunkedArray) -> list[str]:
        chosen = dict.fromkeys(self.labels)
        if self.rarer_than is not None and (cells.is_list(column) or cells.is_text(column)):
            labels = cells.several(column)[0] if cells.is_list(column) else cells.label_strings(column)
            counts = cells.values_of(labels)
            chosen |= dict.fromkeys(label for label, rows in counts.items() if rows < self.rarer_than)
        return list(chosen)

    def told(self) -> str:
        """Return what is merged."""
        rare = [f"labels of fewer than {self.rarer_than:,} rows"] if self.rarer_than else []
        named = [listed(self.labels)] if self.labels else []
        return f"in '{self.column}' {' and '.join([*named, *rare])} → '{self.into}'"
