"""What a run's model wrote to the same prompts at each evaluation."""

from __future__ import annotations

from typing import Any

from db import runs
from db.users import User
from engine.generation import samples as kept
from studio.service.runs import NoSuchRunFile, run_file


def samples(user: User, run_id: str) -> list[dict[str, Any]]:
    """Return the samples of a run, by step: {step, epoch, samples: [{row, input, expected, written}]}; raises NotFound.

    Empty while there are none, and for tasks whose models write no text.
    """
    runs.get(user, run_id)
    try:
        return kept.read(run_file(user, run_id, kept.NAME))
    except NoSuchRunFile:
        return []
