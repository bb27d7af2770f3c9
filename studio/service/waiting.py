"""Waiting for a row that a worker changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

Row = TypeVar("Row")

#: Pauses between looks at a row: short at first, since much of what is waited for takes well under a second.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5


def settled(read: Callable[[], Row], states: Collection[str], seconds: float,
            seen: Callable[[Row], Any] | None = None) -> Row:
    """Return the row once its state is one of `states`, or as it is after `seconds`; `seen` is told every look."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        row = read()
        if seen is not None:
            seen(row)
        left = deadline - time.monotonic()
        if getattr(row, "state") in states or left <= 0:  # noqa: B009 - rows of several tables share the name only
            return row
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)
