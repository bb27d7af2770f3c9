"""Likely label errors: rows that runs on a dataset were wrong about although they were sure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from db import datasets, runs
from db.tables import Dataset, Run
from db.users import User
from engine.errors import StudioError
from engine.evaluation import report
from studio.service.evaluations import evaluation

#: Runs that are looked at, the newest first.
RUNS = 5


@dataclass(frozen=True)
class Suspect:
    """A row (counted from 1) whose given answer a run found unlikely, what it would say instead, and how many did."""

    row: int
    run_id: str
    run_name: str
    expected: Any
    predicted: Any
    loss: float
    confidence: float | None
    runs: int = 1


def suspects(user: User, id: str) -> list[Suspect]:
    """Return rows that the newest runs evaluated on this dataset got wrong: of most runs first, then by loss.

    A row that several runs name stands once, with the newest. Raises NotFound.
    """
    row = datasets.get(user, id)
    found: dict[int, Suspect] = {}
    for run in _runs(user, row):
        # Several rows of an evaluation may be made of one of the file; the one with the highest loss stands first.
        worst = {int(one.number): one for one in reversed(_of(user, run)) if one.number}
        for number, one in worst.items():
            if number in found:
                found[number] = replace(found[number], runs=found[number].runs + 1)
            else:
                found[number] = Suspect(number, run.id, run.name, one.expected, one.predicted, float(one.loss or 0.0),
                                        one.confidence)
    return sorted(found.values(), key=lambda one: (-one.runs, -one.loss))


def evaluated_on(run: Run) -> str | None:
    """Return the id of the dataset whose rows a run was evaluated on; None when it was deleted since."""
    own = not (run.spec.get("data") or {}).get("eval")
    return run.eval_dataset_id or (run.dataset_id if own else None)


def _runs(user: User, row: Dataset) -> list[Run]:
    """Return the newest runs that were evaluated on the rows of a dataset."""
    done = runs.find(user, datasets=[row.eval_of_id or row.id], states=["succeeded", "cancelled"], limit=200)
    return [run for run in done if evaluated_on(run) == row.id][:RUNS]


def _of(user: User, run: Run) -> list[report.Suspect]:
    try:
        return evaluation(user, run.id).suspects
    except StudioError:
        return []
