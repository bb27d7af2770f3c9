"""The states of a run, and which of them belong together."""

from __future__ import annotations

from typing import Literal

State = Literal["queued", "starting", "running", "stopping", "interrupted", "succeeded", "failed", "cancelled"]
StopMode = Literal["save", "discard"]

#: Every state of a run in the order of its life.
STATES: tuple[State, ...] = ("queued", "starting", "running", "stopping", "interrupted", "succeeded", "failed",
                             "cancelled")
#: No worker holds the run; the next free one may take it.
WAITING: tuple[State, ...] = ("queued", "interrupted")
#: A worker holds the run.
HELD: tuple[State, ...] = ("starting", "running", "stopping")
#: Something will still happen without anybody asking.
ACTIVE: tuple[State, ...] = WAITING + HELD
#: The run is over.
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
#: A person may put the run back into the queue.
RESUMABLE: tuple[State, ...] = ("cancelled", "failed", "interrupted")
