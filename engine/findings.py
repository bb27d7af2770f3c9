"""One thing noticed about a dataset: an error forbids training, a warning asks, a note informs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["error", "warning", "note"]


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
