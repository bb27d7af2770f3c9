"""Whether columns can play the roles a person chose for them, and whether a task has these roles and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from engine import complaints, tasks
from engine.errors import DataError, SpecError


class NoSuchRole(SpecError):
    """The task {task} has no column role '{role}'."""

    kind = "role_unknown"
    try_this = "Its roles are: {known}."


class NoSuchColumn(DataError):
    """The column '{column}' is not in this dataset."""

    kind = "column_missing"
    try_this = "Pick one of: {columns}."


class RoleMissing(SpecError):
    """No column is chosen for {missing}."""

    kind = "role_missing"
    try_this = ("The task {task} needs a column for {needed}. Choose one on the dataset's page, or with --column "
                "{first}=NAME.")


def check_columns(task: str, columns: Mapping[str, str], known: list[str] | None) -> None:
    """Check a choice of columns: roles the task has, columns the data has, and enough of them.

    Raises NoSuchRole, NoSuchColumn, RoleMissing.
    """
    kind = tasks.get(task)
    roles = [role.name for role in kind.roles]
    for role, column in columns.items():
        if role not in roles:
            raise NoSuchRole(f"columns.{role}", task=task, role=role, known=", ".join(roles))
        if known is not None and column not in known:
            raise NoSuchColumn(f"columns.{role}", column=column, columns=", ".join(known))
    if not any(need <= set(columns) for need in kind.needs):
        nearest = min(kind.needs, key=lambda need: len(need - set(columns)))
        missing = sorted(nearest - set(columns))
        raise RoleMissing("columns", task=task, missing=" and ".join(missing), first=missing[0],
                          needed=", or for ".join(" and ".join(sorted(need)) for need in kind.needs))


def check_task(task: str | None, columns: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Check a choice of task: that it has these roles and options. Raises NoSuchRole, SpecError."""
    if task is None:
        return
    kind = tasks.get(task)
    unknown = [role for role in columns if role not in {known.name for known in kind.roles}]
    if unknown:
        raise NoSuchRole(f"columns.{unknown[0]}", task=task, role=unknown[0],
                         known=", ".join(role.name for role in kind.roles))
    try:
        kind.model_validate({"name": task, **options})
    except ValidationError as error:
        found = complaints.first(error, kind)
        raise SpecError(".".join(["options", *map(str, found.place)]), problem=f"{found.problem}.") from None
