"""The methods that peft carries, with the settings that change what they count, on each kind of tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from test_counts import LOADER, check, document, numbers_on_disk

from engine import breakdown, models, skeleton, spec, tiny
from engine.methods import _loftq, lokr
from engine.methods._peft import PeftMethod
from engine.methods.lora import Lora

CASES: dict[str, dict[str, Any]] = {
    "ia3": {"name": "ia3"}, "ia3 keys and values of the top block": {"name": "ia3", "where": "attention", "layers": 1},
    "adalora": {"name": "adalora", "init_r": 6, "r": 4},
    "vera": {"name": "vera", "r": 16}, "vera without its matrices": {"name": "vera", "r": 16, "save_projection": False},
    "loha": {"name": "loha", "r": 4}, "lokr": {"name": "lokr"},
    "lokr, both low-rank": {"name": "lokr", "r": 1, "both": True, "factor": 8},
    "lokr, uneven blocks": {"name": "lokr", "r": 2, "factor": 5},
    "oft": {"name": "oft"},
    "oft, shared and exact": {"name": "oft", "block_size": 4, "block_share": True, "exact": True},
    "oft, constrained": {"name": "oft", "coft": True, "eps": 1e-3},
    "boft": {"name": "boft"}, "boft of 8": {"name": "boft", "block_size": 8},
    "hra": {"name": "hra", "r": 4},
    "fourierft": {"name": "fourierft"},
    "fourierft from noise": {"name": "fourierft", "frequencies": 40, "init": "random", "scaling": 1.0},
    "c3a": {"name": "c3a"}, "c3a of 8 from noise": {"name": "c3a", "block_size": 8, "init": "xavier_uniform"},
    "miss": {"name": "miss", "r": 8}, "miss, bat": {"name": "miss", "r": 4, "variant": "bat"},
    "miss, mini": {"name": "miss", "r": 8, "variant": "mini", "mini_r": 8},
    "randlora": {"name": "randlora", "r": 12, "alpha": 240},
    "randlora, very sparse": {"name": "randlora", "r": 8, "sparse": "very sparse"},
    "shira": {"name": "shira", "r": 3},
    "gralora": {"name": "gralora", "r": 8}, "gralora, hybrid": {"name": "gralora", "r": 8, "k": 4, "hybrid_r": 2},
    "road": {"name": "road"}, "road of four": {"name": "road", "variant": "road_4", "group_size": 8},
    "vblora": {"name": "vblora", "num_vectors": 20}, "vblora, compact": {
        "name": "vblora", "num_vectors": 20, "vector_length": 8, "topk": 3, "compact": True},
    "delora": {"name": "delora", "r": 4}, "hira": {"name": "hira", "r": 4},
    "psoft": {"name": "psoft", "r": 8},
    "psoft, any matrix": {"name": "psoft", "r": 4, "orthogonal": False, "stretch": False},
    "waveft": {"name": "waveft"}, "waveft, smooth": {"name": "waveft", "coefficients": 60, "wavelet": "sym2"},
    "ln_tuning": {"name": "ln_tuning"}, "ln_tuning of the first block": {"name": "ln_tuning", "layers": [0]},
    "trainable_tokens": {"name": "trainable_tokens", "tokens": [17, 5, 9, 5]},
}
MODELS = {"bert": "text_classification", "distilbert": "text_classification", "gpt2": "causal_lm", "llama": "causal_lm"}
#: Methods that by their paper start away from the base, here only when asked to.
NOISY = {"fourierft from noise", "c3a of 8 from noise", "vblora", "vblora, compact"}
#: What cannot be trained on GPT-2, whose weights are stored transposed.
UPRIGHT = {"loha", "lokr", "oft", "boft", "hra", "c3a", "miss", "shira", "road", "delora", "psoft"}
IDS = torch.tensor([[5, 9, 17, 33, 60, 21]])


@dataclass
class Trial:
    """What became of a method that was trained a few updates on a tiny model."""

    base: Path
    labels: list[str]
    folder: Path
    start: float = 0.0
    losses: list[float] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    logits: list[float] = field(default_factory=list)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that trains a case on a model, once; None where the method refuses the model."""
    root = tmp_path_factory.mktemp("peft")

    @cache
    def trial(name: str, model: str) -> Trial | None:
        folder = root / model / name.replace(" ", "-").replace(",", "")
        return trained(spec.parse(document(MODELS[model], CASES[name])), tiny.folder(model, root), folder)

    return trial


def trained(run: Any, path: Path, folder: Path) -> Trial | None:
    method, shape = run.method, models.inspect(path)
    labels = ["a", "b", "c"] if run.task == "text_classification" else []
    if method.obstacles(shape.for_task(run.task), run.task, None):
        return None
    torch.manual_seed(0)
    loaded = models.load(path, run.make_task(), labels, shape=shape)
    loaded.model.config.pad_token_id = 0
    with torch.no_grad():
        base = loaded.model.eval()(input_ids=IDS).logits
    model = method.attach(loaded.model, loaded.shape, loaded.heads).eval()
    found = Trial(path, labels, folder)
    with torch.no_grad():
        found.start = float((model(input_ids=IDS).logits - base).abs().max())
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    fit(model, method, max(method.learning_rate(shape, run.task), 3e-3), labels, found.losses)
    found.changed = [name for name, p in model.named_parameters() if name in frozen and not p.equal(frozen[name])]
    with torch.no_grad():
        found.logits = model(input_ids=IDS).logits.flatten().tolist()
    method.save(model, folder)
    preview = breakdown.count(run, shape, len(labels))
    groups = method.groups(model, 1e-3, 0.0)
    found.counts = {"preview": preview.trained, "stored": preview.stored, "disk": numbers_on_disk(folder),
                    "real": sum(p.numel() for p in model.parameters() if p.requires_grad),
                    "optimizer": sum(p.numel() for group in groups for p in group["params"])}
    return found


def fit(model: Any, method: Any, rate: float, labels: list[str], losses: list[float]) -> None:
    """Make two updates towards one row's label, or its own next words, and note the loss before each and after."""
    optimizer = torch.optim.AdamW(method.groups(model, rate, 0.0))
    for step in range(3):
        logits = model(input_ids=IDS).logits
        wanted = (logits, torch.tensor([1])) if labels else (logits[0, :-1], IDS[0, 1:])
        loss = torch.nn.functional.cross_entropy(*wanted)
        losses.append(float(loss))
        if step < 2:
            extra = method.penalty(model)
            (loss if extra is None else loss + extra).backward()
            optimizer.step()
            optimizer.zero_grad()


#: Every case where its layers have a bias, are stored transposed, or share keys and values; the plain ones on a fourth.
TRIALS = [(name, model) for name in CASES for model in MODELS if model != "distilbert" or name == CASES[name]["name"]]
every_trial = pytest.mark.parametrize(("name", "model"), TRIALS)


@every_trial
def test_it_counts_right_starts_where_it_should_and_learns(trials: Any, name: str, model: str) -> None:
    trial = trials(name, model)
    if trial is None:
        upright = model == "gpt2" and CASES[name]["name"] in UPRIGHT
        assert upright or (name == "trainable_tokens" and MODELS[model] == "text_classification")
        return
    counts = trial.counts
    assert counts["preview"] == counts["real"] == counts["optimizer"]
    assert counts["stored"] == counts["disk"]
    assert (trial.start > 1e-5 or "vblora" in name) if name in NOISY else trial.start < 1e-5
    assert trial.changed == []
    assert trial.losses[2] < trial.losses[0]


#: Plain cases are merged into layers with a bias, transposed ones where they can be; the others on Llama.
MERGED = [(name, "llama" if name != CASES[name]["name"] or name == "trainable_tokens" else
           "bert" if name in UPRIGHT else "gpt2") for name in CASES]


@pytest.mark.parametrize(("name", "model"), MERGED)
def test_merging_changes_no_output(trials: Any, name: str, model: str) -> None:
    from peft import PeftModel

    trial = trials(name, model)
    assert trial is not None
    task = spec.parse(document(MODELS[model], CASES[name])).make_task()
    base = models.load(trial.base, task, trial.labels).model
    base.config.pad_token_id = 0
    merged = PeftModel.from_pretrained(base, str(trial.folder)).eval().merge_and_unload()
    assert not [name for name, _ in merged.named_parameters() if "base_layer" in name]
    with torch.no_grad():
        after = merged(input_ids=IDS).logits.flatten()
    assert after.tolist() == pytest.approx(trial.logits, abs=1e-5)


def test_plain_peft_in_a_fresh_process_gives_the_same_logits(trials: Any, tmp_path: Path) -> None:
    """Every case on Llama, and one of each method where a head is saved with it."""
    done = [trial for name, model in TRIALS if model == "llama" or (name == CASES[name]["name"] and model == "bert")
            if (trial := trials(name, model)) is not None]
    jobs = [(str(trial.folder), str(trial.base), len(trial.labels)) for trial in done]
    process = subprocess.run([sys.executable, "-W", "ignore", "-c", LOADER, json.dumps(jobs)], capture_output=True,
                             text=True, check=False, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    wrong = {trial.folder.name: off for trial in done if (off := max(
        abs(a - b) for a, b in zip(found[str(trial.folder)], trial.logits, strict=True))) > 2e-5}
    assert wrong == {}


@pytest.mark.parametrize("name", [name for name in CASES if name == CASES[name]["name"] != "trainable_tokens"])
def test_counts_on_a_real_encoder_are_exact(name: str, shared: Path, tmp_path: Path) -> None:
    check(shared / "models" / "bert-tiny", "text_classification", CASES[name], tmp_path / "out")


def test_seven_billion_parameters_count_as_published() -> None:
    from transformers import LlamaConfig

    shape = skeleton.shape_of(LlamaConfig())
    assert method({"name": "ia3"}).trainable(shape) == 614_400
    assert method({"name": "gralora", "r": 16}).trainable(shape) == 39_976_960
    assert method({"name": "adalora", "init_r": 12}).trainable(shape) == 12 * (39_976_960 // 16 + 32 * 7)
    assert method({"name": "vera", "targets": ["q", "v"]}).trainable(shape) == 64 * (4096 + 256)


def method(settings: dict[str, Any]) -> PeftMethod:
    return spec.parse(document("causal_lm", settings)).method  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize(("settings", "model", "quantization", "reason"), [
    ({"name": "oft"}, "gpt2", None, "stored transposed"),
    ({"name": "oft", "block_size": 3}, "llama", None, "blocks of 3 do not divide"),
    ({"name": "boft", "butterflies": 2}, "llama", None, "CUDA program"),
    ({"name": "c3a", "block_size": 32}, "llama", None, "do not divide"),
    ({"name": "road", "group_size": 64}, "llama", None, "groups of 64 do not divide"),
    ({"name": "miss", "r": 40}, "llama", None, "fewer than the 40 rows"),
    ({"name": "miss", "r": 5, "variant": "bat"}, "llama", None, "divisible by its rank 5"),
    ({"name": "miss", "r": 4, "variant": "mini", "mini_r": 3}, "llama", None, "3 columns do not divide"),
    ({"name": "shira", "r": 100}, "llama", None, "fewer than"),
    ({"name": "gralora", "r": 12, "k": 3}, "llama", None, "3 even parts"),
    ({"name": "vblora", "vector_length": 64}, "llama", None, "do not fill"),
    ({"name": "vblora", "num_vectors": 2, "topk": 3}, "llama", None, "cannot be mixed"),
    ({"name": "psoft", "r": 20}, "llama", None, "has 16 main directions"),
    ({"name": "lokr", "factor": 0}, "llama", None, "no blocks"),
    ({"name": "loha"}, "llama", "nf4", "4 bits (nf4)"), ({"name": "gralora"}, "llama", "int8", "8 bits (int8)"),
    ({"name": "trainable_tokens"}, "llama", None, "No token is chosen"),
    ({"name": "trainable_tokens", "tokens": [400]}, "llama", None, "no token 400"),
    ({"name": "ln_tuning", "layers": [7]}, "llama", None, "no block 7"),
    ({"name": "vera", "layers": 3}, "llama", None, "has 2 blocks, not 3"),
    ({"name": "lora", "init": "loftq"}, "llama", None, "stored in 4 bits (nf4)")])
def test_what_peft_cannot_do_is_refused_with_a_reason(settings: dict[str, Any], model: str, quantization: str | None,
                                                      reason: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    shape = models.inspect(tiny.folder(model, tmp_path_factory.getbasetemp() / "refused"))
    reasons = method(settings).obstacles(shape, "causal_lm", quantization)
    assert any(reason in found for found in reasons), reasons


@pytest.mark.parametrize(("size", "factor"), [(size, factor) for size in (1, 12, 30, 32, 48, 64, 127, 384, 11008)
                                              for factor in (-1, 1, 2, 4, 5, 16, 64)])
def test_sizes_are_cut_as_peft_cuts_them(size: int, factor: int) -> None:
    from peft.tuners.lokr.layer import factorization

    assert lokr.split(size, factor) == factorization(size, factor)


# -- quantized bases -----------------------------------------------------------------------------------------------


def quantized(tmp_path: Path, made: Any, quantization: str | None) -> Any:
    """Return a tiny classifier with `made` attached; the plain one has the quantized one's weights."""
    path = tiny.folder("bert", tmp_path)
    task = spec.parse(document("text_classification", {"name": "lora"})).make_task()
    torch.manual_seed(0)
    loaded = models.load(path, task, ["a", "b"], quantization=quantization)
    torch.manual_seed(1)
    return made.attach(loaded.model, loaded.shape, loaded.heads).eval()


FORMATS = [(name, quantization) for name, case in {"lora": {"name": "lora"}, **CASES}.items()
           if name == case["name"] for quantization in method(case).quantized]


@pytest.mark.parametrize(("name", "quantization"), FORMATS)
def test_gradients_on_a_quantized_base_point_where_those_of_the_base_do(name: str, quantization: str,
                                                                        tmp_path_factory: Any) -> None:
    pytest.importorskip("bitsandbytes")
    made = method(CASES.get(name, {"name": "lora"}))
    found: list[torch.Tensor] = []
    folder = tmp_path_factory.getbasetemp() / "refused"
    for storage in (quantization, None):
        model = quantized(folder, made, storage)
        torch.nn.functional.cross_entropy(model(input_ids=IDS).logits, torch.tensor([1])).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.cosine_similarity(found[0], found[1], dim=0) > (0.95 if quantization == "nf4" else 0.995)


def test_loftq_brings_every_layer_nearer_to_its_original(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from peft.tuners.lora.bnb import Linear4bit

    model = quantized(tmp_path, Lora(init="loftq", r=8), "nf4")
    originals = _loftq.Originals(tiny.folder("bert", tmp_path))
    layers = {name.removeprefix("base_model.model."): module for name, module in model.named_modules()
              if isinstance(module, Linear4bit)}
    assert len(layers) == 12
    for name, layer in layers.items():
        lost = _loftq.lost(layer.get_base_layer(), originals.weight(name))
        restored = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        sizes = torch.linalg.svdvals(lost)
        assert float((lost - restored).norm()) == pytest.approx(float(sizes[8:].norm()), rel=1e-3)


def test_loftq_names_a_layer_whose_original_is_not_there(tmp_path: Path) -> None:
    originals = _loftq.Originals(tiny.folder("bert", tmp_path))
    with pytest.raises(_loftq.OriginalMissing, match="nowhere"):
        originals.weight("bert.nowhere")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(before)
