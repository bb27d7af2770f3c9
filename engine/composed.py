"""A composed adapter as it is written: a standard peft directory whose layers all have a scale of 1."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.parents import Parent
from engine.recipe import Recipe

if TYPE_CHECKING:
    import torch

#: Files of the first adapter that are written anew or belong to it alone.
OWN_FILES = ("adapter_config.json", "adapter_model.safetensors", "studio.json", "README.md")
#: Settings of a LoRA configuration that tell how training began or which layers it chose; they mean nothing here.
FORGOTTEN = ("exclude_modules", "layers_to_transform", "layers_pattern", "eva_config", "corda_config", "lora_ga_config",
             "velora_config")


@dataclass
class Composed:
    """A composed adapter. `comparison` holds {name, kind (part, mean, composed), weight, metrics}, in that order.

    `tries` is what LoraHub tried; `notes` are sentences on what was decided; `parameters` are counts of numbers.
    """

    folder: Path
    weights: list[float]
    rank: int
    bytes: int
    sha256: str
    labels: list[str]
    parameters: dict[str, int]
    notes: list[str] = field(default_factory=list[str])
    metrics: dict[str, float | None] = field(default_factory=dict[str, Any])
    comparison: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def save(parents: Sequence[Parent], tensors: dict[str, torch.Tensor], ranks: dict[str, int], weights: list[float],
          recipe: Recipe, folder: Path) -> Composed:
    """Write weights, configuration, studio.json and the first adapter's tokenizer; `folder` appears when complete."""
    from safetensors.torch import save_file

    from engine import environment

    first = parents[0]
    partial = folder.with_name(f".tmp-write-{folder.name}-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in first.trained.folder.iterdir():
        if path.is_file() and path.name not in OWN_FILES:
            shutil.copy2(path, partial / path.name)
    save_file(tensors, partial / "adapter_model.safetensors", metadata={"format": "pt"})
    _dump(_config(parents, ranks), partial / "adapter_config.json")
    _dump(_facts(parents, weights, recipe), partial / "studio.json")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    file = folder / "adapter_model.safetensors"
    head = sum(tensors[key].numel() for key in first.heads)
    return Composed(folder, weights, max(ranks.values(), default=0), file.stat().st_size,
                    environment.sha256(file), list(first.trained.labels),
                    {"stored": sum(tensor.numel() for tensor in tensors.values()), "head": head},
                    notes=_notes(parents, recipe, bool(head)))


def _config(parents: Sequence[Parent], ranks: dict[str, int]) -> dict[str, Any]:
    """Return the adapter's configuration: the first one's, with exactly the combined layers and a scale of 1 for each.

    Every rank has an alpha equal to it. Starts, dropout and choices of layers of the parents no longer mean anything.
    """
    config = dict(parents[0].config)
    if not ranks:
        return config
    usual = Counter(ranks.values()).most_common(1)[0][0]
    other = {re.escape(module): rank for module, rank in sorted(ranks.items()) if rank != usual}
    return config | {
        "r": usual, "lora_alpha": usual, "rank_pattern": other, "alpha_pattern": dict(other), "use_rslora": False,
        "target_modules": sorted(ranks), "init_lora_weights": True, "lora_dropout": 0.0, "inference_mode": True,
        } | {name: None for name in FORGOTTEN if name in config}


def _facts(parents: Sequence[Parent], weights: list[float], recipe: Recipe) -> dict[str, Any]:
    """Return studio.json: the first adapter's, and what this one was made of."""
    trained = parents[0].trained
    bases = {parent.trained.quantization for parent in parents}
    lengths = [parent.trained.max_length for parent in parents if parent.trained.max_length]
    known = trained.model_dump(mode="json", exclude={"folder", "kind"})
    alike = all(parent.trained.steps == trained.steps for parent in parents)
    return known | {"artifact": "adapter", "quantization": trained.quantization if len(bases) == 1 else None,
                    "steps": trained.steps if alike else [],
                    "max_length": max(lengths, default=None),
                    "composed": {"recipe": recipe.model_dump(mode="json"), "weights": weights,
                                 "parents": [parent.name for parent in parents]}}


def _notes(parents: Sequence[Parent], recipe: Recipe, has_head: bool) -> list[str]:
    notes: list[str] = []
    if has_head:
        notes.append({"average": "Its head is the plain mean of the adapters' heads.",
                      "weighted": "Its head is the sum of the adapters' heads with the same weights.",
                      "first": f"Its head is that of {parents[0].name}."}[recipe.head_mix])
    if len({parent.trained.quantization for parent in parents}) > 1:
        notes.append("The adapters were trained on the base in different precisions; the result is meant for the full "
                     "one.")
    if len({_template(parent.trained.folder) for parent in parents}) > 1:
        notes.append(f"The adapters' chat formats differ; that of {parents[0].name} is used.")
    return notes


def _template(folder: Path) -> str:
    path = folder / "chat_template.jinja"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _dump(value: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
