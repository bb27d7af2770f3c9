"""Settings are called by their titles wherever a path of a RunSpec names them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.methods._prompt import NotAPrompt
from studio import cards, titles


@pytest.mark.parametrize(("path", "document", "title"), [
    ("method.start_from", {"method": {"name": "prompt_tuning"}}, "Method › Source prompt"),
    ("method.start_from", {"method": {"name": "p_tuning_v2"}}, "Method › Source prompts"),
    ("method.r", None, "Method › Rank"), ("training.early_stopping.patience", None,
                                          "Training › Early stopping › Patience"),
    ("data.options.problem", {"task": "text_classification"}, "Task › Kind of label"), ("model.id", None, "Base model"),
    ("data.forgetting", None, "Data › Measure forgetting on")])
def test_a_path_is_called_by_the_titles_of_the_form(path: str, document: Any, title: str) -> None:
    found = titles.find(path, document)
    assert found is not None and found.whole == title


@pytest.mark.parametrize("path", ["", "rows.csv", "Row 812", "method.gone", "training.epochs.more", "memory"])
def test_what_is_no_setting_has_no_title(path: str) -> None:
    assert titles.find(path) is None


def test_an_error_names_the_setting_not_its_path() -> None:
    problem = NotAPrompt("method.start_from", folder="x").as_dict()
    shown = cards.error(problem, {"method": {"name": "prompt_tuning"}})
    assert "<b>Setting:</b> Source prompt<" in shown and "start_from" not in shown
    assert "rows.csv" in cards.error(problem | {"where": "rows.csv"})
