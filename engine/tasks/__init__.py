"""The machine-learning tasks: one file each, found by looking at this folder."""

from __future__ import annotations

import sys
from functools import cache

from engine.errors import SpecError
from engine.registry import discover
from engine.tasks.base import Task
from engine.tasks.terms import ColumnRole, TaskCard

__all__ = ["ColumnRole", "Task", "TaskCard", "UnknownTask", "every", "get", "playable"]


class UnknownTask(SpecError):
    """There is no task '{name}'."""

    kind = "unknown_task"
    try_this = "Use one of: {known}."


@cache
def every() -> dict[str, type[Task]]:
    """Return all tasks by name, in the order of their cards."""
    found = discover(sys.modules[__name__], Task)
    return dict(sorted(found.items(), key=lambda item: (item[1].card.order, item[0])))


def get(name: str) -> type[Task]:
    """Return the task called `name`; raises UnknownTask."""
    if name not in every():
        raise UnknownTask("task", name=name, known=", ".join(every()))
    return every()[name]


def playable(name: str) -> bool:
    """Tell whether models of the task called `name` can be asked in the playground."""
    return name in every() and bool(every()[name].playground)
