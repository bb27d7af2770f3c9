"""Rows set aside to evaluate on: at random, by label, by group, or the latest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pydantic import model_validator

from engine.data import cells
from engine.data import split as shares
from engine.data.compute import pc
from engine.knobs import knob
from engine.preparation import _texts
from engine.preparation.base import Change, Setting, Step, StepCard, StepValue, counted

#: Other ways to write a day than ISO 8601 that leave no doubt.
FORMATS = ("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%Y%m%d")


class Split(Step):
    """Sets rows aside to evaluate on; those never are learned from."""

    name: Literal["split"] = "split"
    way: Literal["random", "stratified", "grouped", "time"] = knob("random", title="How", help=(
        "random: any rows. stratified: each value of the column keeps its share. grouped: rows with the same value of "
        "the column stay together. time: the latest rows by the column."))
    share: float = knob(0.1, gt=0, lt=0.9, step=0.05, slider=(0.05, 0.5), title="Share kept for evaluation",
                        help="Part of the rows that is set aside.")
    column: str = knob("", title="Column", of="column", shown_if={"way": ["stratified", "grouped", "time"]},
                       help="The label, the group or the time.")

    card: ClassVar[StepCard] = StepCard("Split", "Set rows aside to evaluate on: at random, by label, by group or by "
                                        "time. A file to evaluate on takes the place of this.", order=100)
    picks: ClassVar[bool] = True
    splits: ClassVar[bool] = True

    @model_validator(mode="after")
    def _has_its_column(self) -> Split:
        if self.way != "random" and not self.column:
            raise ValueError(f"a {self.way} split needs a column")
        return self

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns, which stay."""
        if self.way != "random":
            self.need(before, self.column)
        return list(before)

    def aside(self, table: pa.Table, setting: Setting) -> tuple[np.ndarray, str]:
        """Return which rows are kept to evaluate on; one row at least on both sides where there are two."""
        self.after(table.column_names)
        if table.num_rows < 2:
            return np.zeros(table.num_rows, dtype=bool), "One row cannot be split."
        wanted = min(table.num_rows - 1, max(1, round(table.num_rows * self.share)))
        if self.way == "grouped":
            held, note = self._grouped(table, wanted, setting.draw)
        elif self.way == "time":
            held, note = self._latest(table, wanted)
        else:
            held, note = self._drawn(table, setting.draw), ""
        return held, f"{counted(int(held.sum()), 'row')} set aside to evaluate on{note}."

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the rows that are not set aside."""
        held, note = self.aside(table, setting)
        rows = np.flatnonzero(~held)
        return Change(table.take(pa.array(rows)), note, rows)

    def _drawn(self, table: pa.Table, draw: np.random.Generator) -> np.ndarray:
        numbered = pa.table({"row": np.arange(table.num_rows)})
        stratify = None
        if self.way == "stratified":
            column = table.column(self.column)
            if not cells.is_text(column):
                raise self._impossible("holds no plain values to keep the shares of")
            numbered, stratify = numbered.append_column("value", cells.label_strings(column)), "value"
        held = shares.split(numbered, self.share, int(draw.integers(2**31)), stratify)[1]
        made = np.zeros(table.num_rows, dtype=bool)
        made[np.asarray(held.column("row"))] = True
        return made

    def _grouped(self, table: pa.Table, wanted: int, draw: np.random.Generator) -> tuple[np.ndarray, str]:
        """Return whole groups in random order, up to about the rows `wanted`; an empty cell is a group of its own."""
        keys = _texts.plain(table.column(self.column))
        codes = np.asarray(pc.fill_null(keys.dictionary_encode().indices, -1)).astype(np.int64)
        alone = codes == -1
        codes[alone] = codes.max(initial=-1) + 1 + np.arange(int(alone.sum()))
        _, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
        if len(sizes) < 2:
            raise self._impossible("has the same value in every row, so there are no groups to tell apart")
        order = draw.permutation(len(sizes))[:len(sizes) - 1]
        totals = np.cumsum(sizes[order])
        # As near to the share as whole groups allow, one group at least.
        count = 1 + int(np.argmin(np.abs(totals - wanted)))
        held = np.isin(codes, order[:count])
        return held, f", {counted(count, 'group')} of {len(sizes):,}"

    def _latest(self, table: pa.Table, wanted: int) -> tuple[np.ndarray, str]:
        """Return the latest rows; rows of the same moment stay together, rows without one are learned from."""
        moments = self._moments(table.column(self.column))
        known = ~np.isnan(moments)
        if len(np.unique(moments[known])) < 2:
            raise self._impossible("has the same time in every row")
        ordered = np.sort(moments[known])
        first = ordered[max(len(ordered) - wanted, 0)]
        if first == ordered[0]:
            first = ordered[ordered > ordered[0]][0]
        held = known & (moments >= first)
        lost = int((~known).sum())
        return held, f", the latest by '{self.column}'" + (
            f"; {counted(lost, 'row')} without a time {'is' if lost == 1 else 'are'} learned from" if lost else "")

    def _moments(self, column: pa.ChunkedArray) -> np.ndarray:
        """Return when each row was, as a number; not a number where the cell is empty. Raises StepValue."""
        if pt.is_temporal(column.type):
            whole = cells.whole(column)
            kind = pa.int32() if pa.types.is_date32(column.type) or pa.types.is_time32(column.type) else pa.int64()
            return np.asarray(pc.cast(pc.cast(whole, kind), pa.float64()).to_numpy(zero_copy_only=False))
        if not cells.is_text(column):
            raise self._impossible("holds no times")
        texts = pc.utf8_trim_whitespace(cells.strings(column))
        empty = pc.fill_null(pc.equal(texts, ""), True)
        numbers = cells.numbers(column)
        found = numbers if _all_known(numbers, empty) else _dates(texts, empty)
        if found is None:
            raise self._impossible(_odd(texts.to_pylist()))
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.float64)

    def _impossible(self, problem: str) -> StepValue:
        return StepValue(f"step {self.name}", step=self.card.title, problem=f"the column '{self.column}' {problem}")

    def told(self) -> str:
        """Return how rows are set aside."""
        by = "" if self.way == "random" else f" by '{self.column}'"
        return f"{self.way} split{by}, {self.share:.0%} to evaluate on"


def _all_known(values: pa.Array, empty: pa.Array) -> bool:
    return bool(pc.all(pc.or_(pc.is_valid(values), empty)).as_py())


def _dates(texts: pa.Array, empty: pa.Array) -> pa.Array | None:
    """Return dates as numbers, nulls where there is none; None when some are written in another way."""
    filled = pc.if_else(empty, None, texts)
    for read in (_iso, *(_in(form) for form in FORMATS)):
        found = read(filled)
        if found is not None and _all_known(found, empty):
            return pc.cast(pc.cast(found, pa.int64()), pa.float64())
    return None


def _iso(texts: pa.Array) -> pa.Array | None:
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return pc.cast(texts, kind)
        except pa.ArrowInvalid:
            continue
    return None


def _in(form: str) -> Callable[[pa.Array], pa.Array]:
    return lambda texts: pc.strptime(texts, format=form, unit="us", error_is_null=True)


def _odd(texts: Sequence[str | None]) -> str:
    """Return why texts cannot be compared as times."""
    for row, value in enumerate(texts, 1):
        if value and _unknown(value):
            return (f"has no time that can be compared in row {row:,}: '{value[:40]}' is neither a number nor a date "
                    "such as 2024-05-31")
    return "holds times that are written in different ways"


def _unknown(value: str) -> bool:
    """Tell whether a text alone is neither a number nor a date."""
    one = pa.array([value])
    numbers = cells.numbers(pa.chunked_array([one]))
    return not numbers[0].is_valid and _dates(one, pa.array([False])) is None
