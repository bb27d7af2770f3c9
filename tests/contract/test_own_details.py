"""Our own tuners against their papers: published counts, places in the model, formulas, and what they spare."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from torch.nn import functional as F

from engine import events as happened
from engine import models, precision, skeleton, tiny
from engine import spec as specs
from engine.methods import Method, get
from engine.shape import ModelShape
from engine.train import run

TEXT = "text_classification"
IDS = torch.tensor([[5, 9, 17, 33, 60, 21], [7, 13, 8, 11, 12, 9]])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Say nothing about small models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def shapes() -> dict[str, ModelShape]:
    """The real sizes of three base models."""
    from transformers import BertConfig, LlamaConfig, ViTConfig

    made = {"bert": BertConfig(), "llama": LlamaConfig(), "vit": ViTConfig()}
    return {name: skeleton.shape_of(config) for name, config in made.items()}


def method(**settings: Any) -> Method:
    return get(settings["name"]).model_validate(settings)


def load(architecture: str, folder: Path, **how: Any) -> models.Loaded:
    path = tiny.folder(architecture, folder)
    torch.manual_seed(0)
    task = specs.parse({"task": TEXT, "model": {"id": "any"}, "data": {"train": "rows.csv"},
                        "method": {"name": "full"}}).make_task()
    loaded = models.load(path, task, ["a", "b"], **how)
    loaded.model.config.pad_token_id = 0
    loaded.model.eval()
    return loaded


def attach(loaded: models.Loaded, chosen: Method) -> Any:
    return chosen.attach(loaded.model, loaded.shape, loaded.heads).eval()


def scatter(model: Any, scale: float = 0.5) -> None:
    """Move everything that learns away from its start."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += scale * torch.randn_like(parameter)


@pytest.mark.parametrize(("base", "settings", "count"), [
    # AdapterHub's counts for bert-base-uncased with reduction 16.
    ("bert", {"name": "adapter", "placement": "houlsby", "reduction": 16}, 1_789_056),
    ("bert", {"name": "adapter", "placement": "pfeiffer", "reduction": 16}, 894_528),
    # 0.09 % of BERT-base (Ben Zaken et al., 2022); as many weights for either control.
    ("bert", {"name": "bitfit"}, 102_912),
    ("bert", {"name": "bitfit", "control": "random_uniform"}, 102_912),
    ("bert", {"name": "bitfit", "control": "random_rows"}, 102_912),
    ("bert", {"name": "bitfit", "biases": "query"}, 12 * 768),
    ("bert", {"name": "bitfit", "biases": "intermediate"}, 12 * 3072),
    # 1.19 M for AdaptFormer-64 (Chen et al., 2022) and 0.21 M for SSF (Lian et al., 2022) on ViT-B/16.
    ("vit", {"name": "adaptformer", "size": 64}, 1_189_632), ("vit", {"name": "ssf"}, 205_824),
    ("llama", {"name": "adaptformer", "size": 8}, 32 * (2 * 4096 * 8 + 8 + 4096)),
    ("llama", {"name": "bitfit", "biases": "intermediate"}, 32 * 2 * 11_008),
    ("llama", {"name": "layers", "top": 1, "above": False}, 202_383_360)])
def test_counts_are_the_published_ones(base: str, settings: dict[str, Any], count: int,
                                       shapes: dict[str, ModelShape]) -> None:
    task = "image_classification" if base == "vit" else TEXT
    assert method(**settings).trainable(shapes[base].for_task(task)) == count


def test_diff_pruning_stores_place_and_value_of_half_a_percent(shapes: dict[str, ModelShape]) -> None:
    chosen, shape = method(name="diff_pruning"), shapes["bert"].for_task(TEXT)
    numbers = sum(m.parameters for m in shape.modules if m.kind in ("linear", "norm"))
    assert chosen.stored(shape) == 2 * round(0.005 * numbers)
    assert chosen.trainable(shape) == 2 * numbers + 2 * sum(m.kind in ("linear", "norm") for m in shape.modules)


def test_diff_pruning_changes_the_table_of_words_where_asked_for(shapes: dict[str, ModelShape]) -> None:
    chosen, shape = method(name="diff_pruning", embeddings=True), shapes["bert"].for_task(TEXT)
    numbers = sum(m.parameters for m in shape.modules if m.kind in ("linear", "norm")) + 30_522 * 768
    assert chosen.stored(shape) == 2 * round(0.005 * numbers)
    tied = shapes["llama"].model_copy(update={"tied_embeddings": True})
    assert "in two places" in " ".join(chosen.obstacles(tied.for_task("causal_lm"), "causal_lm", None))
    assert not chosen.obstacles(tied.for_task(TEXT), TEXT, None)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "modernbert", "phi3", "bloom"])
def test_of_query_key_and_value_in_one_matrix_the_query_alone_changes(
        architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches attention is caught on the way, at the first place, where rotary positions change nothing."""
    caught: list[tuple[torch.Tensor, ...]] = []

    def catch(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any,
              **kwargs: Any) -> tuple[torch.Tensor, None]:
        caught.append((query[:, :, 0], key[:, :, 0], value[:, :, 0]))
        return torch.zeros_like(query).transpose(1, 2).contiguous(), None

    loaded = load(architecture, tmp_path)
    if architecture == "bloom":
        kind = type(loaded.model.get_submodule("transformer.h.0.self_attention"))
        split = kind._reshape

        def look(self: Any, fused: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = split(self, fused)
            caught.append(tuple(part[:, :, 0].clone() for part in found))
            return tuple(torch.zeros_like(part) for part in found)

        monkeypatch.setattr(kind, "_reshape", look)
    else:
        from transformers import AttentionInterface

        AttentionInterface.register("test_catch", catch)
        loaded.model.set_attn_implementation("test_catch")
    model = attach(loaded, method(name="bitfit", biases="query"))
    with torch.no_grad():
        model(input_ids=IDS)
        for name, parameter in model.named_parameters():
            if ".bitfit_bias." in name:
                parameter += 1.0
        model(input_ids=IDS)
    half = len(caught) // 2
    for before, after in zip(caught[:half], caught[half:], strict=True):
        assert torch.allclose(after[0] - before[0], torch.ones_like(before[0]), atol=1e-5)
        assert torch.equal(before[1], after[1]) and torch.equal(before[2], after[2])


def test_where_the_query_lies_in_a_joint_matrix_nobody_knows_is_refused(shapes: dict[str, ModelShape]) -> None:
    shape = shapes["llama"]
    joint = [m.model_copy(update={"role": "qkv", "d_out": 3 * 4096}) if m.role == "query" else m
             for m in shape.modules if m.role not in ("key", "value")]
    strange = shape.model_copy(update={"modules": joint, "model_type": "unheard_of"})
    assert "not known which part" in method(name="bitfit", biases="query").obstacles(strange, TEXT, None)[0]
    assert method(name="bitfit").obstacles(strange, TEXT, None) == []


@pytest.mark.parametrize("control", ["random_uniform", "random_rows"])
def test_a_control_draws_the_same_weights_for_a_seed_and_whole_lines_where_it_says_so(
        control: str, tmp_path: Path) -> None:
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        model = attach(load("bert", tmp_path), method(name="bitfit", control=control, seed=seed))
        return {name: buffer for name, buffer in model.named_buffers() if "sparse_index" in name}

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(first[name], again[name]) for name in first) and first.keys() == again.keys()
    assert first.keys() != other.keys() or any(not torch.equal(first[name], other[name]) for name in first)
    assert all(len(index.unique()) == len(index) for index in first.values())
    if control == "random_rows":
        shapes = {name: m.weight.shape for name, m in load("bert", tmp_path).model.named_modules()
                  if isinstance(m, torch.nn.Linear)}
        cut = 0
        for name, index in first.items():
            shape = shapes[name.removeprefix("base_model.model.").partition(".sparse_index")[0]]
            mask = torch.zeros(shape.numel(), dtype=torch.bool)
            mask[index.long()] = True
            mask = mask.view(shape)
            lines = mask.all(1)[:, None] | mask.all(0)[None, :]
            cut += int((mask & ~lines).any())
        assert cut <= 1


def test_a_uniform_control_draws_from_the_whole_model_but_a_table_that_is_the_output_too(
        shapes: dict[str, ModelShape]) -> None:
    uniform = method(name="bitfit", control="random_uniform")
    shape = shapes["bert"].for_task(TEXT)
    found = {kind: sum(piece.trained for piece in uniform.pieces(shape) if piece.kind == kind)
             for kind in ("linear", "norm", "embedding")}
    sizes = {"linear": sum(m.parameters for m in shape.modules if m.kind == "linear" and m.role != "head"),
             "embedding": 30_522 * 768}
    share = found["embedding"] / sum(found.values())
    assert share == pytest.approx(sizes["embedding"] / sum(sizes.values()), abs=0.005) and found["norm"] > 0
    tied = shapes["llama"].for_task(TEXT).model_copy(update={"tied_embeddings": True})
    assert not any(p.kind == "embedding" for p in uniform.pieces(tied))


def test_adaptformer_adds_its_branch_beside_the_feed_forward_part(tmp_path: Path) -> None:
    loaded = load("bert", tmp_path)
    layer: Any = loaded.model.get_submodule("bert.encoder.layer.0")
    x = torch.randn(2, 5, 32)
    model = attach(loaded, method(name="adaptformer", size=4, scale=0.3, learned=True))
    scatter(model)
    inner, outer = layer.intermediate.dense, layer.output
    down, down_bias, up, up_bias, scale = (getattr(inner, f"adaptformer_{part}")["default"] for part in (
        "down", "down_bias", "up", "up_bias", "scale"))
    with torch.no_grad():
        branch = F.linear(F.relu(F.linear(x, down, down_bias)), up, up_bias) * scale
        wide = F.gelu(F.linear(x, inner.base_layer.weight, inner.base_layer.bias))
        narrow = F.linear(wide, outer.dense.base_layer.weight, outer.dense.base_layer.bias)
        assert torch.allclose(layer.feed_forward_chunk(x), outer.LayerNorm(narrow + branch + x), atol=1e-6)
        assert inner.beside is None
    copied = copy.deepcopy(model)
    pairs = [(m, m.partner[0]) for m in copied.modules() if hasattr(m, "partner")]
    own = {id(m) for m in copied.modules()}
    assert len(pairs) == 2 and all(id(partner) in own for _, partner in pairs)


def test_houlsby_adapters_come_before_the_residual_is_added(tmp_path: Path) -> None:
    loaded = load("bert", tmp_path)
    layer: Any = loaded.model.get_submodule("bert.encoder.layer.1")
    model = attach(loaded, method(name="adapter", size=3, activation="relu"))
    scatter(model)
    x, residual = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    own = layer.attention.output.dense
    with torch.no_grad():
        y = F.linear(x, own.base_layer.weight, own.base_layer.bias)
        inner = F.relu(F.linear(y, own.bottleneck_down["default"], own.bottleneck_down_bias["default"]))
        y = y + F.linear(inner, own.bottleneck_up["default"], own.bottleneck_up_bias["default"])
        wanted = layer.attention.output.LayerNorm(y + residual)
        assert torch.allclose(layer.attention.output(x, residual), wanted, atol=1e-6)
    places = {name.partition(".bottleneck_")[0].partition("encoder.layer.")[2] for name, _ in model.named_parameters()
              if ".bottleneck_" in name}
    assert places == {f"{block}.{part}" for block in (0, 1) for part in ("attention.output.dense", "output.dense")}


def test_gates_of_diff_pruning_are_drawn_once_an_update_and_cut_for_good(tmp_path: Path) -> None:
    from engine.tuners.diff_pruning import learning

    chosen = method(name="diff_pruning", density=0.02, settle=0.5, structured=True)
    model = attach(load("bert", tmp_path), chosen)
    scatter(model, 3.0)
    layers = [layer for _, layer in learning(model)]
    total = sum(layer.diff_gate["default"].numel() for layer in layers)
    chosen.before_update(model, 0, 4)
    drawn = [layer.delta("default", noisy=True).detach() for layer in layers]
    assert all(torch.equal(a, layer.delta("default", noisy=True)) for a, layer in zip(drawn, layers, strict=True))
    price = chosen.penalty(model)
    assert price is not None and 0 < float(price) <= 10.0
    chosen.before_update(model, 1, 4)
    assert any(not torch.equal(a, layer.delta("default", noisy=True)) for a, layer in zip(drawn, layers, strict=True))
    before = torch.cat([layer.delta("default").detach() for layer in layers])
    chosen.before_update(model, 2, 4)
    after = torch.cat([layer.delta("default", noisy=True).detach() for layer in layers])
    kept = after != 0
    assert int(kept.sum()) == round(0.02 * total) and chosen.penalty(model) is None
    assert torch.allclose(after[kept], before[kept]) and before[kept].abs().min() >= before[~kept].abs().max()
    assert chosen.conclude(model) is False
    assert model.peft_config["default"].kept == int(kept.sum()) and model.peft_config["default"].of == total
    assert not list(learning(model))


@pytest.mark.parametrize("settings", [
    {"name": "bitfit"}, {"name": "ssf", "noise": 0.1}, {"name": "adapter", "norms": True}, {"name": "diff_pruning"},
    {"name": "adaptformer", "size": 4, "learned": True}, {"name": "layers", "top": 1}])
def test_images_too(settings: dict[str, Any]) -> None:
    """A patch embedding is a convolution, whose scale and shift are merged as exactly as those of other layers."""
    from transformers import ViTForImageClassification

    config = tiny.configuration("vit")
    shape, chosen = skeleton.shape_of(config).for_task("image_classification"), method(**settings)
    assert chosen.obstacles(shape, "image_classification", None) == []
    torch.manual_seed(0)
    base = ViTForImageClassification(config).eval()
    x = torch.randn(2, 3, config.image_size, config.image_size)
    before = base(pixel_values=x).logits.detach()
    model: Any = chosen.attach(base, shape, ["classifier"]).eval()
    learn = [name for name, p in model.named_parameters() if p.requires_grad]
    head = sum(p.numel() for name, p in model.named_parameters() if name in learn and "classifier" in name)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) - head == chosen.trainable(shape)
    if settings["name"] == "ssf":
        assert any("patch_embeddings.projection" in name for name in learn)
    else:
        assert torch.equal(model(pixel_values=x).logits, before)
    scatter(model, 0.1)
    chosen.conclude(model)
    after = model(pixel_values=x).logits.detach()
    assert (after - before).abs().max() > 1e-2
    if chosen.card.mergeable and chosen.artifact == "adapter":
        assert torch.allclose(model.merge_and_unload()(pixel_values=x).logits, after, atol=2e-6)


@pytest.mark.parametrize("settings", [
    {"name": "bitfit"}, {"name": "ssf"}, {"name": "adapter", "norms": True}, {"name": "adaptformer", "size": 4}])
@pytest.mark.parametrize("storage", ["bf16", "nf4"])
def test_what_learns_is_fp32_on_a_base_in_fewer_bits(settings: dict[str, Any], storage: str, tmp_path: Path) -> None:
    if storage == "nf4":
        pytest.importorskip("bitsandbytes")
    chosen = method(**settings)
    assert chosen.obstacles(models.inspect(tiny.folder("bert", tmp_path)), TEXT, storage) == []
    loaded = load("bert", tmp_path, dtype="bf16", quantization="nf4" if storage == "nf4" else None)
    before = loaded.model(input_ids=IDS).logits.detach()
    model = attach(loaded, chosen)
    precision.keep_trained_in_fp32(model)
    assert torch.equal(model(input_ids=IDS).logits, before)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    precision.training_mode(model, loaded.model.base_model)
    loaded.model.dropout.p = 0.0
    optimizer = torch.optim.AdamW(chosen.groups(model, 3e-3, 0.0))
    losses: list[float] = []
    for _ in range(4):
        loss = F.cross_entropy(model(input_ids=IDS).logits.float(), torch.tensor([0, 1]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[3] < losses[0]
    if settings["name"] == "ssf" and storage == "nf4":
        with pytest.raises(ValueError, match="4 or 8 bits"):
            model.merge_adapter()


@pytest.mark.parametrize("settings", [{"name": "diff_pruning"}, {"name": "bitfit", "control": "random_rows"},
                                      {"name": "layers"}])
def test_single_weights_cannot_change_where_four_bits_hold_them(settings: dict[str, Any],
                                                                shapes: dict[str, ModelShape]) -> None:
    assert any("4 or 8 bits" in reason for reason in method(**settings).obstacles(shapes["bert"], TEXT, "nf4"))


@pytest.mark.parametrize(("settings", "below"), [
    ({"name": "layers", "top": 1}, 1), ({"name": "adapter", "layers": 1}, 1),
    ({"name": "adaptformer", "layers": 1, "size": 4}, 1), ({"name": "ssf"}, 0), ({"name": "diff_pruning"}, 0)])
def test_batches_stay_packed_and_frozen_blocks_run_once(settings: dict[str, Any], below: int, tmp_path: Path) -> None:
    told: list[str] = []
    packed: list[bool] = []

    def listen(event: happened.Event) -> None:
        if isinstance(event, happened.Logged):
            told.append(event.text)
        if isinstance(event, happened.RunPrepared):
            packed.append(event.resolved["packed"])

    plan = specs.parse({
        "task": TEXT, "model": {"id": str(tiny.folder("bert", tmp_path))}, "method": settings,
        "data": {"train": str(toys.texts(tmp_path, 48))},
        "training": {"epochs": 3, "batch_size": 16, "max_length": 64, "eval_every": "never", "precision": "fp32"}})
    assert run(plan, tmp_path / "out", on_event=listen)["state"] == "succeeded"
    assert packed == [True]
    once = [text for text in told if "computed once" in text]
    assert once == ([] if not below else [text for text in once if text.startswith(f"The {below} frozen")])
    assert bool(once) == bool(below)
