"""Which column of a file each part of a question is taken from, and the rows as a model is asked with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.data import columns as guesses
from engine.data import profiles
from engine.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.data.profiles import Profile
    from engine.data.source import Preview
    from engine.tasks.base import Task
    from engine.tasks.terms import ColumnRole


class RoleUnfilled(DataError):
    """No column of the file is known to hold {missing}."""

    kind = "role_unfilled"
    try_this = "Say which column it is: {columns}."


class NotInFile(DataError):
    """The file has no column '{column}'."""

    kind = "column_missing"
    try_this = "Choose one of: {columns}."


class NobodyFills(DataError):
    """'{role}' is nothing that a model of this task is asked with."""

    kind = "role_unknown"
    try_this = "It is asked with: {roles}."


def matched(task: type[Task], data: Preview | pa.Table, trained: Mapping[str, str],
            chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each role that is asked with; raises RoleUnfilled, NotInFile, NobodyFills.

    `chosen` is what a person said and goes first; then the columns a model was `trained` with, by name; then what the
    columns look like. Of a task that can be asked in several ways one is enough.
    """
    found = profiles.profiles(data)
    names = [one.name for one in found]
    made = _checked(task, chosen, names) if chosen else _found(task, data, found, trained)
    missing = task.lacks(made)
    if not missing and not chosen and task.playground != "chat":
        missing = [role.name for role in task.asks if role.name in trained and role.name not in made]
    if missing:
        titles = {role.name: role.title for role in task.asks}
        raise RoleUnfilled("columns", missing=" and ".join(f"'{titles[role]}'" for role in missing),
                           columns=", ".join(names[:40]) or "none is there")
    return made


def _checked(task: type[Task], chosen: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    asks = [role.name for role in task.asks]
    every = {role.name for role in task.roles} | set(asks)
    for role, column in chosen.items():
        if role not in every:
            raise NobodyFills(f"columns.{role[:80]}", role=role[:80], roles=", ".join(asks))
        if role in asks and column not in names:
            raise NotInFile(f"columns.{role}", column=column[:80], columns=", ".join(names[:40]) or "none is there")
    return {role: column for role, column in chosen.items() if role in asks}


def _found(task: type[Task], data: Preview | pa.Table, seen: Sequence[Profile],
           trained: Mapping[str, str]) -> dict[str, str]:
    names = {one.name for one in seen}
    made = {role.name: trained[role.name] for role in task.asks if trained.get(role.name) in names}
    ways = [[role for role in task.asks if role.name in need] for need in task.needs]
    wanted = [role for role in task.asks if not trained or role.name in trained]
    for role in [*wanted, *(role for way in ways for role in way)]:
        if role.name in names and role.name not in made and (role in wanted or task.lacks(made)):
            made[role.name] = role.name
    guessed = guesses.guess(data).columns if task.lacks(made) else {}
    for role in (role for way in ways for role in way):
        if task.lacks(made) and role.name in guessed and guessed[role.name] not in made.values():
            made.setdefault(role.name, guessed[role.name])
    # A file that was made to be predicted often holds nothing but the texts, whatever their column is called.
    for way in ways:
        open = [role for role in way if role.name not in made]
        if len(open) == 1 and task.lacks(made) and (likely := _likeliest(open[0], seen, set(made.values()))):
            made[open[0].name] = likely
    return made


def _likeliest(role: ColumnRole, seen: Sequence[Profile], taken: set[str]) -> str | None:
    if role.name == "messages":
        return None
    kinds = {"image": ("image",), "words": ("list", "text")}.get(role.kind, ("text",))
    fitting = [one for one in seen if one.name not in taken and one.kind in kinds and one.numeric < 0.5]
    best = max(fitting, key=lambda one: (one.kind == kinds[0], one.length), default=None)
    return best.name if best is not None else None


def rows(batch: pa.RecordBatch | pa.Table, task: type[Task], columns: Mapping[str, str]
         ) -> Iterator[dict[str, Any] | None]:
    """Yield each row as a model is asked with it, None for one that asks nothing."""
    kinds = {role.name: role.kind for role in task.asks}
    cells = {role: batch.column(column).to_pylist() for role, column in columns.items()}
    for index in range(batch.num_rows):
        row = {role: made for role, values in cells.items()
               if (made := _value(values[index], role, kinds[role])) is not None}
        yield None if task.lacks(row) else row


def _value(value: Any, role: str, kind: str) -> Any:
    """Return a cell as a role is filled with it, None for one that holds nothing."""
    if value is None or value == []:
        return None
    if isinstance(value, dict) and kind == "image":
        return value.get("bytes") or None
    if isinstance(value, list) and (kind == "words" or role == "messages"):
        return [str(word) for word in value] if kind == "words" else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if text.strip() else None
