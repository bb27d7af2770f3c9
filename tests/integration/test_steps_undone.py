"""Steps that take away a column which plays a part: said while they are there, undone when they are taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from byhand import Hand

from db import datasets, users
from db.tables import Dataset
from studio import data_view, service

PAIR = {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
KEPT = {"text": "text", "label": "label"}
DROPPED = [{"name": "drop", "columns": ["sentence2"]}]
RENAMED = [{"name": "rename", "names": {"text": "body"}}]
NOTHING = [{"name": "filter", "where": "length(text) > 1000"}]


def added(hand: Hand, folder: Path, pair: bool = False) -> str:
    """Return the id of a dataset whose columns were guessed."""
    lines = [f"this is the first text of row {i},the other text of row {i} it is,{'yes' if i % 2 else 'no'}"
             for i in range(40)] if pair else [f"this is the text of row {i},{'yes' if i % 2 else 'no'}"
                                               for i in range(40)]
    header = "sentence1,sentence2,label" if pair else "text,label"
    (folder / "rows.csv").write_text("\n".join([header, *lines]))
    row = service.add_dataset(users.local(), folder / "rows.csv")
    hand.work()
    return row.id


def prepared(hand: Hand, id: str, steps: list[dict[str, Any]]) -> Dataset:
    """Return a dataset that was given steps, and counted."""
    service.preparation.set_steps(users.local(), id, steps)
    hand.work()
    return datasets.get(users.local(), id)


def met(id: str, **data: Any) -> list[tuple[str, str, str]]:
    """Return what stands in the way of a run: kind, what and what to do; that no model was looked at is no matter."""
    found = service.check(users.local(), {
        "task": "text_classification", "model": {"id": "tiny/bert"}, "method": {"name": "lora"},
        "data": {"train": id} | data})
    return [(one.kind, one.what, one.try_this) for one in found.obstacles if not one.kind.startswith("model_not_")]


@pytest.mark.parametrize(("pair", "steps", "roles", "role"), [
    (True, DROPPED, PAIR, "text_pair"), (False, [{"name": "drop", "columns": ["text"]}], KEPT, "text"),
    (False, [{"name": "drop", "columns": ["label"], "keep": True}], KEPT, "text")])
def test_a_dropped_column_is_missed_until_the_step_is_taken_out(
        hand: Hand, tmp_path: Path, pair: bool, steps: list[dict[str, Any]], roles: dict[str, str], role: str) -> None:
    id = added(hand, tmp_path, pair)
    row = prepared(hand, id, steps)
    (finding,) = row.findings
    assert (finding["level"], finding["kind"]) == ("error", "step_took_column")
    assert finding["what"].startswith("Step 1, ")
    assert f"takes away the column '{roles[role]}' ({role})" in finding["what"]
    assert "Needs a fix" in data_view.badge(row) and not data_view.steps(row)
    ((kind, what, advice),) = met(id)
    assert (kind, what) == ("step_took_column", finding["what"]) and f"--column {role}=NAME" in advice
    row = prepared(hand, id, [])
    assert row.columns == roles and not row.findings and not met(id)


def test_a_step_put_in_place_of_another_gives_the_roles_back(hand: Hand, tmp_path: Path) -> None:
    id = added(hand, tmp_path, pair=True)
    prepared(hand, id, DROPPED)
    row = prepared(hand, id, [{"name": "rename", "names": {"sentence2": "other"}}])
    assert row.columns == PAIR | {"text_pair": "other"} and not row.findings


def test_a_role_lets_go_of_a_dropped_column_whose_name_another_role_takes(hand: Hand, tmp_path: Path) -> None:
    id = added(hand, tmp_path, pair=True)
    steps = [{"name": "drop", "columns": ["sentence1"]}, {"name": "rename", "names": {"sentence2": "sentence1"}}]
    row = prepared(hand, id, steps)
    assert row.columns == {"text_pair": "sentence1", "label": "label"}
    ((kind, _, advice),) = met(id)
    assert kind == "role_missing" and "--column text=NAME" in advice
    assert prepared(hand, id, []).columns == {"text_pair": "sentence2", "label": "label"}


def test_columns_confirmed_without_the_one_that_is_gone_are_trained_on(hand: Hand, tmp_path: Path) -> None:
    id = added(hand, tmp_path, pair=True)
    row = prepared(hand, id, DROPPED)
    user = users.local()
    table = data_view.columns(service.preview(user, id), "text_classification", row.columns)
    chosen = data_view.chosen_columns(table)
    assert chosen == {"text": "sentence1", "label": "label"}
    service.set_roles(user, id, chosen)
    hand.work()
    assert not datasets.get(user, id).findings and not met(id)


def test_columns_that_a_step_names_can_be_chosen(hand: Hand, tmp_path: Path) -> None:
    id = added(hand, tmp_path)
    prepared(hand, id, RENAMED)
    assert service.set_roles(users.local(), id, {"text": "body", "label": "label"}).columns["text"] == "body"


def test_roles_follow_the_steps_of_a_run_of_its_own(hand: Hand, tmp_path: Path) -> None:
    id = added(hand, tmp_path)
    assert not met(id, steps=RENAMED)
    ((kind, what, _),) = met(id, steps=RENAMED, columns=KEPT)
    assert kind == "step_took_column" and "it is called 'body' now" in what


def test_a_filter_that_leaves_nothing_is_what_a_run_is_refused_for(hand: Hand, tmp_path: Path) -> None:
    id = added(hand, tmp_path)
    assert prepared(hand, id, NOTHING).findings[0]["kind"] == "steps_left_nothing"
    service.set_header(users.local(), id, True)
    hand.work()
    row = datasets.get(users.local(), id)
    assert row.columns == KEPT, "read anew, its columns are guessed from the rows before the steps"
    datasets.update(users.local(), id, columns={})
    ((kind, what, _),) = met(id)
    assert kind == "data_findings" and "leaves none of the 40 rows" in what


def test_a_role_that_nobody_chose_says_where_to_choose_it(hand: Hand, tmp_path: Path) -> None:
    id = added(hand, tmp_path)
    ((kind, _, advice),) = met(id, columns={"label": "label"})
    assert kind == "role_missing" and "dataset's page" in advice and "--column text=NAME" in advice
    with pytest.raises(service.looks.RoleMissing, match="No column is chosen for the task"):
        datasets.update(users.local(), id, columns={})
        service.looks.problems(users.local(), id)
