"""Soft prompts and prefixes on every architecture: counts, starts, what is saved, what peft does."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from prompted import IDS, METHODS, Made, inputs
from test_counts import document, numbers_on_disk

from engine import breakdown, models, spec, tasks
from engine.methods import _prompt

ENCODERS = ["bert", "roberta", "distilbert", "deberta-v2", "modernbert", "albert", "electra", "mpnet"]
DECODERS = ["gpt2", "llama", "qwen3", "gemma", "opt", "bloom", "phi3"]
PLACES = [*((name, "text_classification") for name in (*ENCODERS, *DECODERS, "t5", "bart")),
          *((name, "causal_lm") for name in DECODERS), ("bert", "token_classification"),
          ("electra", "question_answering"), ("t5", "seq2seq"), ("bart", "seq2seq")]
EVERYWHERE = ("prefix", "v2", "prompt", "lstm")
CELLS = [(*place, method) for place in PLACES for method in METHODS
         if method in EVERYWHERE or place in (PLACES[0], ("llama", "causal_lm"), ("t5", "seq2seq"))]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(("name", "task", "method"), CELLS, ids=[" ".join(cell) for cell in CELLS])
def test_counts_shapes_and_gradients_are_right(name: str, task: str, method: str, root: Path, tmp_path: Path) -> None:
    made = Made(root, name, task, METHODS[method])
    parameters = breakdown.of(made.run, made.shape, len(made.labels)).parameters
    learned = {key: p for key, p in made.model.named_parameters() if p.requires_grad}
    assert parameters.trained == sum(p.numel() for p in learned.values())
    held = [p for group in made.method.groups(made.model, 1e-3, 0.0) for p in group["params"]]
    assert parameters.trained == sum(p.numel() for p in held)
    outputs = made.outputs()
    outputs.square().sum().backward()
    assert not [key for key, p in learned.items() if p.grad is None or not p.grad.any()]
    with made.model.disable_adapter(), torch.no_grad():
        plain = made.outputs()
    assert outputs.shape == plain.shape
    assert not torch.allclose(outputs, plain)
    assert not made.method.conclude(made.model)
    with torch.no_grad():
        assert torch.allclose(made.outputs(), outputs, atol=1e-5)
    made.method.save(made.model, tmp_path / "out")
    assert parameters.stored == numbers_on_disk(tmp_path / "out")


def test_published_counts_hold_for_a_model_of_seven_billion() -> None:
    from transformers import LlamaConfig

    from engine.skeleton import shape_of

    shape = shape_of(LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, vocab_size=32000,
                                 num_attention_heads=32))
    made = {name: spec.parse(document("causal_lm", method)).method for name, method in {
        "prefix": {"name": "prefix_tuning", "length": 30, "hidden": 512}, "v2": {"name": "p_tuning_v2", "length": 30},
        "prompt": {"name": "prompt_tuning", "length": 100},
        "mlp": {"name": "p_tuning", "template": "[P×20] {text}", "encoder": "mlp", "hidden": 128}}.items()}
    assert made["v2"].trainable(shape) == made["v2"].stored(shape) == made["prefix"].stored(shape) == 7_864_320
    assert made["prompt"].trainable(shape) == 409_600
    n, d, h, layers = 30, 4096, 512, 32
    assert made["prefix"].trainable(shape) == n * d + (d * h + h) + (2 * layers * d * h + 2 * layers * d)
    n, h = 20, 128
    assert made["mlp"].trainable(shape) == n * d + (d * h + h) + (h * h + h) + (h * d + d)


FRESH = """
import json, sys, torch
import engine.tuners
from engine import attention
from peft import PeftModel
import transformers
found = {}
for name, base, folder, auto, labels, given in json.loads(sys.argv[1]):
    extra = {"num_labels": labels} if labels else {}
    model = getattr(transformers, auto).from_pretrained(base, dtype=torch.float32, **extra)
    model.config.eos_token_id = 3
    model.config.pad_token_id = 0
    model = PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        found[name] = model(**{key: torch.tensor(value) for key, value in given.items()})[0].flatten().tolist()
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_fresh_process_loads_what_was_saved(root: Path, tmp_path: Path) -> None:
    wanted: dict[str, list[float]] = {}
    jobs: list[Any] = []
    for name, task in (("bert", "text_classification"), ("electra", "text_classification"), ("llama", "causal_lm"),
                       ("opt", "causal_lm"), ("bart", "seq2seq"), ("t5", "seq2seq")):
        for kind in ("prefix", "prompt", "lstm"):
            made = Made(root, name, task, METHODS[kind])
            made.stir()
            made.method.conclude(made.model)
            made.loaded.model.config.pad_token_id = 0
            with torch.no_grad():
                key = f"{name} {task} {kind}"
                wanted[key] = made.model(**inputs(task))[0].flatten().tolist()
            made.method.save(made.model, tmp_path / key)
            given = {name: value.tolist() for name, value in inputs(task).items()}
            auto = tasks.get(task)(name=task).auto_class().__name__
            jobs.append((key, str(made.path), str(tmp_path / key), auto, len(made.labels), given))
    done = subprocess.run([sys.executable, "-c", FRESH, json.dumps(jobs)], capture_output=True, text=True,
                          cwd=toys.ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for key, logits in wanted.items():
        assert found[key] == pytest.approx(logits, abs=2e-5), key


@pytest.mark.parametrize(("name", "task"), [("bert", "text_classification"), ("gpt2", "causal_lm"),
                                            ("llama", "causal_lm")])
def test_a_prefix_is_that_of_peft_once_positions_are_shifted(name: str, task: str, root: Path) -> None:
    from peft import PrefixTuningConfig, get_peft_model

    count = 4
    made = Made(root, name, task, {"name": "p_tuning_v2", "length": count, "init": "random"})
    made.stir()
    torch.manual_seed(0)
    base = models.load(made.path, made.run.make_task(), made.labels, shape=made.shape).model
    kind = "CAUSAL_LM" if task == "causal_lm" else "SEQ_CLS"
    theirs: Any = get_peft_model(base, PrefixTuningConfig(task_type=kind, num_virtual_tokens=count)).eval()
    layers = made.model.base_model.layers()
    # peft's table holds key and value of each layer in turn, for each virtual token.
    rows = torch.cat([states["default"] for layer in layers for states in (layer.prefix_key, layer.prefix_value)], 1)
    theirs.prompt_encoder["default"].embedding.weight.data = rows.detach().clone()
    for mine, other in zip(made.loaded.heads, made.loaded.heads, strict=True):
        state = made.model.get_submodule(f"base_model.model.{mine}").modules_to_save["default"].state_dict()
        theirs.base_model.get_submodule(other).modules_to_save["default"].load_state_dict(state)
    ids = IDS[:1]
    shifted = torch.arange(count, count + ids.shape[1])[None]
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        found = made.model(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=shifted).logits
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS, "gemma2", "gemma3_text"])
def test_a_prompt_started_from_words_is_read_as_these_words(name: str, root: Path) -> None:
    """The scale of embeddings, positions, kinds of token and masks are those of a text that begins with the words."""
    made = Made(root, name, "text_classification",
                {"name": "prompt_tuning", "length": 4, "init": "text", "text": "word"})
    words = torch.tensor([made.loaded.tokenizer.convert_tokens_to_ids(list("word"))]).expand(2, -1)
    base = made.loaded.model.base_model
    with torch.no_grad():
        found = base(**inputs(made.task)).last_hidden_state
        _prompt.layer(made.model).enable_adapters(False)
        whole = base(**inputs(made.task, torch.cat([words, IDS], dim=1))).last_hidden_state[:, 4:]
    assert torch.allclose(found[IDS != 0], whole[IDS != 0], atol=1e-5)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_an_encoder_reads_a_prompt_as_the_words_it_started_from(name: str, root: Path) -> None:
    made = Made(root, name, "seq2seq", {"name": "prompt_tuning", "length": 4, "init": "text", "text": "word"})
    words = torch.tensor([made.loaded.tokenizer.convert_tokens_to_ids(list("word"))]).expand(2, -1)
    longer = inputs("seq2seq", torch.cat([words, IDS], dim=1)) | {"decoder_input_ids": IDS}
    with torch.no_grad():
        found = made.outputs()
        _prompt.layer(made.model).enable_adapters(False)
        assert torch.allclose(found, made.model(**longer).logits, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "bloom"])
def test_prefixes_start_as_what_words_are_to_each_layer(name: str, root: Path) -> None:
    made = Made(root, name, "causal_lm", METHODS["v2"] | {"init": "vocabulary"})
    drawn: list[torch.Tensor] = []
    hook = made.loaded.model.get_input_embeddings().register_forward_hook(lambda _, args, __: drawn.append(args[0]))
    made.method.begin(made.model, made.loaded.tokenizer, [])
    hook.remove()
    ids = IDS[:1]
    with torch.no_grad():
        found = made.model(input_ids=ids, position_ids=torch.arange(4, 4 + ids.shape[1])[None]).logits
        with made.model.disable_adapter():
            whole = made.model(input_ids=torch.cat([drawn[-1], ids], dim=1)).logits[:, 4:]
    assert torch.allclose(found, whole, atol=1e-5)
