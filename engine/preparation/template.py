"""A new column written from others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import field_validator

from engine.data.compute import pc
from engine.knobs import knob
from engine.preparation import _texts
from engine.preparation.base import Change, Setting, Step, StepCard

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Template(Step):
    """Writes a column from others by a template."""

    name: Literal["template"] = "template"
    column: str = knob("text", min_length=1, title="New column", help="What the column is called; one of that name is "
                       "replaced.")
    template: str = knob(title="Template", lines=True, min_length=1, max_length=20_000, help=(
        "Text with {column} where the value of a column goes, such as: Question: {question} Answer: {answer}. "
        "Write {{ and }} for braces. Empty cells become nothing."))
    skip_empty: bool = knob(False, title="Empty where a value is empty",
                            help="Leave the new cell empty when one of its columns is.")

    card: ClassVar[StepCard] = StepCard("Write a column", "Make a new column of text with {column} placeholders.",
                                        order=70)

    @field_validator("template")
    @classmethod
    def _can_be_read(cls, template: str) -> str:
        list(parts(template))
        return template

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns with the new one at their end, where there was none of its name."""
        self.need(before, *(name for name, is_column in parts(self.template) if is_column))
        return list(before) if self.column in before else [*before, self.column]

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the table with the new column."""
        self.after(table.column_names)
        written: list[pa.Array] = []
        missing = pa.repeat(pa.scalar(False), table.num_rows)
        for name, is_column in parts(self.template):
            if is_column:
                texts = pc.fill_null(_texts.plain(table.column(name)), "")
                missing = pc.or_(missing, pc.equal(pc.utf8_trim_whitespace(texts), ""))
                written.append(texts)
            else:
                written.append(pa.repeat(pa.scalar(name), table.num_rows))
        made = pc.binary_join_element_wise(*written, "") if len(written) > 1 else written[0]
        if self.skip_empty:
            made = pc.if_else(missing, None, made)
        if self.column in table.column_names:
            return Change(table.set_column(table.column_names.index(self.column), self.column, made),
                          f"'{self.column}' was there and is replaced.")
        return Change(table.append_column(self.column, made))

    def told(self) -> str:
        """Return the beginning of the template."""
        short = " ".join(self.template.split())
        return f"write '{self.column}' as {short[:60]}{'…' if len(short) > 60 else ''}"


def parts(template: str) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of a template, and whether each names a column; raises ValueError pointing at the character."""
    at, text = 0, ""
    for found in _PART.finditer(template):
        text += template[at:found.start()]
        at = found.end()
        mark = found.group(0)
        if mark in ("{{", "}}"):
            text += mark[0]
            continue
        if found.group(1) is None:
            raise ValueError(f"the {mark} at character {found.start() + 1} has no partner; a brace of its own is "
                             f"written {mark}{mark}")
        if not found.group(1).strip():
            raise ValueError(f"the braces at character {found.start() + 1} name no column; write {{{{}}}} for braces")
        if text:
            yield text, False
        text = ""
        yield found.group(1), True
    text += template[at:]
    if text:
        yield text, False
