"""A merged model is a plain model that answers as base and adapter did together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import made_adapters as made
import pytest

from engine import adapter
from engine.errors import Cancelled, NotEnough
from engine.merge import NotMergeable, merge

LABELS = ["a", "b", "c"]
TEXT = "Once upon a time there was a little dog"
FRESH = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
found = {}
for name, auto in (("lm", AutoModelForCausalLM), ("cls", AutoModelForSequenceClassification)):
    model, info = auto.from_pretrained(f"{sys.argv[1]}/{name}", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    tokenizer = AutoTokenizer.from_pretrained(f"{sys.argv[1]}/{name}")
    with torch.no_grad():
        logits = model.eval()(**tokenizer(sys.argv[2], return_tensors="pt", return_token_type_ids=False)).logits
    found[name] = {"logits": logits.flatten().tolist(), "template": tokenizer.chat_template,
                   "labels": model.config.id2label, "dtype": str(model.dtype)}
assert "peft" not in sys.modules and "engine" not in sys.modules
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def bert(shared: Path) -> Path:
    return shared / "models" / "bert-tiny"


@pytest.fixture(scope="module")
def stories(shared: Path) -> Path:
    return shared / "models" / "stories260k"


def logits_of(model: Any, tokenizer: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model.eval()(**tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False)).logits.flatten()


def loaded(folder: Path, task_name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    auto = AutoModelForCausalLM if task_name == made.CHAT else AutoModelForSequenceClassification
    return auto.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def difference(adapter_dir: Path, base: Path, merged: Path, task_name: str, labels: list[str] | None = None) -> float:
    """Return the largest difference in logits, relative to the largest logit where that is above one."""
    expected = logits_of(*made.plain(adapter_dir, base, task_name, labels))
    return float((logits_of(*loaded(merged, task_name)) - expected).abs().max() / expected.abs().max().clamp(min=1))


def test_merged_models_load_in_a_process_without_peft_and_answer_alike(bert: Path, stories: Path,
                                                                       tmp_path: Path) -> None:
    lm = made.make(tmp_path / "lm-adapter", stories, made.CHAT, template="{{ messages[0]['content'] }}")
    cls = made.make(tmp_path / "cls-adapter", bert, made.CLASSIFY, LABELS)
    seen: list[float] = []
    merge(lm, stories, tmp_path / "merged" / "lm", task_name=made.CHAT, dtype="float32", progress=seen.append)
    merge(cls, bert, tmp_path / "merged" / "cls", task_name=made.CLASSIFY, dtype="float32")
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 1 and len(seen) > 10
    out = subprocess.run([sys.executable, "-c", FRESH, str(tmp_path / "merged"), TEXT], capture_output=True, text=True,
                         check=False, env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}, cwd=tmp_path)
    assert out.returncode == 0, out.stderr[-2000:]
    found = json.loads(out.stdout.splitlines()[-1])
    for name, folder, base, labels in (("lm", lm, stories, None), ("cls", cls, bert, LABELS)):
        task_name = made.CHAT if name == "lm" else made.CLASSIFY
        expected = logits_of(*made.plain(folder, base, task_name, labels)).tolist()
        # Rounding in fp32 grows with the logits, which reach 12 here.
        assert found[name]["logits"] == pytest.approx(expected, abs=1e-5 * max(1, *map(abs, expected)), rel=0)
    assert found["lm"]["template"] == "{{ messages[0]['content'] }}"
    assert found["cls"]["labels"] == {"0": "a", "1": "b", "2": "c"}
    assert found["lm"]["dtype"] == found["cls"]["dtype"] == "torch.float32"
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == ["cls", "lm"]
    assert (tmp_path / "merged" / "lm" / "generation_config.json").is_file()
    assert list((tmp_path / "merged").rglob("*.bin")) == []


@pytest.mark.parametrize("kind", ["dora", "rslora", "patterns", "ia3", "pissa", "head in half precision"])
def test_each_kind_of_adapter_merges_exactly(kind: str, bert: Path, tmp_path: Path) -> None:
    from peft import IA3Config, LoraConfig

    targets = made.TARGETS[made.CLASSIFY]
    config = {
        "dora": LoraConfig(r=4, use_dora=True, target_modules=targets),
        "rslora": LoraConfig(r=8, use_rslora=True, target_modules=targets),
        "patterns": LoraConfig(r=4, target_modules=targets, rank_pattern={"query": 2}, alpha_pattern={"value": 32}),
        "ia3": IA3Config(target_modules=["value", "intermediate.dense"], feedforward_modules=["intermediate.dense"]),
        "pissa": LoraConfig(r=2, init_lora_weights="pissa", target_modules=targets),
    }.get(kind)
    folder = made.make(tmp_path / "adapter", bert, made.CLASSIFY, LABELS, config=config)
    half = kind == "head in half precision"
    merge(folder, bert, tmp_path / "out", task_name=made.CLASSIFY, dtype=None if half else "float32")
    assert difference(folder, bert, tmp_path / "out", made.CLASSIFY, LABELS) < (0.02 if half else 1e-5)
    if half:
        # The base is stored in float16, and so is what is merged into it.
        assert adapter.weights.tensors(tmp_path / "out")["classifier.weight"].dtype == "F16"


def test_an_adapter_on_tied_embeddings_merges_into_untied_ones(stories: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    config = LoraConfig(r=4, target_modules=["q_proj", "lm_head"])
    folder = made.make(tmp_path / "adapter", stories, made.CHAT, config=config)
    merge(folder, stories, tmp_path / "out", task_name=made.CHAT)
    assert difference(folder, stories, tmp_path / "out", made.CHAT) < 1e-5
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantized_base_is_merged_dequantized(quantization: str, stories: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    import torch
    from peft import PeftModel

    from engine import models, tasks

    folder = made.make(tmp_path / "adapter", stories, made.CHAT)
    merge(folder, stories, tmp_path / "out", task_name=made.CHAT, quantization=quantization)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    assert {tensor.dtype for tensor in adapter.weights.tensors(tmp_path / "out").values()} == {"F32"}
    base = models.load(stories, tasks.get(made.CHAT)(), [], dtype="fp32", quantization=quantization)
    expected = logits_of(PeftModel.from_pretrained(base.model, str(folder)), base.tokenizer)
    found = logits_of(*loaded(tmp_path / "out", made.CHAT))
    error = float((found - expected).norm() / expected.norm())
    assert error < 0.02
    full = logits_of(*made.plain(folder, stories, made.CHAT))
    assert float((found - full).norm()) > 0
    assert torch.isfinite(found).all()


def test_stopping_or_a_full_disk_leaves_nothing_behind(stories: Path, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made.make(tmp_path / "adapter", stories, made.CHAT)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Cancelled):
        merge(folder, stories, tmp_path / "out" / "merged", task_name=made.CHAT, cancelled=cancelled)
    assert not (tmp_path / "out" / "merged").exists()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
        with pytest.raises(NotEnough) as caught:
            merge(folder, stories, tmp_path / "out" / "merged", task_name=made.CHAT)
    assert "disk space" in caught.value.what
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("case", ["soft prompt", "whole model", "not empty", "dtype"])
def test_what_cannot_be_merged_is_refused_with_the_reason(case: str, stories: Path, tmp_path: Path) -> None:
    from peft import PromptTuningConfig

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2) if case == "soft prompt" else None
    folder = stories if case == "whole model" else made.make(tmp_path / "adapter", stories, made.CHAT, config=config)
    if case == "not empty":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "precious.txt").write_text("mine")
    with pytest.raises(NotMergeable) as caught:
        merge(folder, stories, tmp_path / "out", task_name=made.CHAT, dtype="int3" if case == "dtype" else None)
    assert {"soft prompt": "soft prompt", "whole model": "already", "not empty": "not empty",
            "dtype": "int3"}[case] in caught.value.what
    assert case != "not empty" or (tmp_path / "out" / "precious.txt").read_text() == "mine"
