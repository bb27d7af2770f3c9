"""The report of a run's last evaluation: metrics with intervals, slices, charts."""

from __future__ import annotations

from pydantic import ValidationError

from db import runs
from db.errors import NotFound
from db.users import User
from engine.evaluation.report import FILE, Evaluation
from studio.service.runs import NoSuchRunFile, run_file


class NotEvaluated(NotFound):
    """The run has no evaluation to show (yet)."""

    kind = "not_evaluated"
    try_this = "It is written when a run ends with rows to evaluate on: see its page."


def evaluation(user: User, run_id: str) -> Evaluation:
    """Return the report; raises NotFound, NotEvaluated."""
    runs.get(user, run_id)
    try:
        return Evaluation.model_validate_json(run_file(user, run_id, FILE).read_bytes())
    except (NoSuchRunFile, OSError, ValidationError):
        raise NotEvaluated(run_id, noun="evaluation", id=run_id) from None
