"""Changing a dataset: unsaved changes of its rows, saving them as a new version, and how two versions differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from db import datasets, versions
from db.errors import Conflict
from db.tables import Dataset
from db.users import User
from engine import complaints
from engine.data import cells, edits
from engine.data.edits import Edit
from engine.data.paging import Rows
from engine.errors import DataError
from studio.service.datasets import DatasetNotReady
from studio.service.rows import kinds, rows_of, schema_of
from worker import client

#: Rows up to which their images are read as well, for the names.
PICTURED = 50


class NothingChanged(Conflict):
    """Nothing was changed in '{name}'."""

    kind = "nothing_changed"
    try_this = "Change a cell or exclude a row first."


class BadEdit(DataError):
    """This is no change of a row: {problem}"""

    kind = "edit_invalid"
    try_this = "Give {{row, column, value}} to change a cell, or {{row, exclude: true}} to leave a row out."


class NotRelated(Conflict):
    """'{name}' and '{other}' are no versions of the same rows any more."""

    kind = "versions_unrelated"
    try_this = "Compare two versions of one dataset; where one between them was deleted, compare its neighbours."


@dataclass(frozen=True)
class Diff:
    """How the version `dataset` differs from `against`.

    Each of `changes` has `row`, the number in `against` (null for one taken back in), `new_row` in `dataset` (null for
    one left out), and either `column`, `before` and `after`, or `excluded` (false: taken back in) and `before`.
    """

    dataset: str
    against: str
    changes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def cells(self) -> int:
        """How many cells have another value."""
        return sum("column" in change for change in self.changes)

    @property
    def excluded(self) -> int:
        """How many rows were left out."""
        return sum(change.get("excluded") is True for change in self.changes)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"dataset": self.dataset, "against": self.against, "cells": self.cells, "excluded": self.excluded,
                "changes": self.changes}


def edit(user: User, id: str, changes: Sequence[Mapping[str, Any] | Edit]) -> Dataset:
    """Add unsaved changes to a dataset; nothing is written until they are saved.

    Raises NotFound, DatasetNotReady, BadEdit, RowUnknown, ColumnUnknown, NotEditable, BadValue, TooManyEdits.
    """
    row = _ready(user, id)
    made = [one.model_dump(mode="json") for one in _complete(row, changes)]

    def added(drafts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(drafts) + len(made) > edits.MOST:
            raise edits.TooManyEdits("edits", limit=f"{edits.MOST:,}")
        # What changes nothing, such as a button pressed twice, would have to be undone as well.
        same = edits.together(edits.parse(drafts + made)) == edits.together(edits.parse(drafts))
        return drafts if same else drafts + made
    return versions.draft(user, id, added)


def undo(user: User, id: str, *, everything: bool = False) -> Dataset:
    """Take back the last unsaved change of a dataset, or all of them; raises NotFound."""
    return versions.draft(user, id, lambda drafts: [] if everything else drafts[:-1])


def save(user: User, id: str, changes: Sequence[Mapping[str, Any] | Edit] | None = None, *, name: str = "") -> Dataset:
    """Make the unsaved changes of a dataset, or the `changes` given, its next version and have a worker write it.

    The file it is evaluated on goes along as a copy. Raises NothingChanged and what `edit` raises.
    """
    row = _ready(user, id)
    wanted = edits.parse(versions.drafted(row)) if changes is None else _complete(row, changes)
    together = edits.together(wanted)
    if not together:
        raise NothingChanged(id, name=row.name)
    if len(together.excluded) >= (row.rows or 0):
        raise edits.NothingToExclude("edits")
    stored = [one.model_dump(mode="json", exclude_none=False) for one in together.edits()]
    made = versions.create(user, id, stored, name=name, drafts=changes is None)
    client.inspect_dataset(made.id)
    for other in datasets.find(user, eval_of_id=id, states=["ready"], limit=1):
        client.inspect_dataset(versions.copy(user, other.id, made.id).id)
    return made


def family(user: User, id: str) -> list[Dataset]:
    """Return all versions of a dataset, the first one first; raises NotFound."""
    return versions.family(user, id)


def diff(user: User, id: str, against: str | None = None) -> Diff:
    """Return how a version differs from another, from the one before where none is given; raises NotFound, NotRelated.

    It is told from the changes that were kept, so neither file is read.
    """
    row = datasets.get(user, id)
    other = datasets.get(user, against or versions.before(row) or id)
    known = {one.id: one for one in versions.family(user, id)}
    mine, theirs = _line(known, row), _line(known, other)
    common = next((one for one in mine if one in theirs), None)
    if common is None:
        raise NotRelated(id, name=row.name, other=other.name)
    new, old = (edits.line([edits.together(edits.parse(versions.saved(known[step])))
                            for step in reversed(way[:way.index(common)])]) for way in (mine, theirs))
    return Diff(row.id, other.id, _differences(old, new))


def _ready(user: User, id: str) -> Dataset:
    row = datasets.get(user, id)
    if row.state != "ready" or row.parquet_key is None:
        raise DatasetNotReady(id, name=row.name, state=row.state)
    return row


def _complete(row: Dataset, changes: Sequence[Mapping[str, Any] | Edit]) -> list[Edit]:
    """Return changes that were checked, each with what stands there now."""
    wanted: list[Edit] = []
    for number, one in enumerate(changes):
        try:
            wanted.append(Edit.model_validate({**(one if isinstance(one, Mapping) else vars(one)), "before": None}))
        except ValidationError as error:
            found = complaints.first(error, Edit)
            where = ".".join(["edits", str(number), *map(str, found.place)])
            raise BadEdit(where, problem=f"edit {number + 1}: {found.problem}.") from None
    found = rows_of(row)
    wanted = edits.checked(wanted, schema_of(row), found.total)
    there = _there(found, sorted({one.row for one in wanted}))
    return [one.model_copy(update={"before": edits.preview(there[one.row]) if one.column is None
                                   else there[one.row][one.column]}) for one in wanted]


def _there(found: Rows, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return rows by number as they stand in the file, images by name; of many rows, without their images."""
    if not numbers:
        return {}
    known = kinds(found.path)
    names = [name for name, kind in known.items() if kind != "image" or len(numbers) <= PICTURED]
    table = found.take(numbers, names)
    for place, name in enumerate(table.column_names):
        if cells.is_image(table.column(name)):
            table = table.set_column(place, name, cells.image_names(table.column(name)))
    return dict(zip(numbers, table.to_pylist(), strict=True))


def _line(known: Mapping[str, Dataset], row: Dataset) -> list[str]:
    """Return the ids from a version back to the first that is still known."""
    found: list[str] = []
    step: str | None = row.id
    while step is not None and step in known and step not in found:
        found.append(step)
        step = versions.before(known[step])
    return found


def _differences(old: edits.Changes, new: edits.Changes) -> list[dict[str, Any]]:
    """Return what differs between two sets of changes of the same rows."""
    found: list[tuple[int, str, dict[str, Any]]] = []
    left, right = sorted(old.excluded), sorted(new.excluded)
    for row in {*left, *right}:
        if (row in old.excluded) != (row in new.excluded):
            gone = row in new.excluded
            found.append((row, "", {"excluded": gone, "before": (new if gone else old).excluded[row]}))
    for row, column in {*old.cells, *new.cells}:
        if row in old.excluded or row in new.excluded:
            continue
        base = old.before.get((row, column), new.before.get((row, column)))
        before, after = (side.cells.get((row, column), base) for side in (old, new))
        if before != after:
            found.append((row, column, {"column": column, "before": before, "after": after}))
    found.sort(key=lambda one: one[:2])
    return [{"row": _now(row, left), "new_row": _now(row, right)} | change for row, _, change in found]


def _now(row: int, excluded: Sequence[int]) -> int | None:
    """Return which number a row has where the rows `excluded` were left out; None for one of them."""
    return None if row in excluded else row - sum(one < row for one in excluded)
