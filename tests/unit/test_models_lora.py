"""LoRA: what may be chosen, what is refused, how it starts and how it is optimised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine import models, skeleton, spec, tasks, tiny
from engine.errors import SpecError
from engine.methods.lora import Lora
from engine.shape import ModelShape


def shape(name: str) -> ModelShape:
    return skeleton.shape_of(tiny.configuration(name))


def attached(name: str, folder: Path, method: Lora, labels: int = 2) -> Any:
    path = tiny.folder(name, folder)
    task = tasks.get("text_classification")(name="text_classification")
    torch.manual_seed(0)
    loaded = models.load(path, task, [str(i) for i in range(labels)])
    loaded.model.config.pad_token_id = 0
    return method.attach(loaded.model, loaded.shape, loaded.heads)


@pytest.mark.parametrize(("targets", "roles"), [
    ("all-linear", {"query", "key", "value", "output", "up", "down"}),
    ("attention", {"query", "key", "value", "output"}), ("mlp", {"up", "down"}), (["q", "v"], {"query", "value"}),
    (["key", "mlp"], {"key", "up", "down"}), (["intermediate.dense"], {"up"}), (["output.dense"], {"output", "down"})])
def test_targets_are_groups_roles_or_ends_of_names(targets: Any, roles: set[str]) -> None:
    assert {m.role for m in Lora(targets=targets).chosen(shape("bert"))} == roles


def test_fused_matrices_answer_to_the_roles_they_hold() -> None:
    assert {m.role for m in Lora(targets=["q"]).chosen(shape("gpt2"))} == {"qkv"}
    assert {m.role for m in Lora(targets=["gate"]).chosen(shape("phi3"))} == {"gate_up"}


@pytest.mark.parametrize(("layers", "expected"), [(None, {0, 1}), (1, {1}), (2, {0, 1}), ([0], {0})])
def test_layers_are_counted_from_the_top_or_listed(layers: Any, expected: set[int]) -> None:
    method = Lora(layers=layers)
    assert {m.layer for m in method.chosen(shape("bert"))} == expected
    assert method.first_trained_layer(shape("bert")) == min(expected)


def obstacle(method: Lora, name: str = "bert", quantization: str | None = None) -> str:
    return " ".join(method.obstacles(shape(name), "text_classification", quantization))


def test_what_cannot_work_is_said_before_anything_is_loaded() -> None:
    assert obstacle(Lora()) == ""
    assert "gate" in obstacle(Lora(targets=["gate"]))
    assert "no block 7" in obstacle(Lora(layers=[7]))
    assert "2 blocks, not 3" in obstacle(Lora(layers=3))
    assert "at most 32" in obstacle(Lora(init="pissa", r=64))
    assert "4 or 8 bits" in obstacle(Lora(init="olora"), quantization="nf4")
    assert "transposed" in obstacle(Lora(init="olora", r=2), "gpt2")


@pytest.mark.parametrize(("method", "part"), [
    ({"use_dora": True, "init": "pissa"}, "DoRA"), ({"targets": []}, "empty"), ({"targets": ["(a+)+$"]}, "letters"),
    ({"r": 0}, "method.r"), ({"targets": "everything"}, "method.targets"), ({"dropout": 1}, "method.dropout"),
    ({"rank_pattern": {"q": 0}}, "rank_pattern"), ({"layers": 0}, "method.layers")])
def test_impossible_settings_are_refused_by_field(method: dict[str, Any], part: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec.parse({"task": "text_classification", "model": {"id": "x"}, "data": {"train": "x"},
                    "method": {"name": "lora"} | method})
    assert part in caught.value.what + caught.value.where


def test_only_the_named_layers_are_wrapped_and_pipes_stay_out(tmp_path: Path) -> None:
    model = attached("bert", tmp_path, Lora(r=2, targets=["q", "down"], layers=1))
    wrapped = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    inside = "base_model.model.bert.encoder.layer.1."
    assert wrapped == {inside + "attention.self.query", inside + "output.dense"}


def test_rank_and_alpha_patterns_reach_each_layer(tmp_path: Path) -> None:
    model = attached("bert", tmp_path, Lora(r=8, alpha=16, rank_pattern={"mlp": 2, "down": 4}, alpha_pattern={"q": 4}))
    layer = model.base_model.model.bert.encoder.layer[0]
    assert layer.intermediate.dense.r["default"] == 2
    assert layer.output.dense.r["default"] == 4
    assert layer.attention.self.key.r["default"] == 8
    assert layer.attention.self.query.scaling["default"] == 4 / 8
    assert layer.attention.self.key.scaling["default"] == 16 / 8
    stable = attached("bert", tmp_path, Lora(r=4, alpha=16, use_rslora=True))
    assert stable.base_model.model.bert.encoder.layer[0].output.dense.scaling["default"] == 16 / 2


def test_lora_plus_lets_b_learn_faster(tmp_path: Path) -> None:
    method = Lora(r=2, lora_plus_ratio=16)
    model = attached("bert", tmp_path, method)
    slow, fast = method.groups(model, 1e-3, 0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    assert (slow["lr"], fast["lr"]) == (1e-3, pytest.approx(16e-3))
    assert all(".lora_B." in names[id(p)] for p in fast["params"])
    assert len(fast["params"]) == 12
    assert any("classifier" in names[id(p)] for p in slow["params"])
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(slow["params"]) + len(fast["params"]) == len(trained)
    assert len(Lora().groups(model, 1e-3, 0.0)) == 1


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 9, 17, 33]])).logits


@pytest.mark.parametrize("init", ["default", "gaussian", "pissa", "pissa_fast", "olora"])
def test_every_start_leaves_the_model_as_it_was(init: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = tasks.get("text_classification")(name="text_classification")
    base = logits(models.load(tiny.folder("bert", tmp_path), task, ["0", "1"]).model)
    assert torch.allclose(logits(attached("bert", tmp_path, Lora(r=4, init=init))), base, atol=1e-5)


def test_rewriting_starts_are_the_same_each_time_so_that_a_resumed_run_goes_on(tmp_path: Path) -> None:
    first, second = (attached("bert", tmp_path, Lora(r=4, init="pissa_fast")) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_eva_points_a_at_the_main_directions_of_the_data(tmp_path: Path) -> None:
    method = Lora(r=3, init="eva", targets=["q"], layers=[0])
    assert method.needs_data
    model = attached("bert", tmp_path, method)
    before = logits(model)
    torch.manual_seed(1)
    batches = [{"input_ids": torch.randint(5, 90, (4, 12)), "attention_mask": torch.ones(4, 12, dtype=torch.long),
                "labels": torch.zeros(4, dtype=torch.long)} for _ in range(6)]
    query = model.base_model.model.bert.encoder.layer[0].attention.self.query
    seen: list[torch.Tensor] = []
    hook = query.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().flatten(0, 1)))
    with torch.no_grad():
        for batch in batches:
            model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    hook.remove()
    rows = torch.cat(seen) - torch.cat(seen).mean(0)
    method.initialise(model, batches)
    a = query.lora_A["default"].weight.detach()
    assert torch.allclose(a @ a.T, torch.eye(3), atol=1e-4)
    held = (rows @ a.T).square().sum() / rows.square().sum()
    best = torch.linalg.svdvals(rows)[:3].square().sum() / rows.square().sum()
    assert held > 0.9 * best
    assert torch.allclose(logits(model), before)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 3 * 64 + 2 * 33
