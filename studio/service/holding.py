"""How a base model is held while it is asked: in few bits, as it was when its adapters learned, or in full."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from db.blobs import Blobs
from db.tables import Adapter
from db.users import User
from engine import adapter as trained
from engine.bulk import holding
from engine.errors import StudioError
from engine.findings import Finding
from studio.service.fleet import quantization_obstacle, quantizer_there

#: How the base model is held: auto is as the adapters learned on it.
Holding = Literal["auto", "none", "int8", "nf4"]


def held(user: User, chosen: Sequence[Adapter]) -> tuple[str | None, list[Finding]]:
    """Return how the base model will be held where nothing else is asked for, and what is to be said of that.

    Adapters that cannot be read count for nothing here: loading them says why.
    """
    learned: set[str | None] = set()
    for row in chosen:
        with suppress(StudioError, OSError, ValueError):
            learned |= _learned([row])
    if len(learned) > 1:
        ways = " and ".join(sorted(way or "full precision" for way in learned))
        return None, [Finding(
            kind="bases_held_differently", level="warning", where="quantization",
            what=f"These adapters learned on a base model held in different ways ({ways}); asked together, it is taken "
                 "in full precision, so some answers may differ a little from those of the run.",
            try_this="Ask adapters that learned alike, to see each as its run had it.")]
    return holding.held(next(iter(learned), None), possible=quantizer_there(user))


def wanted(user: User, chosen: Sequence[Adapter], asked: Holding) -> str | None:
    """Return how the base is to be held; raises NoQuantizer for what a person asks for and no worker can do.

    What adapters learned on is returned as it is: a worker that cannot do that says so.
    """
    if asked == "auto":
        learned = _learned(chosen)
        return next(iter(learned)) if len(learned) == 1 else None
    if missing := quantization_obstacle(user, asked if asked != "none" else None):
        raise missing
    return asked if asked != "none" else None


def _learned(chosen: Sequence[Adapter]) -> set[str | None]:
    return {trained.read(Blobs().local(row.key)).quantization for row in chosen}
