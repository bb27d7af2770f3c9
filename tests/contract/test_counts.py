"""What the preview counts is what trains, what the optimizer holds and what lies on disk."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from engine import breakdown, methods, models, spec, tasks, tiny

ENCODERS = ["bert", "roberta", "electra", "albert", "mpnet", "distilbert", "deberta-v2", "modernbert"]
DECODERS = ["gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma", "mistral", "phi3", "opt", "bloom"]
METHODS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"}, "head": {"name": "head"}, "lora": {"name": "lora", "r": 4},
    "attention": {"name": "lora", "r": 2, "targets": "attention"},
    "mlp of the top block": {"name": "lora", "r": 2, "targets": "mlp", "layers": 1},
    "first block": {"name": "lora", "targets": ["o", "down"], "layers": [0]},
    "dora": {"name": "lora", "r": 4, "use_dora": True},
    "ranks by role": {"name": "lora", "r": 8, "use_rslora": True, "rank_pattern": {"mlp": 2, "down": 3},
                      "alpha_pattern": {"o": 4}, "lora_plus_ratio": 8},
    "eva": {"name": "lora", "r": 4, "init": "eva"},
    "pissa": {"name": "lora", "r": 4, "init": "pissa"}, "olora": {"name": "lora", "r": 4, "init": "olora"},
}


def document(task: str, method: dict[str, Any], model: str = "any") -> dict[str, Any]:
    return {"task": task, "model": {"id": model}, "data": {"train": "rows.csv"}, "method": method}


def numbers_on_disk(folder: Path) -> int:
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            total += sum(torch.Size(file.get_slice(name).get_shape()).numel() for name in file.keys())  # noqa: SIM118
    return total


def check(path: Path, task_name: str, method: dict[str, Any], out: Path) -> None:
    run = spec.parse(document(task_name, method))
    task = run.make_task()
    labels = ["a", "b", "c"] if task_name == "text_classification" else []
    shape = models.inspect(path)
    if task_name not in shape.task_heads:
        pytest.fail(f"{shape.model_type} should do {task_name}")
    if reasons := run.method.obstacles(shape, task_name, None):
        pytest.skip(reasons[0])
    preview = breakdown.of(run, shape, len(labels))
    torch.manual_seed(0)
    loaded = models.load(path, task, labels, shape=shape)
    model = run.method.attach(loaded.model, loaded.shape, loaded.heads)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    groups = run.method.groups(model, 1e-3, 0.0)
    optimizer = torch.optim.AdamW(groups)
    run.method.save(model, out)

    assert preview.parameters.trained == trained
    assert preview.parameters.trained == sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert preview.parameters.stored == numbers_on_disk(out)
    assert preview.parameters.total == sum(
        p.numel() for name, p in model.named_parameters() if ".original_module." not in name)
    assert preview.parameters.head == shape.head_parameters(task_name, len(labels))
    assert sum(cell.trained for cell in preview.cells) == trained
    assert sum(cell.total for cell in preview.cells) == preview.parameters.total
    assert preview.parameters.percent == pytest.approx(100 * trained / preview.parameters.total, abs=1e-4)
    if run.method.artifact == "adapter":
        size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
        assert abs(preview.adapter_bytes - size) <= 0.05 * size + 20_000


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "distilbert"])
def test_classification_counts_are_exact(name: str, method: dict[str, Any], tmp_path: Path) -> None:
    check(tiny.folder(name, tmp_path), "text_classification", method, tmp_path / "out")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_language_model_counts_are_exact(name: str, method: dict[str, Any], tmp_path: Path) -> None:
    check(tiny.folder(name, tmp_path), "causal_lm", method, tmp_path / "out")


@pytest.mark.parametrize("method", [METHODS["lora"], METHODS["full"]], ids=["lora", "full"])
@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS, "t5", "bart"])
def test_every_architecture_counts_exactly(name: str, method: dict[str, Any], tmp_path: Path) -> None:
    check(tiny.folder(name, tmp_path), "text_classification", method, tmp_path / "out")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_real_encoder_counts_are_exact(method: dict[str, Any], shared: Path, tmp_path: Path) -> None:
    check(shared / "models" / "bert-tiny", "text_classification", method, tmp_path / "out")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_real_decoder_counts_are_exact(method: dict[str, Any], shared: Path, tmp_path: Path) -> None:
    check(shared / "models" / "stories260k", "causal_lm", method, tmp_path / "out")


LOADER = """
import json, sys
from pathlib import Path
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
found = {}
for folder, base, labels in json.loads(sys.argv[1]):
    if labels:
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.config.pad_token_id = 0
    model = PeftModel.from_pretrained(model, folder).eval()
    ids = torch.tensor([[5, 9, 17, 33, 60, 21]])
    with torch.no_grad():
        found[folder] = model(input_ids=ids).logits.flatten().tolist()
    assert not any(name.split(".")[0] == "engine" for name in sys.modules)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_trained_adapter_gives_the_same_logits_in_plain_peft_in_a_fresh_process(tmp_path: Path) -> None:
    """Each adapter is trained a few steps away from its start, so that a lost matrix, head or scale shows."""
    wanted: dict[str, list[float]] = {}
    jobs: list[tuple[str, str, int]] = []
    chosen = ["lora", "dora", "ranks by role", "eva", "pissa", "olora", "first block"]
    cases = [("bert", name, 3) for name in chosen] + [("deberta-v2", "lora", 3), ("modernbert", "lora", 3)]
    cases += [("llama", name, 0) for name in chosen] + [("gpt2", "pissa", 0), ("gpt2", "lora", 2)]
    for number, (base, name, labels) in enumerate(cases):
        path, folder = tiny.folder(base, tmp_path), tmp_path / f"adapter-{number}"
        method = spec.parse(document("causal_lm", METHODS[name])).method
        task = tasks.get("text_classification" if labels else "causal_lm")
        torch.manual_seed(number)
        loaded = models.load(path, task(name=task.model_fields["name"].default), [str(i) for i in range(labels)])
        loaded.model.config.pad_token_id = 0
        model = method.attach(loaded.model, loaded.shape, loaded.heads).eval()
        ids = torch.arange(24).reshape(2, 12) + 5
        method.initialise(model, [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}])
        wanted[str(folder)] = trained_logits(model, method)
        method.save(model, folder)
        jobs.append((str(folder), str(path), labels))
    done = subprocess.run([sys.executable, "-c", LOADER, json.dumps(jobs)], capture_output=True, text=True,
                          check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for folder, logits in wanted.items():
        assert found[folder] == pytest.approx(logits, abs=2e-5), folder


def trained_logits(model: Any, method: methods.Method) -> list[float]:
    ids = torch.tensor([[5, 9, 17, 33, 60, 21]])
    optimizer = torch.optim.AdamW(method.groups(model, 1e-2, 0.0))
    with torch.no_grad():
        before = model(input_ids=ids).logits.flatten()
    for _ in range(3):
        model(input_ids=ids).logits.float().square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        after = model(input_ids=ids).logits.flatten()
    assert (after - before).abs().max() > 1e-2
    return after.tolist()


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
