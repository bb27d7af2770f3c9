"""Adapters with random weights in the layout a run leaves behind, made with peft alone in a moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSIFY, CHAT = "text_classification", "causal_lm"
TARGETS = {CLASSIFY: ["query", "value", "intermediate.dense"], CHAT: ["q_proj", "v_proj", "down_proj"]}


def make(folder: Path, base: Path, task_name: str, labels: list[str] | None = None, *, seed: int = 0,
         config: Any = None, options: dict[str, Any] | None = None, columns: dict[str, str] | None = None,
         template: str | None = None, max_length: int = 64, base_path_in_config: str | None = None) -> Path:
    """Save an adapter (our LoRA unless `config` says else) on the model in `base` to `folder`, with random weights."""
    import torch
    from peft import get_peft_model

    from engine import methods, models, tasks

    torch.manual_seed(seed)
    task = tasks.get(task_name)(**(options or {}))
    loaded = models.load(base, task, labels or [], dtype="fp32")
    method: Any = methods.get("lora")(r=4, alpha=8)
    if config is None:
        model: Any = method.attach(loaded.model, loaded.shape, loaded.heads)
    else:
        config.modules_to_save = loaded.heads or None
        model = get_peft_model(loaded.model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "magnitude" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    if base_path_in_config:
        model.active_peft_config.base_model_name_or_path = base_path_in_config
    method.save(model, folder)
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    if template:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(str(folder))
    write_facts(folder, task_name, labels or [], options or {}, columns or {}, base, max_length)
    return folder


def write_facts(folder: Path, task_name: str, labels: list[str], options: dict[str, Any], columns: dict[str, str],
                base: Path, max_length: int = 64) -> None:
    """Write studio.json."""
    facts = {"task": task_name, "labels": labels, "options": options, "columns": columns,
             "model_id": str(base), "revision": None, "quantization": None, "dtype": "float32", "method": "lora",
             "max_length": max_length}
    (folder / "studio.json").write_text(json.dumps(facts), encoding="utf-8")


def plain(folder: Path, base: Path, task_name: str, labels: list[str] | None = None) -> tuple[Any, Any]:
    """Return the adapter's model and tokenizer loaded as anybody would: transformers and peft, nothing of ours."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    if task_name == CHAT:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=len(labels or []), dtype=torch.float32, ignore_mismatched_sizes=True)
    return PeftModel.from_pretrained(model, str(folder)).eval(), AutoTokenizer.from_pretrained(folder)
