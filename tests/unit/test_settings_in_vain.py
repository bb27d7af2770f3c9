"""Settings that name nothing are refused, and those that do nothing are told of, before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from transformers import BertConfig

from engine import skeleton
from engine.methods import Method, get
from engine.shape import ModelShape

TASK = "text_classification"


@pytest.fixture(scope="module")
def bert() -> ModelShape:
    return skeleton.shape_of(BertConfig()).for_task(TASK)


def lora(**settings: Any) -> Method:
    return get("lora").model_validate({"name": "lora", **settings})


@pytest.mark.parametrize(("settings", "said"), [
    ({"targets": ["q", "foo"]}, "No layer of this model is called 'foo'."),
    ({"targets": ["q"], "rank_pattern": {"zzz": 3}}, "Ranks by layer names 'zzz'"),
    ({"targets": ["q"], "alpha_pattern": {"attention.self.queri": 3}}, "Alphas by layer names 'attention.self.queri'"),
    # Roles stand for layers of any model: that this one has no gates is no mistake.
    ({"targets": ["q", "gate"], "rank_pattern": {"gate": 4, "query": 2}}, ""),
    ({"targets": ["attention.self.query"], "alpha_pattern": {"0.attention.self.query": 3}}, "")])
def test_a_word_that_names_no_layer_is_refused(settings: dict[str, Any], said: str, bert: ModelShape) -> None:
    reasons = " ".join(lora(**settings).obstacles(bert, TASK, None))
    assert said in reasons and bool(said) == bool(reasons)


def test_a_rank_that_no_layer_can_hold_is_told_of(bert: ModelShape) -> None:
    (doubt,) = lora(r=1024).doubts(bert)
    assert doubt.field == "r" and "768" in doubt.what and "1,024" in doubt.what and "768" in doubt.try_this
    assert not lora(r=768).doubts(bert)


@pytest.mark.parametrize(("settings", "said"), [
    ({"layers": []}, "layers is an empty list"), ({"r": True}, "r is a number, not true"),
    ({"dropout": False}, "dropout is a number, not false")])
def test_what_means_nothing_is_no_setting(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        lora(**settings)
