"""Long texts cut to a length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import pyarrow as pa

from engine.data.compute import pc
from engine.knobs import knob
from engine.preparation._words import words
from engine.preparation.base import Change, Setting, Step, StepCard, counted


class Shorten(Step):
    """Cuts texts that are longer than a limit."""

    name: Literal["shorten"] = "shorten"
    column: str = knob(title="Column", of="column", help="The column of texts.")
    limit: int = knob(200, ge=1, le=1_000_000, scale="log2", slider=(8, 4096), title="At most",
                      help="Words or characters that stay.")
    unit: Literal["words", "characters"] = knob("words", title="Counted in",
                                               help="Whether words are cut, or characters.")
    keep: Literal["start", "end", "both"] = knob("start", title="Keep", help=(
        "start: the end is cut. end: the start is cut. both: the middle is cut, with … in its place."))

    card: ClassVar[StepCard] = StepCard("Shorten texts", "Cut long texts to a number of words or characters.", order=80)

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns, which stay."""
        self.need(before, self.column)
        return list(before)

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the table with its long texts cut."""
        texts = self.texts(table, self.column)
        # A text of so many words has at least as many characters, and the blanks between them.
        least = self.limit if self.unit == "characters" else 2 * self.limit - 1
        long = pc.fill_null(pc.greater(pc.utf8_length(texts), least), False)
        before = texts.filter(long).to_pylist()
        after = [self.cut(text) for text in before]
        made = pc.replace_with_mask(texts, long, pa.array(after, texts.type))
        cut = sum(one != other for one, other in zip(before, after, strict=True))
        return Change(table.set_column(table.column_names.index(self.column), self.column, made),
                      f"{counted(cut, 'text')} cut.")

    def cut(self, text: str) -> str:
        """Return a text within the limit."""
        places = [(i, i + 1) for i in range(len(text))] if self.unit == "characters" else words(text)
        if len(places) <= self.limit:
            return text
        if self.keep == "start":
            return text[:places[self.limit - 1][1]]
        if self.keep == "end":
            return text[places[-self.limit][0]:]
        first = (self.limit + 1) // 2
        rest = self.limit - first
        ending = text[places[-rest][0]:] if rest else ""
        return f"{text[:places[first - 1][1]]} … {ending}".rstrip()

    def told(self) -> str:
        """Return the limit."""
        part = {"start": "", "end": ", the end stays", "both": ", start and end stay"}[self.keep]
        return f"cut '{self.column}' to {self.limit:,} {self.unit}{part}"
