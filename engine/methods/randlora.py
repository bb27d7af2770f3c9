"""Weighted sums of random low-rank matrices: an update of full rank without its cost."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import (
    Layers,
    PeftMethod,
    Targets,
    fan_in_fan_out,
    layers_knob,
    targets_knob,
    times_full,
)
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Randlora(PeftMethod):
    """Learns how to mix many random low-rank matrices, which all layers share."""

    name: Literal["randlora"] = "randlora"
    r: int = knob(32, ge=1, le=1024, scale="log2", slider=(4, 256), title="Rank of each matrix",
                  help="Rank of one random matrix. LOWER learns MORE: more of them are needed to fill a layer.")
    alpha: int = knob(640, ge=1, slider=(32, 4096), scale="log2", title="Alpha",
                      help="Strength: the update is scaled by alpha / r. About 20 times the rank.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    sparse: Literal["no", "sparse", "very sparse"] = knob(
        "no", advanced=True, title="Sparse matrices", help="Draw the random matrices mostly zero, as the paper tries.")
    seed: int = knob(0, ge=0, le=2**31 - 1, advanced=True, title="Seed of the matrices",
                     help="Adapters used together on one model must share it.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="RandLoRA", family="reparameterization", order=25,
        summary="Full-rank updates from random matrices of which only the weights are learned.",
        paper="Albert et al., 2025", url="https://arxiv.org/abs/2502.00987",
        use_when="LoRA falls short of full fine-tuning however large its rank.",
        avoid_when="Memory is short: the random matrices are as large as the model's widest layer.",
        settings="Rank 32, alpha 20 times the rank, LoRA's learning rate.",
        formula="ΔW = (α / r)·Σ B_i·Λ_i·A·Γ_i, only Λ and Γ are trained", mergeable=True)

    def trained_in(self, module: Module) -> int:
        """Return n·(r + min(d_in, d_out)) for the n = ⌈min(d_in, d_out) / r⌉ matrices that fill the layer."""
        narrow = min(module.d_in, module.d_out)
        return math.ceil(narrow / self.r) * (self.r + narrow)

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's, at which peft's benchmark trained it (1e-4 beside 1e-5)."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config; the matrices are drawn again when it is loaded, for peft saves them once a layer."""
        from peft import RandLoraConfig

        return RandLoraConfig(
            r=self.r, randlora_alpha=self.alpha, randlora_dropout=self.dropout, sparse=self.sparse == "sparse",
            very_sparse=self.sparse == "very sparse", save_projection=False,
            projection_prng_key=self.seed, target_modules=list(modules), fan_in_fan_out=fan_in_fan_out(modules))
