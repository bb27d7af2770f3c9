"""The preparation of an adapter's rows, repeated on rows that it is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import preparation
from engine.bulk import roles
from engine.errors import DataError
from engine.preparation import Setting, Step
from engine.preparation.base import StepColumn

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.tasks.base import Task


class NotPrepared(DataError):
    """The adapter's rows were prepared so: {told}. There is no column '{column}' to do the same."""

    kind = "not_prepared"
    try_this = "Add that column, say which column the model is asked with, or have the rows taken as they are."


@dataclass(frozen=True)
class Replay:
    """Steps that are repeated (`taken`), those that only pick rows, and by name of a missing column those about it.

    `called` are columns of the file under the names that the steps know them by: {name to the steps: name in the file}.
    """

    taken: Sequence[Step] = ()
    picking: Sequence[Step] = ()
    absent: Mapping[str, Sequence[Step]] = field(default_factory=dict[str, Sequence[Step]])
    called: Mapping[str, str] = field(default_factory=dict[str, str])

    def prepare(self, table: pa.Table) -> tuple[pa.Table, np.ndarray]:
        """Return rows as the adapter is asked with them, and for each the place (from 0) of the row it was made of.

        Each row is prepared by itself: parts of a file give the same as all of it. Raises DataError.
        """
        rows, table = np.arange(table.num_rows), _called(table, self.called)
        for step in self.taken:
            change = step.change(table, _asking())
            table = change.table
            rows = rows if change.rows is None else rows[change.rows]
        return table, rows

    @property
    def said(self) -> str:
        """Which steps were repeated, which not, and why; "" where there are none."""
        parts = [f"Prepared as the adapter's rows were: {_told(self.taken)}."] if self.taken else []
        if any(step.repeats for step in self.taken):
            parts.append("A long text has a line for each window, counted in the column 'window'.")
        if self.picking:
            parts.append(f"Not repeated, as every row is predicted: {_told(self.picking)}.")
        if self.absent:
            names = ", ".join(f"'{name}'" for name in self.absent)
            steps = [step for several in self.absent.values() for step in several]
            parts.append(f"Not repeated, as there is no column {names}: {_told(steps)}.")
        return " ".join(parts)


def planned(documents: Sequence[Mapping[str, Any]], table: pa.Table, task: type[Task], trained: Mapping[str, str],
            chosen: Mapping[str, str]) -> tuple[Replay, dict[str, str]]:
    """Return how rows such as those of `table` are prepared, and the column of each role after that.

    `trained` are the columns an adapter was trained with, `chosen` those a person named, as they are called before or
    after the steps. Raises NotPrepared where a step that writes a column to ask with cannot be repeated, the errors of
    engine.bulk.roles, and what a step raises.
    """
    if not documents:
        return Replay(), roles.matched(task, table, trained, chosen)
    given = {role: column for role, column in chosen.items() if column in table.column_names}
    made = _named(documents, table, task, trained, given)
    after = made.prepare(table)[0]
    back = {column: name for name, column in made.called.items()}
    wanted = {role: column if column in after.column_names and column not in back else
              preparation.renamed(made.taken, back.get(column, column)) for role, column in chosen.items()}
    return made, roles.matched(task, after, trained, wanted)


def _named(documents: Sequence[Mapping[str, Any]], table: pa.Table, task: type[Task], trained: Mapping[str, str],
           given: Mapping[str, str]) -> Replay:
    """Return the plan in which columns to ask with have the names that the steps know them by.

    A file made to be predicted often has one text, and calls it otherwise than the one that was learned from.
    """
    usual = _walked(documents, table, {})
    after = usual.prepare(table)[0].column_names
    every = [step for step in preparation.parse(list(documents)) if not step.picks]
    sources = {role.name: preparation.formerly(every, trained[role.name]) for role in task.asks
               if role.name in trained and (role.name in given or trained[role.name] not in after)}
    open = set(sources) - set(given)
    for name, several in usual.absent.items():
        for step in several:
            if _writes(step, after) & {trained[role] for role in open}:
                raise NotPrepared("columns", told=step.told(), column=name)
    known = {role: sources.get(role, column) for role, column in trained.items()}
    found = {**(roles.matched(task, table, known, {}) if open else {}), **given}
    called = {sources[role]: column for role, column in found.items()
              if role in sources and sources[role] in usual.absent and column != sources[role]}
    return _walked(documents, table, called) if called else usual


def _walked(documents: Sequence[Mapping[str, Any]], table: pa.Table, called: Mapping[str, str]) -> Replay:
    """Take the steps that can be taken, one after the other, and sort all of them."""
    taken: list[Step] = []
    picking: list[Step] = []
    absent: dict[str, list[Step]] = {}
    table = _called(table, called)
    for step in preparation.parse(list(documents)):
        if step.picks:
            picking.append(step)
            continue
        try:
            table = step.change(table, _asking()).table
            taken.append(step)
        except StepColumn as error:
            absent.setdefault(str(error.facts["column"]), []).append(step)
    return Replay(taken, picking, absent, dict(called))


def _called(table: pa.Table, called: Mapping[str, str]) -> pa.Table:
    for name, column in called.items():
        table = table.append_column(name, table.column(column))
    return table


def _writes(step: Step, columns: Sequence[str]) -> set[str]:
    """Return the columns that a step adds to others, whatever it needs."""
    there = list(columns)
    while True:
        try:
            after = step.after(there)
            return set(after) - set(there) if len(after) > len(there) else set()
        except StepColumn as error:
            there.append(str(error.facts["column"]))


def _asking() -> Setting:
    # No step that is repeated draws at random.
    return Setting(np.random.default_rng(0), evaluation=True, asking=True)


def _told(steps: Sequence[Step]) -> str:
    return "; ".join(step.told() for step in steps)
