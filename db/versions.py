"""Versions of a dataset: what was changed and not saved yet, and the family of versions that comes of saving.

A row's `edits` hold what was changed to come to it from the version before; those marked "draft" are changes of this
version that were not saved yet. `origin` of a version is {"dataset": id of the version before}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import func, or_, select

from db import rows
from db.base import new_id
from db.session import database, retried
from db.tables import Dataset
from db.users import User

#: Columns a new version has from the version before.
KEPT = ("filename", "task", "confirmed", "options", "columns", "guess", "source", "steps")

Json = dict[str, Any]


def drafted(row: Dataset) -> list[Json]:
    """Return the changes of a dataset that were not saved yet, in the order in which they were made."""
    return [{key: value for key, value in edit.items() if key != "draft"} for edit in row.edits if edit.get("draft")]


def saved(row: Dataset) -> list[Json]:
    """Return the changes that led to this version from the one before."""
    return [edit for edit in row.edits if not edit.get("draft")]


def before(row: Dataset) -> str | None:
    """Return the id of the version before, or of what a copy was made of; None where there is none."""
    return (row.origin or {}).get("dataset")


@retried
def draft(user: User, id: str, change: Callable[[list[Json]], list[Json]]) -> Dataset:
    """Replace the unsaved changes of a dataset by what `change` makes of them; raises NotFound and what it raises.

    Two that change at the same time do so one after the other.
    """
    with database().write() as session:
        row = rows.one(session, Dataset, user, id, lock=True)
        drafts = [edit | {"draft": True} for edit in change(drafted(row))]
        return rows.changed(session, Dataset, user, id, {"edits": saved(row) + drafts})


@retried
def create(user: User, id: str, edits: Sequence[Json], *, name: str = "", drafts: bool = False) -> Dataset:
    """Add the version that `edits` make of a dataset, in state "uploaded"; raises NotFound.

    With `drafts`, the dataset's unsaved changes are those, and are gone from it. A version takes over what evaluates
    what; its number is one more than the newest's.
    """
    with database().write() as session:
        parent = rows.one(session, Dataset, user, id, lock=True)
        first = rows.one(session, Dataset, user, parent.version_of_id, lock=True) if parent.version_of_id else parent
        newest = session.scalar(select(func.max(Dataset.version)).where(
            Dataset.owner_id == user.id, or_(Dataset.id == first.id, Dataset.version_of_id == first.id)))
        number = max(newest or 1, parent.version) + 1
        title = rows.good_name(name or f"{first.name[:180]} (version {number})")
        made = Dataset(id=new_id(Dataset.prefix), owner_id=user.id, name=title, version=number, version_of_id=first.id,
                       edits=list(edits), origin={"dataset": parent.id}, eval_of_id=parent.eval_of_id,
                       search=rows.searchable(title, parent.filename),
                       **{column: getattr(parent, column) for column in KEPT})
        rows.add(session, made)
        if drafts:
            rows.changed(session, Dataset, user, id, {"edits": saved(parent)})
    return made


@retried
def copy(user: User, id: str, eval_of_id: str) -> Dataset:
    """Add a copy of a dataset that evaluates another one, in state "uploaded"; raises NotFound."""
    with database().write() as session:
        parent = rows.one(session, Dataset, user, id)
        rows.one(session, Dataset, user, eval_of_id)
        made = Dataset(id=new_id(Dataset.prefix), owner_id=user.id, name=parent.name, origin={"dataset": parent.id},
                       eval_of_id=eval_of_id, search=parent.search,
                       **{column: getattr(parent, column) for column in KEPT})
        return rows.add(session, made)


def family(user: User, id: str) -> list[Dataset]:
    """Return all versions of a dataset, the first one first; raises NotFound."""
    with database().read() as session:
        row = rows.one(session, Dataset, user, id)
        first = row.version_of_id or row.id
        query = select(Dataset).where(Dataset.owner_id == user.id, or_(
            Dataset.id == first, Dataset.version_of_id == first)).order_by(Dataset.version, Dataset.created_at)
        return list(session.scalars(query))
