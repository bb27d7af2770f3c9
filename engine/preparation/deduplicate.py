"""Each row once: without those that repeat an earlier one, exactly or nearly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from engine.data import near
from engine.data.compute import pc
from engine.knobs import knob
from engine.preparation import _texts
from engine.preparation.base import Change, Setting, Step, StepCard, counted, listed

#: Pairs that are named in the report.
NAMED = 50


class Deduplicate(Step):
    """Drops rows that repeat an earlier row; the first of each stays."""

    name: Literal["deduplicate"] = "deduplicate"
    columns: list[str] = knob([], title="Columns", of="columns",
                              help="What must be alike for a row to count as repeated; none chosen: all columns.")
    way: Literal["exact", "near"] = knob("exact", title="How alike", help=(
        "exact: the same text. near: most of the text is the same, case, punctuation and blanks aside."))
    loose: bool = knob(True, title="Overlook case and blanks", shown_if={"way": "exact"},
                       help="Count 'Hello ' and 'hello' as the same.")
    threshold: float = knob(0.8, ge=0.5, le=1, step=0.01, slider=(0.5, 1), shown_if={"way": "near"}, title="Likeness",
                            help="Share of short pieces of text that two rows must have in common (Jaccard).")
    leaks: bool = knob(False, title="Also repeats of rows to evaluate on", help=(
        "Drop rows to learn from that are like one to evaluate on, where those come from a file or from an earlier "
        "split."))

    card: ClassVar[StepCard] = StepCard("Remove duplicates", "Keep the first of rows that are the same, or nearly so.",
                                        order=40)
    evaluation: ClassVar[bool] = False
    picks: ClassVar[bool] = True

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns, which stay."""
        self.need(before, *self.columns)
        return list(before)

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the first row of each kind; the pairs say which row was like which."""
        self.after(table.column_names)
        names = list(self.columns or table.column_names)
        beside = setting.beside if self.leaks else None
        whole = table.select(names)
        if beside is not None:
            self.need(beside.column_names, *names)
            # Rows to evaluate on stand first: what repeats them goes.
            texts = [_texts.keys(part.select(names), names, loose=self.loose or self.way == "near")
                     for part in (beside, whole)]
            keys, given = pa.concat_arrays([pc.cast(part, pa.large_string()) for part in texts]), beside.num_rows
        else:
            keys, given = _texts.keys(whole, names, loose=self.loose or self.way == "near"), 0
        first = self._exact(keys, given) if self.way == "exact" else self._near(keys, given)
        rows = np.setdiff1d(np.arange(table.num_rows), np.fromiter(first, dtype=np.int64, count=len(first)))
        return Change(table.take(pa.array(rows)), self._note(first, given), rows, _named(first))

    def _exact(self, keys: pa.Array, given: int) -> dict[int, tuple[int, float]]:
        """Return for each repeated row (from 0) the row it repeats, negative for one to evaluate on, and 1."""
        codes = np.asarray(keys.dictionary_encode().indices)
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        original = first[inverse]
        later = np.flatnonzero(original != np.arange(len(codes)))
        return {int(row) - given: (int(original[row]) - given, 1.0) for row in later if row >= given}

    def _near(self, keys: pa.Array, given: int) -> dict[int, tuple[int, float]]:
        """Return for each row that is nearly repeated the first of its group, and how alike the closest pair is."""
        found = near.pairs(keys, self.threshold)
        closest: dict[int, float] = {}
        for pair in found:
            closest[pair.second] = max(pair.alike, closest.get(pair.second, 0.0))
        return {row - given: (first - given, round(closest.get(row, self.threshold), 3))
                for row, first in near.groups(found).items() if row >= given}

    def _note(self, first: dict[int, tuple[int, float]], given: int) -> str:
        if not first:
            return "No row repeats another."
        leaks = sum(same < 0 for same, _ in first.values()) if given else 0
        named = ", ".join(f"{row + 1:,} like {_place(same)}" for row, (same, _) in list(first.items())[:3])
        more = ", …" if len(first) > 3 else ""
        about = f" {counted(leaks, 'row')} repeated one to evaluate on." if leaks else ""
        return f"{counted(len(first), 'row')} left out (row {named}{more}).{about}"

    def told(self) -> str:
        """Return what is compared, and how."""
        what = listed(self.columns) if self.columns else "all columns"
        how = f"at least {self.threshold:g} alike" if self.way == "near" else "the same"
        return f"remove duplicates: {what} {how}"


def _place(same: int) -> str:
    return f"row {same + 1:,}" if same >= 0 else "a row to evaluate on"


def _named(first: dict[int, tuple[int, float]]) -> list[dict[str, Any]]:
    """Return the first pairs as JSON values, rows from 1; `same_as` is None for a row to evaluate on."""
    return [{"row": row + 1, "same_as": same + 1 if same >= 0 else None, "alike": alike}
            for row, (same, alike) in list(first.items())[:NAMED]]
