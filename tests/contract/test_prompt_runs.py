"""Whole runs of soft prompts and prefixes: packed or padded, resumed, started from others, asked in the playground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toys
from test_methods import stop_at, weights

from engine import events, generate, tiny
from engine import spec as specs
from engine.predict import Player
from engine.train import Sources, run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("prompts")
    return {name: tiny.folder(name, root) for name in ("bert", "llama")} | {
        "texts": toys.texts(root, 48), "talks": toys.talks(root, 16)}


def plan(folders: dict[str, Path], method: dict[str, Any], *, talks: bool = False, **training: Any) -> specs.RunSpec:
    model, task, data = ("llama", "causal_lm", "talks") if talks else ("bert", "text_classification", "texts")
    return specs.parse({
        "task": task, "model": {"id": str(folders[model])}, "data": {"train": str(folders[data])}, "method": method,
        "training": {"max_steps": 4, "batch_size": 8, "max_length": 64, "seed": 5, "precision": "fp32",
                     "eval_every": "never"} | training})


def prepared(spec: specs.RunSpec, out: Path, **more: Any) -> events.RunPrepared:
    """Carry a run out; return what it said before its first update."""
    found: list[events.RunPrepared] = []
    done = run(spec, out, on_event=lambda e: found.append(e) if isinstance(e, events.RunPrepared) else None, **more)
    assert done["state"] == "succeeded", done
    return found[0]


@pytest.mark.parametrize("talks", [False, True], ids=["texts", "talks"])
@pytest.mark.parametrize(("method", "packed"), [
    ({"name": "prefix_tuning", "hidden": 8}, True), ({"name": "p_tuning_v2", "length": 4}, True),
    ({"name": "prefix_tuning", "hidden": 8, "place": "infix"}, True), ({"name": "prompt_tuning", "length": 4}, False)],
    ids=["prefix", "v2", "infix", "prompt"])
def test_prefixes_keep_rows_packed_and_prompts_pad_them(talks: bool, method: dict[str, Any], packed: bool,
                                                        folders: dict[str, Path], tmp_path: Path) -> None:
    if method.get("place") == "infix" and not talks:
        pytest.skip("an infix needs an answer to stand in front of")
    assert prepared(plan(folders, method, talks=talks), tmp_path / "out").resolved["packed"] == packed


@pytest.mark.parametrize("method", [
    {"name": "p_tuning", "encoder": "mlp", "hidden": 8, "template": "[P×2] so {text} [P] it is"},
    {"name": "p_tuning", "encoder": "lstm", "hidden": 4}, {"name": "p_tuning_v2", "reparameterize": True, "hidden": 8},
    {"name": "prompt_tuning", "length": 3, "ensemble": 3, "combine": "vote"}], ids=["mlp", "lstm", "v2", "ensemble"])
def test_resumed_it_ends_with_the_same_bytes(method: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    spec = plan(folders, method, checkpoint_every=2)
    run(spec, tmp_path / "whole")
    assert run(spec, tmp_path / "broken", on_event=stop_at(2))["state"] == "interrupted"
    assert run(spec, tmp_path / "broken")["state"] == "succeeded"
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_long_texts_leave_room_for_the_prompt(folders: dict[str, Path], tmp_path: Path) -> None:
    spec = plan(folders, {"name": "prompt_tuning", "length": 100}, max_length=128)
    assert prepared(spec, tmp_path / "out").resolved["max_length"] == 28
    with pytest.raises(specs.SpecError, match="128 places"):
        run(plan(folders, {"name": "prompt_tuning", "length": 128}), tmp_path / "none")


@pytest.mark.parametrize("method", [{"name": "prompt_tuning", "length": 3}, {"name": "p_tuning_v2", "length": 3}],
                         ids=["prompt_tuning", "p_tuning_v2"])
def test_a_run_goes_on_from_a_source_wherever_that_lies(method: dict[str, Any], folders: dict[str, Path],
                                                        tmp_path: Path) -> None:
    still = {"learning_rate": 1e-9, "max_steps": 1}
    run(plan(folders, method, learning_rate=1e-2), tmp_path / "source")
    source = tmp_path / "source" / "adapter"
    run(plan(folders, method | {"start_from": str(source)}, **still), tmp_path / "by path")
    run(plan(folders, method | {"start_from": "ad_elsewhere"}, **still), tmp_path / "by name",
        sources=Sources(start=source))
    run(plan(folders, method, **still), tmp_path / "anew")
    values = {name: _prompts(tmp_path / name) for name in ("source", "by path", "by name", "anew")}
    for key, value in values["source"].items():
        assert value == pytest.approx(values["by path"][key], abs=1e-6)
        assert value == pytest.approx(values["by name"][key], abs=1e-6)
        assert value != pytest.approx(values["anew"][key], abs=1e-3)


def _prompts(out: Path) -> dict[str, list[float]]:
    from safetensors.torch import load_file

    return {key: value.flatten().tolist() for key, value in load_file(out / "adapter/adapter_model.safetensors").items()
            if "prompt" in key or "prefix" in key}


def test_the_playground_asks_them_side_by_side(folders: dict[str, Path], tmp_path: Path) -> None:
    """Adapters of every kind share one base; what they say is what they say alone."""
    made = {"prompt": {"name": "prompt_tuning", "length": 3}, "prefix": {"name": "prefix_tuning", "hidden": 8},
            "ensemble": {"name": "prompt_tuning", "length": 2, "ensemble": 2, "combine": "vote"},
            "template": {"name": "p_tuning", "hidden": 4, "template": "[P] {text} [P] is"}}
    rows = [{"text": "a really great thing"}, {"text": "what a terrible bore of a thing this is"}]
    player = Player(folders["bert"], "text_classification", dtype="fp32")
    for name, method in made.items():
        run(plan(folders, method, learning_rate=0.05), tmp_path / name)
        player.attach(name, tmp_path / name / "adapter")
    together = player.respond(list(made), rows)
    for name, answers in zip(made, together, strict=True):
        alone = Player(folders["bert"], "text_classification", dtype="fp32")
        alone.attach(name, tmp_path / name / "adapter")
        (others,) = alone.respond([name], rows)
        for reply, other in zip(answers["replies"], others["replies"], strict=True):
            assert reply["scores"] == pytest.approx(other["scores"], abs=1e-5)
            assert sum(reply["scores"].values()) == pytest.approx(1)


@pytest.mark.parametrize("method", [{"name": "prompt_tuning", "length": 60}, {"name": "prefix_tuning", "hidden": 8}],
                         ids=["prompt", "prefix"])
def test_a_chat_ends_where_the_places_left_by_the_prompt_end(method: dict[str, Any], folders: dict[str, Path],
                                                             tmp_path: Path) -> None:
    run(plan(folders, method, talks=True), tmp_path / "out")
    player = Player(folders["llama"], "causal_lm", dtype="fp32")
    player.attach("one", tmp_path / "out" / "adapter")
    player.tokenizer.eos_token = player._members["one"].tokenizer.eos_token = "[MASK]"
    asked = [{"role": "user", "content": "Hi"}]
    answer = player.chat("one", asked, max_new_tokens=500)
    room = 128 - (60 if method["name"] == "prompt_tuning" else 0)
    prompt = generate.prompt(player._members["one"].tokenizer, asked)
    assert answer["stopped"] == "length"
    assert answer["tokens"] == room - len(prompt.ids)
