"""A soft prompt of a model that writes, as peft itself saves one: nothing of this project is needed to load it."""

from __future__ import annotations

import json
from pathlib import Path

#: The folder inside a download that holds it.
FOLDER = "plain-peft"
#: What stands for a virtual token among the places around a text.
VIRTUAL = -1


def possible(folder: Path, task: str) -> bool:
    """Return whether peft's own prompt tuning computes the same: one prompt, all of it in front, and no head.

    Where a head reads a pooled token or single tokens, peft lets the virtual tokens take part in that; ours do not.
    """
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    before = config.get("before") or []
    return (task == "causal_lm" and config.get("peft_type") == "PROMPT" and bool(before)
            and all(place == VIRTUAL for place in before) and not config.get("after") and config.get("members") == 1)


def files(folder: Path, base: str, revision: str | None) -> dict[str, bytes]:
    """Return the members of a download by their places in it: configuration and prompt in peft's format."""
    from safetensors.numpy import load_file, save

    saved = load_file(folder / "adapter_model.safetensors")
    prompt = next(value for name, value in saved.items() if name.rpartition(".")[2] == "prompt_tokens")
    prompt = prompt.reshape(-1, prompt.shape[-1])
    config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": len(prompt),
              "token_dim": prompt.shape[1], "num_transformer_submodules": 1, "prompt_tuning_init": "RANDOM",
              "base_model_name_or_path": base, "revision": revision, "inference_mode": True}
    return {f"{FOLDER}/adapter_config.json": json.dumps(config, indent=2).encode() + b"\n",
            f"{FOLDER}/adapter_model.safetensors": save({"prompt_embeddings": prompt})}
