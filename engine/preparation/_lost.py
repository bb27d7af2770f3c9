"""Columns that play a part and that a step takes away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.errors import DataError
from engine.preparation.base import Step


class ColumnLost(DataError):
    """Step {number}, {told}, takes away the column '{column}' ({role}){now}."""

    kind = "step_took_column"
    try_this = ("Take that step out, or confirm other columns on the dataset's page, or give --column {role}=NAME. "
                "There are: {columns}.")


def lost(steps: Sequence[Step], known: Sequence[str], columns: Mapping[str, str]) -> list[ColumnLost]:
    """Return an error for each role whose column was `known` and is gone after the steps; raises StepColumn, StepTaken.

    `columns` maps role to column, as it is called after the steps.
    """
    names = list(known)
    took: dict[str, tuple[int, Step, str]] = {}
    for number, step in enumerate(steps, 1):
        after = step.after(names)
        for column in names:
            if column not in after:
                now = step.renamed(column)
                took[column] = number, step, now if now in after else ""
        names = after
    found: list[ColumnLost] = []
    for role, column in columns.items():
        if column not in names and column in took:
            number, step, now = took[column]
            found.append(ColumnLost(f"step {number}, column {column}", number=number, told=step.told(), role=role,
                                    column=column, columns=", ".join(names[:20]) or "none",
                                    now=f"; it is called '{now}' now" if now else ""))
    return found
