"""Tiny models with soft prompts or prefixes attached, and what they are asked."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from test_counts import document

from engine import models, spec, tiny
from engine.shape import ModelShape

METHODS: dict[str, dict[str, Any]] = {
    "prefix": {"name": "prefix_tuning", "length": 3, "hidden": 6},
    "embedding only": {"name": "prefix_tuning", "length": 3, "place": "embedding"},
    "v2": {"name": "p_tuning_v2", "length": 4}, "prompt": {"name": "prompt_tuning", "length": 3},
    "lstm": {"name": "p_tuning", "template": "[P×3] it is {text}", "hidden": 5},
    "mlp": {"name": "p_tuning", "template": "[P] say [P×2] {text}", "encoder": "mlp", "hidden": 5}}
LABELS = ["bad", "good", "odd"]
#: Two rows of different lengths, both ended by the end token of the tiny models.
IDS = torch.tensor([[5, 9, 17, 33, 60, 21, 3], [5, 9, 17, 3, 0, 0, 0]])


def inputs(task: str, ids: torch.Tensor = IDS) -> dict[str, torch.Tensor]:
    found = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    return found | ({"decoder_input_ids": ids} if task == "seq2seq" else {})


@cache
def shape_of(path: Path) -> ModelShape:
    return models.inspect(path)


class Made:
    """A tiny model with a method attached, started as a run starts it."""

    def __init__(self, root: Path, name: str, task: str, method: dict[str, Any], source: Path | None = None) -> None:
        self.path = tiny.folder(name, root)
        self.run = spec.parse(document(task, method))
        self.method, self.task = self.run.method, task
        self.shape = shape_of(self.path)
        reasons = self.method.obstacles(self.shape.for_task(task), task, None)
        if reasons:
            pytest.skip(reasons[0])
        self.labels = LABELS if "classification" in task else []
        torch.manual_seed(0)
        self.loaded = models.load(self.path, self.run.make_task(), self.labels, shape=self.shape)
        self.loaded.model.config.eos_token_id = 3
        self.model: Any = self.method.attach(self.loaded.model, self.loaded.shape, self.loaded.heads)
        self.method.begin(self.model, self.loaded.tokenizer, self.labels, source)
        self.model.eval()

    def outputs(self, **more: torch.Tensor) -> torch.Tensor:
        found = self.model(**(inputs(self.task) | more))
        if hasattr(found, "start_logits"):
            return torch.stack([found.start_logits, found.end_logits], -1)
        return found.logits

    def stir(self) -> None:
        """Move everything that is learned away from its start."""
        with torch.no_grad():
            for p in self.model.parameters():
                if p.requires_grad:
                    p.add_(torch.randn(p.shape) * 0.3)
