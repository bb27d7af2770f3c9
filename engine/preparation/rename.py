"""Columns under other names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import field_validator

from engine.knobs import knob
from engine.preparation.base import Change, Setting, Step, StepCard, StepTaken, listed

if TYPE_CHECKING:
    import pyarrow as pa


class Rename(Step):
    """Gives columns other names; the parts they play follow."""

    name: Literal["rename"] = "rename"
    names: dict[str, str] = knob(help="Old name = new name, one column a line. Several may exchange their names.",
                                 title="Names", lines=True, min_length=1)

    card: ClassVar[StepCard] = StepCard("Rename columns", "Call columns by other names, such as those of another file.",
                                        order=10)

    @field_validator("names")
    @classmethod
    def _new_names_are_names(cls, names: dict[str, str]) -> dict[str, str]:
        new = list(names.values())
        if any(not name.strip() for name in new):
            raise ValueError("a new name is empty")
        if twice := next((name for name in new if new.count(name) > 1), None):
            raise ValueError(f"two columns would be called '{twice}'")
        return names

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns under their new names, each in its place."""
        self.need(before, *self.names)
        kept = [name for name in before if name not in self.names]
        for name in self.names.values():
            if name in kept:
                raise StepTaken("step rename", step=self.card.title, column=name)
        return [self.renamed(name) for name in before]

    def renamed(self, column: str) -> str:
        """Return the new name of a column."""
        return self.names.get(column, column)

    def formerly(self, column: str) -> str:
        """Return the old name of a column."""
        return next((old for old, new in self.names.items() if new == column), column)

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the table with its columns renamed; rows to evaluate on may have the new names already."""
        before = table.column_names
        if setting.evaluation and not set(self.names) <= set(before):
            if setting.asking and not set(self.names) & set(before):
                self.need(before, *self.names)
            return Change(table.rename_columns([name if self.renamed(name) in before else self.renamed(name)
                                                for name in before]))
        return Change(table.rename_columns(self.after(before)))

    def told(self) -> str:
        """Return the new names."""
        return f"rename {listed(f'{old} → {new}' for old, new in self.names.items())}"
