"""A prompt of a model that writes is downloaded as peft itself saves one, and answers alike without this project."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import made_adapters as made
import pytest
import torch

from engine import methods, models, tasks, tiny
from engine.export import plain
from engine.export.package import zip_adapter

IDS = [[3, 7, 11, 5], [9, 2, 4, 6]]
ALONE = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
found = []
for folder in sys.argv[2:]:
    base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder).eval()
    with torch.no_grad():
        found.append(model(input_ids=torch.tensor(json.loads(sys.stdin.readline()))).logits[:, -1].tolist())
assert "engine" not in sys.modules
print(json.dumps(found))
"""


def saved(base: Path, settings: dict[str, Any], folder: Path) -> torch.Tensor:
    """Save an adapter of random numbers; return what the model says after each of IDS."""
    torch.manual_seed(1)
    loaded = models.load(base, tasks.get(made.CHAT)(name=made.CHAT), [], dtype="fp32")
    method = methods.get(settings["name"]).model_validate(settings)
    model: Any = method.attach(loaded.model, loaded.shape, loaded.heads)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
        method.conclude(model)
        said = model.eval()(input_ids=torch.tensor(IDS)).logits[:, -1]
    method.save(model, folder)
    made.write_facts(folder, made.CHAT, [], {}, {"text": "text"}, base)
    return said


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_peft_alone_computes_the_same(architecture: str, tmp_path: Path) -> None:
    base = tiny.folder(architecture, tmp_path)
    expected, folders = [], []
    for number, settings in enumerate(({"name": "prompt_tuning", "length": 6, "init": "random"},
                                       {"name": "p_tuning", "template": "[P×3] {text}", "encoder": "mlp"})):
        folder = tmp_path / f"run{number}" / "adapter"
        expected.append(saved(base, settings, folder))
        packed = zip_adapter(folder.parent, tmp_path / f"{number}.zip", facts={"name": f"n{number}"})
        with zipfile.ZipFile(packed) as file:
            file.extractall(tmp_path)
        assert f"n{number}/{plain.FOLDER}" in (tmp_path / f"n{number}" / "README.md").read_text()
        folders.append(str(tmp_path / f"n{number}" / plain.FOLDER))
    done = subprocess.run([sys.executable, "-c", ALONE, str(base), *folders], input=f"{IDS}\n{IDS}\n",
                          capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for here, there in zip(expected, json.loads(done.stdout), strict=True):
        torch.testing.assert_close(torch.tensor(there), here, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("settings", "task"), [
    ({"name": "p_tuning", "template": "[P×3] {text} [P×2]", "encoder": "none"}, made.CHAT),
    ({"name": "p_tuning", "template": "Say [P×3] {text}", "encoder": "none"}, made.CHAT),
    ({"name": "lora"}, made.CHAT), ({"name": "prompt_tuning"}, made.CLASSIFY)])
def test_what_peft_would_compute_otherwise_is_not_offered(settings: dict[str, Any], task: str, tmp_path: Path) -> None:
    base = tiny.folder("llama", tmp_path)
    loaded = models.load(base, tasks.get(task)(name=task), ["a", "b"] if task == made.CLASSIFY else [], dtype="fp32")
    method = methods.get(settings["name"]).model_validate(settings)
    model = method.attach(loaded.model, loaded.shape, loaded.heads)
    if settings.get("template", "").startswith("Say"):
        method.begin(model, loaded.tokenizer, [])
    method.conclude(model)
    method.save(model, tmp_path / "adapter")
    assert not plain.possible(tmp_path / "adapter", task)
