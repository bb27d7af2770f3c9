"""Versions of datasets on every database: unsaved changes, numbers, families, owners."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from db import datasets, versions
from db.errors import NotFound
from db.session import Database
from db.tables import Dataset
from db.users import User

EDIT: dict[str, Any] = {"row": 1, "column": "label", "value": "é\x00", "exclude": None, "before": "a"}


def add(user: User, **values: Any) -> Dataset:
    return datasets.create(user, name="tickets", task="text_classification", columns={"text": "t"}, confirmed=True,
                           **values)


def test_unsaved_changes_stay_apart_from_those_that_made_the_version(database: Database, ada: User) -> None:
    row = add(ada)
    versions.draft(ada, row.id, lambda drafts: [*drafts, {"row": 1, "exclude": True}])
    changed = versions.draft(ada, row.id, lambda drafts: [*drafts, {"row": 2, "exclude": True}])
    assert [one["row"] for one in versions.drafted(changed)] == [1, 2] and versions.saved(changed) == []
    assert changed.updated_at == row.updated_at
    made = versions.create(ada, row.id, [EDIT], drafts=True)
    assert versions.drafted(datasets.get(ada, row.id)) == []
    again = versions.draft(ada, made.id, lambda drafts: [*drafts, {"row": 3, "exclude": True}])
    assert versions.saved(again)[0]["before"] == "a" and versions.drafted(again) == [{"row": 3, "exclude": True}]
    assert (made.state, made.columns, made.confirmed) == ("uploaded", {"text": "t"}, True)
    assert versions.before(made) == row.id


def test_numbers_of_versions_are_never_given_twice(database: Database, ada: User) -> None:
    row = add(ada)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: versions.create(ada, row.id, [EDIT]), range(6)))
    assert sorted(one.version for one in made) == [2, 3, 4, 5, 6, 7]
    grandchild = versions.create(ada, made[0].id, [], name="a name of its own")
    assert (grandchild.version, grandchild.version_of_id, grandchild.name) == (8, row.id, "a name of its own")
    assert [one.version for one in versions.family(ada, grandchild.id)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(one.name == f"tickets (version {one.version})" for one in made)


def test_others_see_no_versions_and_make_none(database: Database, ada: User, bob: User) -> None:
    row = add(ada)
    for act in (lambda: versions.draft(bob, row.id, lambda drafts: drafts), lambda: versions.create(bob, row.id, []),
                lambda: versions.family(bob, row.id), lambda: versions.copy(bob, row.id, row.id)):
        with pytest.raises(NotFound):
            act()


def test_a_copy_judges_another_dataset_and_is_no_version(database: Database, ada: User) -> None:
    row = add(ada)
    judge = add(ada, eval_of_id=row.id)
    new = versions.create(ada, row.id, [EDIT])
    copied = versions.copy(ada, judge.id, new.id)
    assert (copied.eval_of_id, copied.version, copied.version_of_id) == (new.id, 1, None)
    assert versions.before(copied) == judge.id and versions.saved(copied) == []


def test_the_next_version_is_the_first_when_the_first_is_deleted(database: Database, ada: User) -> None:
    row = add(ada)
    second, third = versions.create(ada, row.id, [EDIT]), versions.create(ada, row.id, [EDIT])
    datasets.delete(ada, row.id)
    assert [one.id for one in versions.family(ada, third.id)] == [second.id, third.id]
    assert versions.create(ada, third.id, [EDIT]).version == 4
