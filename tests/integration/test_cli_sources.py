"""Files that the command line names are added once, and found again whatever they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from beast import table
from byhand import Hand

from db import datasets, users
from studio import cli_sources

ROWS = [(f"text number {i} of these", "pos" if i % 2 else "neg") for i in range(40)]
HELD = [(f"another text, number {i}", "neg" if i % 2 else "pos") for i in range(20)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Files to learn from and two to evaluate on."""
    for name, rows in (("train", ROWS), ("held", HELD), ("other", HELD[:10])):
        (tmp_path / f"{name}.csv").write_bytes(table([*rows]))
    return str(tmp_path / "train.csv"), str(tmp_path / "held.csv"), str(tmp_path / "other.csv")


def sources(hand: Hand, **data: Any) -> dict[str, Any]:
    """Return the data of a spec once what it names is read."""
    document = {"task": "text_classification", "data": data}
    row = cli_sources.dataset(users.local(), document, lambda *_: hand.work())
    assert row.state == "ready" and row.id == data["train"]
    return data


def names() -> list[str]:
    return sorted(row.name for row in datasets.find(users.local()))


def test_the_same_two_files_make_two_datasets_however_often_they_are_named(hand: Hand,
                                                                           files: tuple[str, str, str]) -> None:
    train, held, _ = files
    first = sources(hand, train=train, eval=held)
    assert names() == ["train", "train (evaluation)"] and "eval" not in first
    again = sources(hand, train=train, eval=held)
    (beside,) = datasets.find(users.local(), eval_of_id=first["train"])
    assert (again["train"], again["eval"]) == (first["train"], beside.id)
    assert len(names()) == 2


def test_another_file_to_evaluate_on_is_called_so_and_the_rows_to_learn_from_stay_one(
        hand: Hand, files: tuple[str, str, str]) -> None:
    train, held, other = files
    plain = sources(hand, train=train)
    with_held = sources(hand, train=train, eval=held)
    with_other = sources(hand, train=plain["train"], eval=other)
    assert plain["train"] == with_held["train"] == with_other["train"]
    assert names() == ["held (evaluation)", "other (evaluation)", "train"]
    assert datasets.get(users.local(), with_other["eval"]).columns == {"text": "text", "label": "label"}
    assert sources(hand, train=train, eval=other) == with_other
    assert "eval" not in sources(hand, train=train)


def test_rows_to_evaluate_on_that_nobody_named_are_told(hand: Hand, files: tuple[str, str, str],
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    train, held, _ = files
    sources(hand, train=train, eval=held)
    assert "evaluated on" not in capsys.readouterr().err
    sources(hand, train=train)
    assert "evaluated on train (evaluation), which was added with it" in capsys.readouterr().err


def test_a_share_kept_aside_stays_a_share(hand: Hand, files: tuple[str, str, str]) -> None:
    train, held, _ = files
    first = sources(hand, train=train, eval=held)
    assert sources(hand, train=train, eval=None) == {"train": first["train"], "eval": None}
