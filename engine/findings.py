"""One thing noticed about a dataset: an error forbids training, a warning asks, a note informs."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["error", "warning", "note"]

#: Row numbers listed where a finding is shown.
SHOWN = 8
_ROW = re.compile(r"row [\d,]+(?:, |$)")


class Finding(BaseModel):
    """What was noticed, where (column, rows counted from 1 as a person sees them), and what to do next."""

    model_config = ConfigDict(frozen=True)

    kind: str
    level: Level
    what: str
    where: str = ""
    try_this: str = ""
    rows: list[int] = []
    count: int = 0

    @property
    def place(self) -> str:
        """Where it is, in words: "column text · rows 2, 5, 9 and 12 more"; each row is named once."""
        if len(self.rows) < 2 and self.count < 2:
            rows = "" if not self.rows or _ROW.match(self.where) else f"row {self.rows[0]:,}"
            return " · ".join(filter(None, (self.where, rows)))
        if not self.rows:
            return " · ".join(filter(None, (self.where, f"{self.count:,} times")))
        shown = ", ".join(f"{row:,}" for row in self.rows[:SHOWN])
        rest = max(self.count, len(self.rows)) - len(self.rows[:SHOWN])
        rows = f"rows {shown}" + (f" and {rest:,} more" if rest else "")
        # The place names the first of these rows, and what it says beside that holds for the first alone.
        column = self.where.rpartition("column ")[2] if _ROW.match(self.where) and "column " in self.where else ""
        beside = f"column {column}" if column else "" if _ROW.match(self.where) else self.where
        return " · ".join(filter(None, (beside, rows)))
