"""The run's diary: every event as one line of `events.jsonl`, on disk before anybody hears of it."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.events import BrokenLine, Event, from_line, to_line


class Journal:
    """Appends events to `path`, numbered from 0 or on from the last whole line that an earlier attempt left there."""

    def __init__(self, path: Path, on_event: Callable[[Event], None] | None = None) -> None:
        """Open `path` for appending; a torn last line, left by a killed process, is cut off."""
        self.on_event = on_event
        self.next_seq = _repair(path)
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def write(self, event: Event) -> Event:
        """Number, date, write and flush `event`; then hand it to the listener. Returns the numbered event."""
        event = dataclasses.replace(_finite(event), seq=self.next_seq, at=time.time())
        self._file.write(to_line(event))
        self._file.flush()
        self.next_seq += 1
        if self.on_event is not None:
            self.on_event(event)
        return event

    def close(self) -> None:
        """Force the file to disk and close it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class Silent(Journal):
    """Writes nothing: what every process of a distributed run but the first uses."""

    def __init__(self) -> None:
        """Start counting from 0."""
        self.on_event = None
        self.next_seq = 0

    def write(self, event: Event) -> Event:
        """Return the event numbered, and forget it."""
        self.next_seq += 1
        return dataclasses.replace(event, seq=self.next_seq - 1, at=time.time())

    def close(self) -> None:
        """Do nothing."""


def _repair(path: Path) -> int:
    """Cut everything after the last whole line of the journal; return the next number."""
    if not path.exists():
        return 0
    good, following = 0, 0
    with path.open("rb") as file:
        for line in file:
            try:
                event = from_line(line.decode("utf-8"))
            except (BrokenLine, UnicodeDecodeError):
                break
            if not line.endswith(b"\n"):
                break
            good += len(line)
            following = event.seq + 1
    os.truncate(path, good)
    return following


def _finite(event: Event) -> Event:
    """Drop the metrics that are not finite numbers, and make them None elsewhere: JSON has no word for them."""
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(event):
        value = getattr(event, item.name)
        if item.name == "metrics":
            changes[item.name] = {name: number for name, number in value.items() if math.isfinite(number)}
        elif isinstance(value, dict):
            changes[item.name] = finite(value)
    return dataclasses.replace(event, **changes)


def finite(value: Any) -> Any:
    """Return `value` with every number JSON cannot hold replaced by None, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
