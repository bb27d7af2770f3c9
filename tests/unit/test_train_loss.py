"""Packing, micro-batches and fused layers change how a loss is computed, never what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import attention, flat, fused, heads, methods, models, precision
from engine.tasks.causal_lm import CausalLM
from engine.tasks.text_classification import TextClassification

pytestmark = pytest.mark.shared

RANDOM = np.random.default_rng(5)
LENGTHS = (40, 5, 23, 23, 61, 3, 17, 30)


def texts() -> list[dict[str, Any]]:
    return [{"input_ids": RANDOM.integers(1000, 20000, n).astype(np.int32), "token_type_ids": np.zeros(n, np.int32),
             "labels": int(i % 3)} for i, n in enumerate(LENGTHS)]


def stories() -> list[dict[str, Any]]:
    rows = []
    for n in LENGTHS:
        ids = RANDOM.integers(3, 500, n).astype(np.int32)
        labels = ids.copy()
        labels[:n // 3] = -100
        rows.append({"input_ids": ids, "labels": labels})
    return rows


def with_lora(model: Any, shape: Any, heads: list[str]) -> torch.nn.Module:
    made = methods.get("lora")(dropout=0.0).attach(model, shape, heads)
    for name, parameter in made.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return made.eval()


@pytest.fixture
def classifier(shared: Path) -> tuple[torch.nn.Module, Any]:
    torch.manual_seed(0)
    loaded = models.load(shared / "models" / "bert-tiny", TextClassification(), ["a", "b", "c"], dtype="fp32")
    return with_lora(loaded.model, loaded.shape, loaded.heads), loaded.model


@pytest.fixture
def storyteller(shared: Path) -> tuple[torch.nn.Module, Any]:
    torch.manual_seed(0)
    loaded = models.load(shared / "models" / "stories260k", CausalLM(), [], dtype="fp32")
    return with_lora(loaded.model, loaded.shape, loaded.heads), loaded.model


def gradient(model: torch.nn.Module) -> torch.Tensor:
    trained = [p for p in model.parameters() if p.requires_grad]
    found = torch.cat([p.grad.flatten() for p in trained])
    for p in trained:
        p.grad = None
    return found


def test_packed_language_rows_lose_what_they_lose_alone(storyteller: tuple[torch.nn.Module, Any]) -> None:
    model, inner = storyteller
    task, rows = CausalLM(), stories()
    alone = [task.loss(model, task.collate([row], 0)).detach() for row in rows]
    padded = task.loss(model, task.collate(rows, 0))
    padded.backward()
    expected = gradient(model)
    assert flat.make_flat(model, inner, task, rows[:3], 0)
    packed = task.loss(model, task.collate(rows, 0, packed=True))
    packed.backward()
    targets = sum(task.targets(row) for row in rows)
    assert abs(packed.item() - sum(alone).item()) / targets < 1e-5
    assert abs(packed.item() - padded.item()) / targets < 1e-5
    assert torch.allclose(gradient(model), expected, rtol=1e-3, atol=1e-4)


def test_packed_rows_do_not_see_each_other(storyteller: tuple[torch.nn.Module, Any]) -> None:
    model, inner = storyteller
    task, rows = CausalLM(), stories()
    assert flat.make_flat(model, inner, task, rows[:3], 0)
    before = task.probe(model, task.collate(rows, 0, packed=True)).detach()
    changed = [*rows[:-1], rows[-1] | {"input_ids": rows[-1]["input_ids"][::-1].copy()}]
    after = task.probe(model, task.collate(changed, 0, packed=True)).detach()
    assert torch.allclose(before[:-1], after[:-1], atol=1e-6)
    assert not torch.allclose(before[-1], after[-1], atol=1e-2)


@pytest.mark.parametrize("kernel", [0, 4096])
def test_packed_texts_get_the_logits_and_gradients_of_padded_ones(
        classifier: tuple[torch.nn.Module, Any], kernel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "EAGER_BF16", kernel)
    model, inner = classifier
    task, rows = TextClassification(), texts()
    padded = task.logits(model, task.collate(rows, 0)).detach()
    task.loss(model, task.collate(rows, 0)).backward()
    expected = gradient(model)
    assert flat.make_flat(model, inner, task, rows[:3], 0)
    assert torch.allclose(task.logits(model, task.collate(rows, 0, packed=True)), padded, atol=1e-5)
    task.loss(model, task.collate(rows, 0, packed=True)).backward()
    assert torch.allclose(gradient(model), expected, atol=1e-5)


def test_behind_the_last_attention_only_first_tokens_are_computed(classifier: tuple[torch.nn.Module, Any]) -> None:
    model, inner = classifier
    task, rows, seen = TextClassification(), texts(), []
    made = flat.make_flat(model, inner, task, rows[:3], 0)
    assert made is not None and made.first_only
    for block in made.blocks:
        block.output.dense.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    batch = task.collate(rows, 0, packed=True)
    task.logits(model, batch)
    assert seen == [batch["layout"].tokens] * (len(made.blocks) - 1) + [len(rows)]
    attention.set_layout(None)
    task.logits(model, task.collate(rows, 0))
    assert len(set(seen[len(made.blocks):])) == 1


def test_plain_products_attend_as_sdpa_does() -> None:
    query, key, value = torch.randn(2, 4, 9, 8), torch.randn(2, 2, 9, 8), torch.randn(2, 2, 9, 8)
    ours = attention._eager(query, key, value, attention._triangle(9, query), None, 0.0)
    theirs = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_sliding_window_hides_what_lies_before_it() -> None:
    query, key, value = (torch.randn(1, 2, 12, 8) for _ in range(3))
    attention.set_layout(None)
    found, _ = attention.packed(torch.nn.Identity(), query, key, value, None, sliding_window=4)
    gap = torch.arange(12)[:, None] - torch.arange(12)[None, :]
    mask = (gap >= 0) & (gap < 4)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert torch.allclose(found, expected.transpose(1, 2), atol=1e-5)


def test_packed_attention_refuses_what_it_cannot_do() -> None:
    tensors = [torch.randn(1, 2, 4, 8)] * 3
    for extra in ({"softcap": 30.0}, {"s_aux": torch.ones(2)}, {"attention_mask": torch.ones(1, 1, 4, 4)}):
        with pytest.raises(ValueError, match="packed attention"):
            attention.packed(torch.nn.Identity(), *tensors, **({"attention_mask": None} | extra))


def test_micro_batches_add_up_to_the_gradient_of_the_whole_update(classifier: tuple[torch.nn.Module, Any]) -> None:
    model, _ = classifier
    task, rows = TextClassification(), texts()
    logits = task.logits(model, task.collate(rows, 0))
    torch.nn.functional.cross_entropy(logits, torch.tensor([row["labels"] for row in rows])).backward()
    expected = gradient(model)
    for part in (rows[:3], rows[3:4], rows[4:]):
        (task.loss(model, task.collate(part, 0)) / len(rows)).backward()
    assert torch.allclose(gradient(model), expected, atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_lora_in_one_step_equals_peft(shared: Path, dropout: float) -> None:
    torch.manual_seed(0)
    task = TextClassification()
    loaded = models.load(shared / "models" / "bert-tiny", task, ["a", "b", "c"], dtype="fp32")
    model = methods.get("lora")(dropout=dropout, r=4).attach(loaded.model, loaded.shape, loaded.heads)
    precision.training_mode(model, loaded.model.base_model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.02)
    batch = task.collate(texts(), 0)

    def measured() -> tuple[float, torch.Tensor]:
        torch.manual_seed(9)
        loss = task.loss(model, batch)
        loss.backward()
        return loss.item(), gradient(model)

    theirs, expected = measured()
    assert fused.fuse(model) == 12
    ours, found = measured()
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert expected.abs().max() > 1e-3


def test_lora_layers_with_extras_are_left_to_peft(shared: Path) -> None:
    loaded = models.load(shared / "models" / "bert-tiny", TextClassification(), ["a", "b"], dtype="fp32")
    assert fused.fuse(methods.get("lora")(use_dora=True).attach(loaded.model, loaded.shape, loaded.heads)) == 0


def test_only_what_is_trained_and_the_head_keep_their_dropout(shared: Path) -> None:
    loaded = models.load(shared / "models" / "bert-tiny", TextClassification(), ["a", "b"], dtype="fp32")
    model = methods.get("lora")(dropout=0.1).attach(loaded.model, loaded.shape, loaded.heads)
    precision.training_mode(model, loaded.model.base_model)
    active = {name for name, module in model.named_modules()
              if isinstance(module, torch.nn.Dropout) and module.training}
    assert any("lora_dropout" in name for name in active)
    assert any(name.endswith("model.dropout") for name in active)
    assert not any("attention.output.dropout" in name or "embeddings" in name for name in active)


def test_no_gradient_is_computed_below_the_first_trained_layer(shared: Path) -> None:
    loaded = models.load(shared / "models" / "bert-tiny", TextClassification(), ["a", "b", "c"], dtype="fp32")
    model = methods.get("lora")(layers=1).attach(loaded.model, loaded.shape, loaded.heads)
    below = {}
    lower, upper = loaded.model.base_model.encoder.layer
    lower.register_forward_hook(lambda m, i, o: below.update(lower=(o[0] if isinstance(o, tuple) else o).requires_grad))
    upper.register_forward_hook(lambda m, i, o: below.update(upper=(o[0] if isinstance(o, tuple) else o).requires_grad))
    task = TextClassification()
    task.loss(model, task.collate(texts(), 0)).backward()
    assert below == {"lower": False, "upper": True}


def test_a_head_in_fp32_works_on_a_base_in_bf16(shared: Path) -> None:
    task = TextClassification()
    loaded = models.load(shared / "models" / "bert-tiny", task, ["a", "b", "c"], dtype=torch.bfloat16)
    model = methods.get("lora")().attach(loaded.model, loaded.shape, loaded.heads)
    precision.keep_trained_in_fp32(model)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    task.loss(model, task.collate(texts(), 0)).backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("asked", "whole", "name", "base", "autocast"), [
    ("fp32", False, "fp32", torch.float32, None), ("bf16", False, "bf16", torch.bfloat16, None),
    ("bf16", True, "bf16", torch.float32, torch.bfloat16), ("fp16", False, "fp32", torch.float32, None)])
def test_precision_is_what_was_asked_for_where_it_makes_sense(
        asked: Any, whole: bool, name: str, base: torch.dtype, autocast: torch.dtype | None) -> None:
    formats = precision.choose(asked, "cpu", whole=whole)
    assert (formats.name, formats.base, formats.autocast) == (name, base, autocast)


@pytest.mark.parametrize(("features", "name"), [
    ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({}, "fp32")])
def test_automatic_precision_follows_what_the_processor_has(
        features: dict[str, bool], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    every = {"avx512_bf16": False, "amx_bf16": False} | features
    monkeypatch.setattr(precision, "cpu_features", lambda: every)
    assert precision.choose("auto", "cpu", whole=False).name == name


@pytest.mark.parametrize("trained", ["lora", "full"])
def test_the_loss_without_kept_scores_has_the_same_value_and_gradients(
        shared: Path, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_BYTES", 4 * 512 * 30)
    task, rows = CausalLM(), stories()
    loaded = models.load(shared / "models" / "stories260k", task, [], dtype="fp32")
    model = with_lora(loaded.model, loaded.shape, []) if trained == "lora" else methods.get("full")().attach(
        loaded.model, loaded.shape, [])
    batch = task.collate(rows, 0)
    usual = task.loss(model, batch)
    (usual / 7).backward()
    expected = gradient(model)
    task.prepare_model(model, batch)
    assert model.studio_head is not None
    fast = task.loss(model, batch)
    (fast / 7).backward()
    assert fast.item() == pytest.approx(usual.item(), rel=1e-5)
    assert torch.allclose(gradient(model), expected, rtol=1e-3, atol=1e-5)


def test_the_loss_of_each_token_is_the_same_when_scores_are_made_a_chunk_at_a_time(
        storyteller: tuple[torch.nn.Module, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_BYTES", 4 * 512 * 7)
    model, _ = storyteller
    task, batch = CausalLM(), CausalLM().collate(stories(), 0)
    with torch.inference_mode():
        usual, places = task.token_losses(model, batch)
        task.prepare_model(model, batch)
        assert model.studio_head is not None
        chunked, same_places = task.token_losses(model, batch)
    assert len(usual) > 7 * 3 and torch.equal(places, same_places)
    assert torch.allclose(chunked, usual, atol=1e-5)


def test_a_model_that_changes_its_scores_keeps_its_own_loss(storyteller: tuple[torch.nn.Module, Any]) -> None:
    model, inner = storyteller
    inner.lm_head.register_forward_hook(lambda module, inputs, output: 30 * torch.tanh(output / 30) / 2)
    task = CausalLM()
    task.prepare_model(model, task.collate(stories(), 0))
    assert model.studio_head is None
