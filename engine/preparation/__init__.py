"""Preparation: what is done to the rows of a dataset before a run, one file a step, found by looking at this folder.

Steps stand in the RunSpec (`data.steps`), so that a run can be repeated anywhere: the same rows, the same seed and the
same steps give the same rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from engine import complaints
from engine.complaints import Complaint
from engine.data.split import numbered
from engine.errors import DataError, StudioError, UnknownKey
from engine.preparation._lost import ColumnLost, lost
from engine.preparation.base import Change, Setting, Step, StepCard, StepColumn, StepInvalid, counted
from engine.registry import discover

__all__ = ["Change", "ColumnLost", "NothingLeft", "Prepared", "Setting", "Step", "StepCard", "StepInvalid", "Taken",
           "UnknownStep", "apply", "columns_after", "every", "for_evaluation", "formerly", "get", "lost", "parse",
           "renamed", "survives", "walk"]

#: Steps a dataset may have.
MOST = 50

#: Sets rows aside, given the rows and the steps that are still to come.
Divide = Callable[[pa.Table, Sequence[Step]], tuple[pa.Table, pa.Table]]


class UnknownStep(StepInvalid):
    """There is no step '{name}'."""

    kind = "unknown_step"
    try_this = "Use one of: {known}."


class NothingLeft(DataError):
    """Step {number}, '{step}', leaves none of the {rows} rows {purpose}."""

    kind = "steps_left_nothing"
    try_this = "Loosen that step, or take it out."


@dataclass(frozen=True)
class Taken:
    """One step as it was taken: the rows before and after, those to evaluate on beside, and what is to be said.

    `eval_before` and `eval_after` are None while no rows to evaluate on are set aside. `rows` and `eval_rows` tell for
    each row after the step the place (from 0) of the row it was made of: in the table that was given, or among the rows
    to evaluate on that were given. `learned` is what the step found in the rows to learn from.
    """

    number: int
    step: Step
    before: pa.Table
    change: Change
    eval_before: pa.Table | None
    eval_after: pa.Table | None
    rows: np.ndarray
    eval_rows: np.ndarray | None
    learned: dict[str, Any]

    def report(self) -> dict[str, Any]:
        """Return what happened as JSON values."""
        sizes = [None if part is None else part.num_rows for part in (self.eval_before, self.eval_after)]
        return {"step": self.step.name, "title": self.step.card.title, "told": self.step.told(),
                "rows_before": self.before.num_rows, "rows_after": self.change.table.num_rows,
                "eval_before": sizes[0], "eval_after": sizes[1], "note": self.change.note, "pairs": self.change.pairs}


@dataclass(frozen=True)
class Prepared:
    """Rows to learn from and (where there are any) to evaluate on, and what each step did.

    `rows` and `eval_rows` are the places of the rows they were made of, as `Taken` has them.
    """

    train: pa.Table
    eval: pa.Table | None
    rows: np.ndarray
    eval_rows: np.ndarray | None
    report: list[dict[str, Any]] = field(default_factory=list)
    _learned: list[tuple[Step, int, dict[str, Any]]] = field(default_factory=list)

    def others(self, table: pa.Table) -> tuple[pa.Table, list[str]]:
        """Return other rows changed as those to evaluate on were, and a sentence on each step that does not fit."""
        said: list[str] = []
        for number, (step, seed, learned) in enumerate(self._learned, 1):
            if not step.evaluation or step.splits:
                continue
            try:
                table = step.change(table, _alike(seed, number - 1, learned)).table
            except StudioError as error:
                said.append(f"Step {number}, {step.told()}, is left out: {error.what[0].lower()}{error.what[1:]}")
        return table, said

    def sentences(self) -> Iterator[str]:
        """Yield one sentence a step, for a log."""
        for number, one in enumerate(self.report, 1):
            rows = f"{one['rows_before']:,} → {counted(one['rows_after'], 'row')}"
            held = "" if one["eval_after"] is None or one["eval_before"] == one["eval_after"] else \
                f", {one['eval_after']:,} to evaluate on"
            yield f"Step {number}, {one['told']}: {rows}{held}. {one['note']}".strip()


@cache
def every() -> dict[str, type[Step]]:
    """Return all steps by name, in the order of their cards."""
    found = discover(sys.modules[__name__], Step)
    return dict(sorted(found.items(), key=lambda item: (item[1].card.order, item[0])))


def get(name: str, where: str = "step") -> type[Step]:
    """Return the step called `name`; raises UnknownStep."""
    if name not in every():
        raise UnknownStep(where, name=str(name)[:80], known=", ".join(every()))
    return every()[name]


def parse(documents: Any, where: str = "data.steps") -> list[Step]:
    """Return the steps that a list of mappings describes.

    Raises StepInvalid (or UnknownStep, UnknownKey) naming the place, also for a split that comes too late.
    """
    if not isinstance(documents, Sequence) or isinstance(documents, str | bytes):
        raise StepInvalid(where, problem="the steps are not a list")
    if len(documents) > MOST:
        raise StepInvalid(where, problem=f"there are {len(documents)} steps; at most {MOST} are taken")
    steps = [_parsed(document, f"{where}.{index}") for index, document in enumerate(documents)]
    _in_order(steps, where)
    return steps


def _parsed(document: Any, where: str) -> Step:
    if isinstance(document, Step):
        return document
    if not isinstance(document, Mapping) or not isinstance(document.get("name"), str):
        raise StepInvalid(where, problem='a step is an object with a name, such as {"name": "filter", "where": "…"}')
    kind = get(document["name"], f"{where}.name")
    try:
        return kind.model_validate(dict(document))
    except ValidationError as error:
        raise _explained(complaints.first(error, kind), kind, where) from None


def _explained(found: Complaint, kind: type[Step], where: str) -> Exception:
    place = ".".join([where, *(str(part) for part in found.place)])
    if found.kind == "extra_forbidden":
        known = [name for name in kind.model_fields if name != "name"]
        return UnknownKey(place, key=found.place[-1], owner=f"the step '{kind.card.title}'", known=", ".join(known))
    return StepInvalid(place, problem=f"{kind.card.title}: {found.own or found.problem}.")


def _in_order(steps: Sequence[Step], where: str) -> None:
    """Raise StepInvalid for a second split, or for one after a step that repeats rows."""
    splits = [index for index, step in enumerate(steps) if step.splits]
    if len(splits) > 1:
        raise StepInvalid(f"{where}.{splits[1]}", problem="rows can be set aside for evaluation only once",
                          try_this="Take one of the splits out.")
    early = next((step for step in steps[:splits[0]] if step.repeats), None) if splits else None
    if early is not None:
        raise StepInvalid(f"{where}.{splits[0]}", problem=(
            f"'{steps[splits[0]].card.title}' comes after '{early.card.title}', so parts of one row would be learned "
            "and evaluated on"), try_this="Move the split before it.")


def columns_after(steps: Sequence[Step], columns: Sequence[str]) -> list[str]:
    """Return the columns there are after all steps; raises StepColumn or StepTaken."""
    names = list(columns)
    for step in steps:
        names = step.after(names)
    return names


def renamed(steps: Sequence[Step], column: str) -> str:
    """Return what a column is called after the steps."""
    for step in steps:
        column = step.renamed(column)
    return column


def survives(steps: Sequence[Step], columns: Sequence[str], column: str) -> bool:
    """Return whether one of the columns is still there after the steps, under whatever name."""
    names = list(columns)
    for step in steps:
        names, column = step.after(names), step.renamed(column)
        if column not in names:
            return False
    return True


def formerly(steps: Sequence[Step], column: str) -> str:
    """Return what a column was called before the steps."""
    for step in reversed(steps):
        column = step.formerly(column)
    return column


def for_evaluation(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that rows to evaluate on, or to predict, go through as well."""
    return [step for step in steps if step.evaluation and not step.splits]


def walk(table: pa.Table, steps: Sequence[Step], seed: int, *, held: pa.Table | None = None,
         divide: Divide | None = None) -> Iterator[Taken]:
    """Take the steps one after the other, and yield each as it was taken; raises DataError.

    `held` are rows to evaluate on, from a file of their own: no step splits then. Where there are none and a step
    repeats rows, `divide` sets some aside before it.
    """
    rows = np.arange(table.num_rows)
    held_rows = None if held is None else np.arange(held.num_rows)
    for index, step in enumerate(steps):
        first = ""
        if step.repeats and held is None and divide is not None:
            (table, own), (held, aside) = numbered(table, partial(_divided, divide, steps[index:]))
            rows, held_rows, count = rows[own], rows[aside], len(aside)
            first = f"{counted(count, 'row')} to evaluate on {'was' if count == 1 else 'were'} set aside before. "
        setting = Setting(np.random.default_rng([seed, index]), beside=held)
        was, last = held, ""
        if step.splits:
            change, held, aside = _split(step, table, held, setting)
            held_rows = held_rows if aside is None else rows[aside]
        else:
            change = step.change(table, setting)
            if held is not None and step.evaluation:
                alike, last = _changed_alike(step, held, _alike(seed, index, setting.learned))
                held, held_rows = alike.table, _after(held_rows, alike)
        rows = _after(rows, change)
        change = replace(change, note=f"{first}{change.note}{last}".strip())
        yield Taken(index + 1, step, table, change, was, held, rows, held_rows, setting.learned)
        table = change.table


def _divided(divide: Divide, later: Sequence[Step], table: pa.Table) -> tuple[pa.Table, pa.Table]:
    return divide(table, later)


def _after(rows: Any, change: Change) -> Any:
    """Return where the rows after a change come from, given where those before it did."""
    return rows if change.rows is None or rows is None else rows[change.rows]


def _alike(seed: int, index: int, learned: dict[str, Any]) -> Setting:
    """Return where the step at a place works on rows to evaluate on."""
    return Setting(np.random.default_rng([seed, index]), evaluation=True, learned=learned)


def _changed_alike(step: Step, held: pa.Table, setting: Setting) -> tuple[Change, str]:
    """Return rows to evaluate on, changed as those to learn from, and what is to be said of them."""
    try:
        return step.change(held, setting), ""
    except StepColumn as error:
        column = error.facts["column"]
        return Change(held), f" The rows to evaluate on have no column '{column}' and stay as they are."
    except DataError as error:
        error.what = f"In the rows to evaluate on: {error.what[0].lower()}{error.what[1:]}"
        error.args = (error.what,)
        raise


def _split(step: Step, table: pa.Table, held: pa.Table | None,
           setting: Setting) -> tuple[Change, pa.Table | None, np.ndarray | None]:
    """Return the rows that stay, those set aside, and the latter's places, None where there were some already."""
    if held is not None:
        return Change(table, "Nothing is split: there are rows to evaluate on already."), held, None
    chosen, note = step.aside(table, setting)
    rows, aside = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    return Change(table.take(pa.array(rows)), note, rows), table.take(pa.array(aside)), aside


def apply(table: pa.Table, steps: Sequence[Step], seed: int, *, held: pa.Table | None = None,
          divide: Divide | None = None) -> Prepared:
    """Return the rows after all steps, as `walk` takes them; raises DataError, NothingLeft where no row is left."""
    report: list[dict[str, Any]] = []
    rows, held_rows = np.arange(table.num_rows), None if held is None else np.arange(held.num_rows)
    learned: list[tuple[Step, int, dict[str, Any]]] = []
    for taken in walk(table, steps, seed, held=held, divide=divide):
        table, held, rows, held_rows = taken.change.table, taken.eval_after, taken.rows, taken.eval_rows
        report.append(taken.report())
        learned.append((taken.step, seed, taken.learned))
        for before, after, purpose in ((taken.before, table, "to learn from"),
                                       (taken.eval_before, held, "to evaluate on")):
            if before is not None and after is not None and before.num_rows and not after.num_rows:
                raise NothingLeft(f"data.steps.{taken.number - 1}", number=taken.number, step=taken.step.card.title,
                                  rows=f"{before.num_rows:,}", purpose=purpose)
    return Prepared(table, held, rows, held_rows, report, learned)
