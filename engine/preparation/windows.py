"""Long texts as several rows, each a window that overlaps the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from engine.data.compute import pc
from engine.knobs import knob
from engine.preparation._words import words
from engine.preparation.base import Change, Setting, Step, StepCard, StepValue, counted

#: Rows a table may grow to.
MOST = 20_000_000


class Windows(Step):
    """Makes several rows of a long text; every other column is the same in each."""

    name: Literal["windows"] = "windows"
    column: str = knob(title="Column", of="column", help="The column of texts.")
    size: int = knob(200, ge=1, le=1_000_000, scale="log2", slider=(8, 4096), title="Window",
                     help="Words or characters in a window.")
    stride: int = knob(150, ge=1, le=1_000_000, scale="log2", slider=(8, 4096), title="Stride",
                       help="How far each window begins after the one before; less than a window: they overlap.")
    unit: Literal["words", "characters"] = knob("words", title="Counted in", help="Whether words or characters count.")

    card: ClassVar[StepCard] = StepCard(
        "Windows over long texts", "Make several rows of a long text, each with its label. Questions with a passage, "
        "and tags, have windows of their own: in the settings of their tasks.", order=90)
    repeats: ClassVar[bool] = True

    @model_validator(mode="after")
    def _leaves_nothing_out(self) -> Windows:
        if self.stride > self.size:
            raise ValueError("the stride is longer than the window, so words between two windows would be lost")
        return self

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns, which stay."""
        self.need(before, self.column)
        return list(before)

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the table with a row for each window."""
        texts = self.texts(table, self.column)
        least = self.size if self.unit == "characters" else 2 * self.size - 1
        long = np.flatnonzero(pc.fill_null(pc.greater(pc.utf8_length(texts), least), False))
        pieces = {int(row): self.cut(texts[int(row)].as_py()) for row in long}
        counts = np.ones(table.num_rows, dtype=np.int64)
        for row, parts in pieces.items():
            counts[row] = len(parts)
        if counts.sum() > MOST:
            raise StepValue(f"step {self.name}", step=self.card.title,
                            problem=f"it would make {int(counts.sum()):,} rows, more than {MOST:,}")
        rows = np.repeat(np.arange(table.num_rows), counts)
        made = table.take(pa.array(rows))
        several = [piece for row in sorted(pieces) for piece in pieces[row]]
        mask = pa.array(np.isin(rows, np.fromiter(pieces, np.int64, len(pieces))))
        new = pc.replace_with_mask(texts.take(pa.array(rows)), mask, pa.array(several, texts.type))
        more = sum(len(parts) > 1 for parts in pieces.values())
        return Change(made.set_column(made.column_names.index(self.column), self.column, new),
                      f"{counted(more, 'text')} became several.", rows)

    def cut(self, text: str) -> list[str]:
        """Return the windows of a text; the last one reaches its end."""
        places = words(text) if self.unit == "words" else [(i, i + 1) for i in range(len(text))]
        if len(places) <= self.size:
            return [text]
        starts = range(0, len(places) - self.size + self.stride, self.stride)
        return [text[places[start][0]:places[min(start + self.size, len(places)) - 1][1]] for start in starts]

    def told(self) -> str:
        """Return the window and its stride."""
        return f"windows of {self.size:,} {self.unit} over '{self.column}', every {self.stride:,}"
