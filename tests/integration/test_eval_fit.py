"""What is wrong with an evaluation file is told before a run is queued, attached to the dataset or chosen beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from beast import table
from byhand import Hand

from db import datasets, runs, users
from engine.errors import StudioError
from studio import choices, preview, service
from studio.draft import Draft
from studio.service import eval_fit

ROWS = [(f"text number {i} of these", "pos" if i % 2 else "neg") for i in range(40)]
FRESH = [(f"another text, number {i}", "neg" if i % 2 else "pos") for i in range(20)]


def added(hand: Hand, folder: Path, held: bytes, attach: bool) -> tuple[str, str]:
    """Return the ids of a dataset and of one to evaluate on, read from the first `attach`ed or by itself."""
    (folder / "train.csv").write_bytes(table([*ROWS]))
    (folder / "held.csv").write_bytes(held)
    user = users.local()
    row = service.add_dataset(user, folder / "train.csv", eval_path=folder / "held.csv" if attach else None)
    other = None if attach else service.add_dataset(user, folder / "held.csv")
    hand.work()
    other = other or datasets.find(user, eval_of_id=row.id)[0]
    return row.id, other.id


def document(train: str, held: str | None, **data: Any) -> dict[str, Any]:
    return {"task": "text_classification", "model": {"id": "tiny/bert"}, "method": {"name": "lora"},
            "data": {"train": train, "eval": held, "columns": {"text": "text", "label": "label"}} | data}


def met(train: str, held: str | None, **data: Any) -> tuple[dict[str, StudioError], dict[str, dict[str, Any]]]:
    """Return obstacles and warnings by kind; that the model was never looked at is no matter here."""
    found = service.check(users.local(), document(train, held, **data))
    kinds = {one.kind: one for one in found.obstacles if not one.kind.startswith("model_not_")}
    return kinds, {one["kind"]: one for one in found.warnings}


@pytest.mark.parametrize("attach", [True, False])
def test_labels_that_training_lacks_forbid_the_run(hand: Hand, tmp_path: Path, attach: bool) -> None:
    train, held = added(hand, tmp_path, table([*FRESH, ("odd", "maybe")]), attach)
    (error,) = met(train, held)[0].values()
    assert (error.kind, "'maybe'" in error.what, "held.csv" in error.what) == ("eval_unfit", True, True)
    assert error.where == "evaluation file held.csv, row 21, column label"
    with pytest.raises(StudioError):
        service.start_run(users.local(), document(train, held))
    assert not runs.find(users.local())
    assert not met(train, None)[0], "a share kept aside instead is no matter"


def test_the_note_beside_the_dataset_leaves_the_evaluation_file_to_the_preview(hand: Hand, tmp_path: Path) -> None:
    train, held = added(hand, tmp_path, table([*FRESH, ("odd", "maybe")]), True)
    user = users.local()
    row = datasets.get(user, train)
    assert [one["kind"] for one in row.findings if one["level"] == "error"] == ["label_unseen"]
    now = choices.Chosen(user, Draft(), row, None, None)
    assert "maybe" not in choices.dataset_note(now) and "40 rows" in choices.dataset_note(now)
    problems = [*met(train, held)[0].values()]
    assert "maybe" in preview.reasons(None, problems)


def test_labels_too_large_to_be_compared_with_their_texts_are_compared_alone(
        hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, held = added(hand, tmp_path, table([*FRESH, ("odd", "maybe")]), False)
    monkeypatch.setattr(eval_fit, "LARGEST", 800)
    assert set(met(train, held)[0]) == {"eval_unfit"}


@pytest.mark.parametrize("attach", [True, False])
def test_rows_that_training_has_seen_are_warned_of_once(hand: Hand, tmp_path: Path, attach: bool) -> None:
    train, held = added(hand, tmp_path, table([*FRESH, *ROWS[:3]]), attach)
    obstacles, warnings = met(train, held)
    assert not obstacles and "3 rows (21, 22, 23)" in warnings["eval_overlap"]["what"]
    assert "eval_overlap" not in met(train, None)[1]
    found = service.check(users.local(), document(train, held))
    assert not [one for one in found.findings if one["kind"] == "eval_overlap"]


def test_other_columns_are_said_to_be_those_of_the_evaluation_file(hand: Hand, tmp_path: Path) -> None:
    train, held = added(hand, tmp_path, table([*FRESH], ("text", "class")), False)
    (error,) = met(train, held)[0].values()
    assert error.what == "The evaluation file 'held.csv' has no column 'label' (label)."
    assert "text, class" in error.try_this and error.where == "evaluation file held.csv"


def test_steps_are_taken_before_files_are_compared(hand: Hand, tmp_path: Path) -> None:
    train, held = added(hand, tmp_path, table([*FRESH, ("odd", "maybe")]), False)
    mapped = [{"name": "map_labels", "column": "label", "labels": {"maybe": "pos"}}]
    assert set(met(train, held)[0]) == {"eval_unfit"}
    assert not met(train, held, steps=mapped)[0]


def test_an_evaluation_file_that_fits_is_passed_without_a_word(hand: Hand, tmp_path: Path) -> None:
    train, held = added(hand, tmp_path, table([*FRESH]), True)
    assert met(train, held) == ({}, {})
