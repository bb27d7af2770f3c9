"""Soft prompts are averaged and started from only where their virtual tokens stand alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_adapters as made
import pytest
import torch

from engine import compose, methods, models, parents, tasks, tiny, weights
from engine.errors import StudioError
from engine.methods import Method
from engine.recipe import Recipe

FIVE = {"name": "prompt_tuning", "length": 5}
AROUND = {"name": "p_tuning", "template": "[P×3] {text} [P×2] answer", "encoder": "none"}
BEFORE = {"name": "p_tuning", "template": "[P×5] {text}", "encoder": "none"}
DEEP = {"name": "p_tuning_v2", "length": 5}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder("bert", tmp_path_factory.mktemp("tiny"))


def method(settings: dict[str, Any]) -> Method:
    return methods.get(settings["name"]).model_validate(settings)


@pytest.fixture(scope="module")
def saved(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of adapters as a run saves them, untrained."""
    found: dict[str, Path] = {}
    cases = {"five": FIVE, "again": FIVE, "seven": FIVE | {"length": 7}, "around": AROUND, "before": BEFORE,
             "deep": DEEP, "lora": {"name": "lora"}}
    for name, settings in cases.items():
        torch.manual_seed(len(found))
        loaded = models.load(bert, tasks.get(made.CLASSIFY)(name=made.CLASSIFY), ["a", "b"], dtype="fp32")
        wrapped = method(settings).attach(loaded.model, loaded.shape, loaded.heads)
        method(settings).conclude(wrapped)
        found[name] = tmp_path_factory.mktemp(name)
        method(settings).save(wrapped, found[name])
        made.write_facts(found[name], made.CLASSIFY, ["a", "b"], {}, {"text": "text", "label": "label"}, bert)
    return found


@pytest.mark.parametrize("pair", [("five", "again"), ("five", "before")])
def test_prompts_before_the_text_are_averaged_whatever_learned_them(pair: tuple[str, str], saved: dict[str, Path],
                                                                      bert: Path, tmp_path: Path) -> None:
    made_ = compose.compose([saved[name] for name in pair], tmp_path / "mean", Recipe(how="average"), model_path=bert)
    assert (made_.folder / "adapter_model.safetensors").is_file()


def test_prompts_at_different_places_are_not_averaged(saved: dict[str, Path], bert: Path, tmp_path: Path) -> None:
    with pytest.raises(parents.DifferentPlaces) as caught:
        compose.compose([saved["five"], saved["around"]], tmp_path / "mean", Recipe(how="average"), model_path=bert)
    assert "[P] [P] [P] {text} [P] [P]" in caught.value.what


@pytest.mark.parametrize(("settings", "source", "kind"), [
    (FIVE, "five", ""), (FIVE, "before", ""), (FIVE, "around", "prompt_elsewhere"), (FIVE, "seven", "prompt_mismatch"),
    (FIVE, "lora", "not_a_prompt"), (FIVE, "deep", "not_a_prompt"), (DEEP, "deep", ""),
    (DEEP | {"length": 4}, "deep", "prefix_mismatch"), (DEEP, "five", "prefix_mismatch")])
def test_what_cannot_be_started_from_is_told_from_its_file_alone(settings: dict[str, Any], source: str, kind: str,
                                                                 saved: dict[str, Path], bert: Path) -> None:
    shape = models.inspect(bert).for_task(made.CLASSIFY)
    try:
        method(settings).check_source(saved[source], shape)
    except StudioError as problem:
        assert problem.kind == kind and "{" not in problem.what
    else:
        assert not kind


def test_a_damaged_source_is_told(saved: dict[str, Path], bert: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(weights.BrokenWeights, match="damaged"):
        method(FIVE).check_source(tmp_path, models.inspect(bert).for_task(made.CLASSIFY))
