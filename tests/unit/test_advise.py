"""What is advised follows its rules, says which, and is a run that can start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import models, skeleton, tiny
from engine.advise import advise, worst_choices
from engine.data.token_lengths import TokenLengths, tokens_a_character
from engine.shape import ModelShape
from engine.spec import parse


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelShape:
    return models.inspect(tiny.folder("bert", tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> ModelShape:
    return models.inspect(tiny.folder("llama", tmp_path_factory.mktemp("llama")))


def advised(shape: ModelShape, task: str = "text_classification", **facts: Any) -> Any:
    return advise(task, shape, **facts)


@pytest.mark.parametrize(("examples", "rank"), [(50, 2), (480, 4), (3_000, 8), (20_000, 16), (200_000, 128)])
def test_the_rank_grows_with_the_number_of_examples(bert: ModelShape, examples: int, rank: int) -> None:
    found = advised(bert, examples=examples)
    assert found.method["name"] == "lora" and found.method["r"] == rank
    assert found.method.get("use_rslora", False) == (rank >= 64)
    reason = next(reason for reason in found.reasons if reason.setting == "r")
    assert f"{examples:,}" in reason.rule and reason.source


def test_very_few_examples_get_biases_and_a_warning(bert: ModelShape) -> None:
    found = advised(bert, examples=12)
    assert found.method == {"name": "bitfit"} and "12 examples" in found.warnings[0]


def test_the_rank_is_raised_until_it_can_hold_the_tokens(llama: ModelShape) -> None:
    few = advised(llama, "causal_lm", examples=300, tokens=100)
    many = advised(llama, "causal_lm", examples=300, tokens=30_000)
    assert many.method["r"] > few.method["r"]
    assert any("30,000" in reason.rule for reason in many.reasons)


def test_a_base_that_does_not_fit_is_loaded_in_fewer_bits() -> None:
    from transformers import LlamaConfig

    seven = skeleton.shape_of(LlamaConfig())
    roomy, tight, hopeless = (advised(seven, "causal_lm", examples=500, available=there << 30, device="cuda")
                              for there in (80, 8, 2))
    assert roomy.model == {} and "gradient_checkpointing" not in roomy.training
    assert tight.model["quantization"] == "nf4" and tight.training["gradient_checkpointing"]
    assert hopeless.model == {} and "smaller" in hopeless.warnings[-1]


@pytest.mark.parametrize("examples", [5, 100, 1_500, 60_000])
def test_every_advice_is_a_run_that_parses_and_has_no_obstacle(bert: ModelShape, examples: int) -> None:
    found = advised(bert, examples=examples, characters=148, longest=37)
    plan = parse({"task": "text_classification", "model": {"id": "any"} | found.model, "data": {"train": "rows.csv"},
                  "method": found.method, "training": found.training})
    assert plan.method.obstacles(bert, plan.task, None) == []
    assert plan.training.max_length == 48 and plan.training.batch_size < 32
    assert found.compare and all(name != found.method["name"] for name, _ in found.compare)


def reason_for(found: Any, setting: str) -> str:
    return next(reason.rule for reason in found.reasons if reason.setting == setting)


def test_a_counted_length_holds_nearly_all_rows_and_says_how_many(bert: ModelShape) -> None:
    lengths = TokenLengths(rows=200, lengths=[20] * 170 + [45] * 28 + [120, 300])
    found = advised(bert, examples=200, lengths=lengths, characters=100, longest=20)
    assert found.training["max_length"] == 48 and lengths.over(48) == pytest.approx(0.01)
    assert reason_for(found, "max_length") == "99 % of the rows fit, counted in this model's tokens."


def test_an_estimated_length_claims_nothing_that_was_not_counted(bert: ModelShape) -> None:
    told = reason_for(advised(bert, examples=200, characters=148, longest=62), "max_length")
    assert "estimated" in told and "148 characters" in told and "fit" not in told


def test_a_model_too_short_for_the_rows_is_said_to_cut_them(bert: ModelShape) -> None:
    limit = bert.max_length
    found = advised(bert, examples=200, lengths=TokenLengths(rows=200, lengths=[limit + 50] * 200))
    assert found.training["max_length"] == limit and f"{limit:,}" in reason_for(found, "max_length")
    assert any("will be cut" in warning for warning in found.warnings)


def test_other_scripts_than_latin_are_given_more_tokens() -> None:
    assert tokens_a_character(["plain English words"]) == pytest.approx(0.4)
    assert tokens_a_character(["日本語の文章"]) > tokens_a_character(["Русский текст"]) > 0.9
    assert tokens_a_character([]) == pytest.approx(0.4)


def test_methods_known_to_be_weak_here_are_named(bert: ModelShape) -> None:
    assert set(worst_choices("text_classification", bert, ["lora", "prompt_tuning"])) == {"prompt_tuning"}


def test_advice_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, engine.advise; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
