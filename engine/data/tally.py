"""What statistics add up, block by block: eight bytes a row, whatever its texts weigh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.data import cells
from engine.data.compute import pc

if TYPE_CHECKING:
    from engine.tasks.base import Task

#: Characters tokenised of one row at most.
LONGEST_TEXT = 200_000
#: Texts tokenised between two looks whether to stop.
TOKENISED_AT_ONCE = 1_000


@dataclass
class Tally:
    """Numbers of rows so far, one array a block; texts are remembered as 64-bit hashes, which differ where texts do.

    (Of a million different texts, two have the same hash with a chance of one in forty million.)
    """

    task: Task
    columns: Mapping[str, str]
    inputs: Sequence[str]
    answers: Sequence[str]
    tokenizer: Any = None
    #: Places of the rows whose tokens are counted, ascending; None for all.
    sample: np.ndarray | None = None
    empty: dict[str, int] = field(default_factory=dict)
    _parts: dict[str, list[np.ndarray]] = field(default_factory=dict)
    rows: int = 0

    def add(self, start: int, block: pa.Table, step: Callable[[], None]) -> None:
        """Add the rows from place `start` on; `step` may raise to stop."""
        for name in block.column_names:
            self.empty[name] = self.empty.get(name, 0) + int(pc.sum(_empty(block.column(name))).as_py() or 0)
        step()
        self._keep("keys", hashes(key_of(block, self.inputs)))
        if self.answers:
            self._keep("answers", hashes(key_of(block, self.answers)))
        step()
        names = list(self.columns.values())
        if not any(cells.is_image(block.column(name)) for name in names):
            self._keep("characters", _characters(block, names))
        talks = self.columns.get("messages")
        if talks is not None and cells.is_messages(block.column(talks)):
            counts = pc.list_value_length(cells.whole(block.column(talks)))
            self._keep("messages", np.asarray(pc.fill_null(counts, 0)))
        if self.tokenizer is not None:
            self._count_tokens(start, block, step)
        self.rows = start + block.num_rows

    def found(self, name: str) -> np.ndarray | None:
        """Return the numbers of the rows so far: keys, answers, characters, messages or tokens."""
        parts = self._parts.get(name)
        return None if parts is None else np.concatenate(parts)

    def _count_tokens(self, start: int, block: pa.Table, step: Callable[[], None]) -> None:
        if self.sample is not None:
            low, high = np.searchsorted(self.sample, (start, start + block.num_rows))
            block = block.select(list(dict.fromkeys(self.columns.values()))).take(
                pa.array(self.sample[low:high] - start))
        lengths: list[int] = []
        texts = [text[:LONGEST_TEXT] for text in self.task.texts(block, self.columns)]
        for first in range(0, len(texts), TOKENISED_AT_ONCE):
            lengths += _lengths(self.tokenizer, texts[first:first + TOKENISED_AT_ONCE])
            step()
        self._keep("tokens", np.array(lengths, dtype=np.int64))

    def _keep(self, name: str, numbers: np.ndarray) -> None:
        self._parts.setdefault(name, []).append(numbers)


def hashes(keys: pa.Array) -> np.ndarray:
    """Return a 64-bit hash of each text, the same within one process only."""
    return np.fromiter(map(hash, keys.to_pylist()), np.int64, len(keys))


def key_of(table: pa.Table, names: Sequence[str]) -> pa.Array:
    """Return one text a row that is equal for equal rows, case and outer blanks aside."""
    parts = [pc.fill_null(_flat(table.column(name)), "") for name in names if name in table.column_names]
    if not parts:
        return pa.array([""] * table.num_rows, pa.string())
    joined = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "\x1f")
    return pc.utf8_lower(pc.utf8_trim_whitespace(joined))


def _flat(column: pa.ChunkedArray) -> pa.Array:
    if cells.is_image(column):
        return cells.image_keys(column)
    if not cells.is_messages(column):
        return cells.strings(column)
    array = cells.whole(column)
    roles, texts = cells.message_field(array, "role"), cells.message_field(array, "content")
    return cells.joined(array, pc.binary_join_element_wise(pc.fill_null(roles, ""), pc.fill_null(texts, ""), ": "))


def _empty(column: pa.ChunkedArray) -> pa.Array:
    if cells.is_image(column):
        return pc.is_null(cells.image_names(column))
    if cells.is_text(column):
        return cells.blank(cells.strings(column))
    return pc.equal(pc.fill_null(pc.list_value_length(cells.whole(column)), 0), 0) \
        if cells.is_messages(column) or cells.is_list(column) else pc.is_null(cells.whole(column))


def _characters(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Return the characters of each row over these columns."""
    total = np.zeros(table.num_rows, dtype=np.int64)
    for name in dict.fromkeys(names):
        total += np.asarray(pc.fill_null(pc.utf8_length(cells.strings(table.column(name))), 0))
    return total


def _lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    if hasattr(tokenizer, "encode_batch"):
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    return [len(ids) for ids in tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]]
