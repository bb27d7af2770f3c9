"""Class weights by name, and numbers in files of predictions."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from engine import balance, digits, verdicts
from engine.tasks.text_classification import TextClassification


def test_weights_are_written_by_name() -> None:
    assert balance.named("spam=3, ham = 0.5") == {"spam": 3.0, "ham": 0.5} == TextClassification.model_validate(
        {"class_weights": "spam=3, ham=.5"}).class_weights
    assert balance.named("a=b=2") == {"a=b": 2.0}
    assert TextClassification.model_validate({"class_weights": "balanced"}).class_weights == "balanced"


@pytest.mark.parametrize("text", ["spam=", "=3", "spam=3, ham", "spam=much"])
def test_what_is_no_weight_is_named(text: str) -> None:
    with pytest.raises(ValidationError, match="such as spam=3"):
        TextClassification.model_validate({"class_weights": text})


def test_numbers_are_written_with_all_their_digits() -> None:
    task = TextClassification(problem="regression")
    reply = verdicts.verdict(torch.tensor([2.8653421]), ["score"], "regression")
    assert reply["label"] == "2.865" and task.filled(reply) == {"prediction": "2.86534214"}


def test_several_labels_are_joined_by_a_mark_that_is_in_none_of_them() -> None:
    def said(*labels: str) -> str:
        return verdicts.verdict(torch.tensor([3.0, -3.0, 3.0]), labels, "multi_label")["label"]

    assert said("warm", "cold", "fun") == "warm, fun"
    assert said("warm, dry", "cold", "fun") == "warm, dry; fun"
    assert said("warm, dry", "cold;", "fun") == "warm, dry | fun"


@pytest.mark.parametrize(("value", "shown"), [
    (0.0285714, "0.02857"), (3e-5, "3e-05"), (2.8653421, "2.865"), (-1234.56, "-1,235"), (999.96, "1,000"),
    (999.9, "999.9"), (611_241.63, "611,242"), (2.316e8, "231,600,000"), (2.3e16, "2.3e+16"), (0.0, "0")])
def test_numbers_are_shown_in_short(value: float, shown: str) -> None:
    assert digits.short(value) == shown
