"""What a run saves is loaded by peft or transformers alone, in a process that never heard of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toys

from engine import finish, models
from engine.attention import set_layout
from engine.train import run

pytestmark = pytest.mark.shared

ALONE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from peft import PeftModel
texts, found = json.loads(sys.argv[1]), []
for base, folder, task in json.loads(sys.argv[2]):
    chat = task == "causal_lm"
    labels = json.load(open(folder + "/studio.json"))["labels"]
    Auto = AutoModelForCausalLM if chat else AutoModelForSequenceClassification
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if folder.endswith("adapter"):
        extra = {} if chat else {"num_labels": len(labels)}
        model = PeftModel.from_pretrained(Auto.from_pretrained(base, dtype=torch.float32, **extra), folder)
    else:
        model = Auto.from_pretrained(folder, dtype=torch.float32)
        assert chat or list(model.config.id2label.values()) == labels
    model.eval()
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits.flatten()[:40] for text in texts]
    found.append(torch.cat(rows).tolist())
assert not [name for name in sys.modules if name.split(".")[0] in ("engine", "studio", "worker", "db")]
print(json.dumps(found))
"""
TEXTS = ["the film was lovely", "what a terrible thing thing thing"]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("texts", {"name": "lora"}), ("texts", {"name": "lora", "use_dora": True, "lora_plus_ratio": 4}),
    ("texts", {"name": "full"}), ("texts", {"name": "head"}), ("talks", {"name": "lora", "r": 4}),
    ("talks", {"name": "full"})]


@torch.no_grad()
def logits_here(attempt: Any) -> torch.Tensor:
    """Return the first logits of the model that was just trained."""
    model = attempt.parts.model.eval()
    set_layout(None)
    rows = [torch.tensor([attempt.loaded.tokenizer(text)["input_ids"]]) for text in TEXTS]
    return torch.cat([model(input_ids=ids).logits.flatten()[:40].float() for ids in rows])


def test_saved_results_give_the_same_logits_in_a_process_without_us(
        shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    save = finish.save

    def remember(attempt: Any) -> int:
        seen.append(logits_here(attempt))
        return save(attempt)

    monkeypatch.setattr(finish, "save", remember)
    data = {"texts": toys.texts(tmp_path), "talks": toys.talks(tmp_path)}
    asked = []
    for i, (kind, method) in enumerate(CASES):
        plan = toys.spec(shared, data[kind], method, precision="fp32", epochs=1)
        assert run(plan, tmp_path / str(i))["state"] == "succeeded"
        folder = next(tmp_path / str(i) / name for name in ("adapter", "model") if (tmp_path / str(i) / name).exists())
        asked.append((plan.model.id, str(folder), plan.task))
    done = subprocess.run([sys.executable, "-c", ALONE, json.dumps(TEXTS), json.dumps(asked)], capture_output=True,
                          text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    for (kind, method), there, here in zip(CASES, json.loads(done.stdout.splitlines()[-1]), seen, strict=True):
        assert torch.allclose(torch.tensor(there), here, atol=1e-4), (kind, method)


def test_labels_columns_and_chat_template_travel_with_the_adapter(shared: Path, tmp_path: Path) -> None:
    run(toys.spec(shared, toys.texts(tmp_path), epochs=1), tmp_path / "a")
    facts = json.loads((tmp_path / "a" / "adapter" / "studio.json").read_text(encoding="utf-8"))
    assert facts["labels"] == ["bad", "good"] and facts["columns"] == {"text": "text", "label": "label"}
    config = json.loads((tmp_path / "a" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == str(shared / "models" / "bert-tiny")
    run(toys.spec(shared, toys.talks(tmp_path), epochs=1), tmp_path / "b")
    tokenizer = models.tokenizer_of(tmp_path / "b" / "adapter")
    talk = [{"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True).endswith("Assistant: ")


def test_the_frozen_part_of_a_saved_model_keeps_its_stored_weights(shared: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run(toys.spec(shared, toys.texts(tmp_path), {"name": "head"}, epochs=1, precision="bf16"), tmp_path / "out")
    saved = load_file(tmp_path / "out" / "model" / "model.safetensors")
    stored = load_file(shared / "models" / "bert-tiny" / "model.safetensors")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(saved[name].float(), stored[name].float())
