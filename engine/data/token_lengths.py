"""How long rows are in a base model's tokens, uncut: what a maximum length would cut off, told by counting."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from engine.data.errors import Cancelled

if TYPE_CHECKING:
    from engine.tasks.base import Task

#: Rows counted at most, drawn at random from more, and rows turned into tokens between two looks whether to stop.
COUNTED, AT_ONCE = 5_000, 500
SEED = 0
#: No text is as long.
UNCUT = 1 << 30
#: Characters of a token where none were counted, on the safe side: of ASCII (plain English has four), of anything else.
PLAIN, OTHER = 2.5, 0.8


class TokenLengths(BaseModel):
    """Tokens of `counted` rows of `rows`, ascending, with what the task and the tokenizer add to each text."""

    model_config = ConfigDict(frozen=True)

    rows: int
    lengths: list[int]

    @property
    def counted(self) -> int:
        """How many rows were counted."""
        return len(self.lengths)

    @property
    def mean(self) -> float:
        """Tokens of a row on average."""
        return sum(self.lengths) / max(1, self.counted)

    def within(self, share: float) -> int:
        """Return the fewest tokens that this share of the rows fit into."""
        return self.lengths[min(self.counted - 1, max(0, int(np.ceil(share * self.counted)) - 1))]

    def over(self, limit: int) -> float:
        """Return the share of the rows that are longer than `limit` tokens."""
        return 1 - bisect.bisect_right(self.lengths, limit) / self.counted

    @property
    def told(self) -> str:
        """Which rows were counted, to stand in a sentence: "the rows", or how many of them."""
        return "the rows" if self.counted >= self.rows else f"{self.counted:,} rows drawn at random"


def count(table: pa.Table, task: Task, columns: Mapping[str, str], tokenizer: Any,
          progress: Callable[[float], None] | None = None,
          cancelled: Callable[[], bool] | None = None) -> TokenLengths:
    """Return the lengths of a table's rows as training encodes them, but for the cut; raises DataError, Cancelled."""
    labels = task.label_names(table, columns)
    task.prepare_tokenizer(tokenizer, columns)
    places = np.arange(table.num_rows)
    if len(places) > COUNTED:
        places = np.sort(np.random.default_rng(SEED).choice(len(places), COUNTED, replace=False))
    found: list[int] = []
    for first in range(0, len(places), AT_ONCE):
        if cancelled is not None and cancelled():
            raise Cancelled()
        part = table.take(pa.array(places[first:first + AT_ONCE]))
        found += [len(row["input_ids"]) for row in task.encode(part, columns, tokenizer, UNCUT, labels).rows]
        if progress is not None:
            progress(min(1.0, (first + AT_ONCE) / len(places)))
    return TokenLengths(rows=table.num_rows, lengths=sorted(found))


def tokens_a_character(texts: Iterable[str]) -> float:
    """Return the tokens that a character of texts like these comes to at most, as a rule: more for other scripts."""
    plain = every = 0
    for text in texts:
        every += len(text)
        plain += len(text) if text.isascii() else sum(sign < "\x80" for sign in text)
    return (plain / PLAIN + (every - plain) / OTHER) / every if every else 1 / PLAIN
