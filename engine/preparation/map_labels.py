"""Labels under other names; several old ones may become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from engine.data import cells
from engine.data.compute import pc
from engine.knobs import knob
from engine.preparation.base import Change, Setting, Step, StepCard, StepValue, counted, listed


class MapLabels(Step):
    """Replaces values of a column by others; two that become the same are merged."""

    name: Literal["map_labels"] = "map_labels"
    column: str = knob(title="Column", of="column", help="The column that holds the labels.")
    labels: dict[str, str] = knob(title="Labels", lines=True, min_length=1, help=(
        "Old label = new label, one a line. Give several the same new label to merge them; an empty new label leaves "
        "out their rows."))
    others: Literal["keep", "drop"] = knob("keep", title="All other labels",
                                           help="Whether rows whose label is not named here stay.")

    card: ClassVar[StepCard] = StepCard("Rename labels", "Give labels other names, merge several into one, or leave "
                                        "some out.", order=50)

    def after(self, before: Sequence[str]) -> list[str]:
        """Return the columns, which stay."""
        self.need(before, self.column)
        return list(before)

    def change(self, table: pa.Table, setting: Setting) -> Change:
        """Return the table with the labels replaced, without the rows whose label is left out."""
        self.after(table.column_names)
        labels = {old: new for old, new in self.labels.items() if new} if setting.asking else self.labels
        made, seen = replaced(table.column(self.column), labels, self.card.title)
        kept = np.ones(len(made), dtype=bool) if setting.asking else _kept(
            made, table.column(self.column), self.labels if self.others == "drop" else None)
        new = table.set_column(table.column_names.index(self.column), self.column, made)
        rows = np.flatnonzero(kept)
        unknown = [label for label in self.labels if label not in seen]
        note = f"No row has {listed(unknown)}. " if unknown else ""
        gone = table.num_rows - len(rows)
        note += f"{counted(gone, 'row')} left out." if gone else ""
        return Change(new.take(pa.array(rows)) if gone else new, note.strip(), rows if gone else None)

    def told(self) -> str:
        """Return the new labels."""
        return f"in '{self.column}' {listed(f'{old} → {new}' for old, new in self.labels.items())}"


def replaced(column: pa.ChunkedArray, labels: Mapping[str, str], step: str) -> tuple[pa.Array, set[str]]:
    """Return a column with its labels replaced, as texts or lists of texts, and the old labels that occur.

    Raises StepValue for a column that holds no labels.
    """
    if cells.is_list(column):
        lists = cells.whole(column)
        items, seen = _exchanged(pc.cast(pc.list_flatten(lists), pa.string()), labels)
        offsets = np.concatenate([[0], np.cumsum(np.asarray(pc.fill_null(pc.list_value_length(lists), 0)))])
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items, mask=pc.is_null(lists)), seen
    if not cells.is_text(column):
        raise StepValue(f"step {step}", step=step, problem="the column holds no labels but conversations or images")
    return _exchanged(cells.label_strings(column), labels)


def _exchanged(values: pa.Array, labels: Mapping[str, str]) -> tuple[pa.Array, set[str]]:
    encoded = values.dictionary_encode()
    old = encoded.dictionary.to_pylist()
    new = pa.array([labels.get(label, label) for label in old], pa.string())
    return (new.take(encoded.indices) if old else values), set(old)


def _kept(made: pa.Array, column: pa.ChunkedArray, only: Mapping[str, str] | None) -> np.ndarray:
    """Return which rows stay: those without an emptied label and, where `only` is given, with one named in it."""
    if cells.is_list(column):
        return np.ones(len(made), dtype=bool)
    kept = np.asarray(pc.fill_null(pc.not_equal(made, ""), True))
    if only is not None:
        kept &= np.asarray(pc.fill_null(pc.is_in(cells.label_strings(column), value_set=pa.array(list(only))), False))
    return kept
