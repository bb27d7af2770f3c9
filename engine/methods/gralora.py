"""LoRA for each block of a matrix: high rank at LoRA's size."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import model_validator

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


class Gralora(PeftMethod):
    """Learns a low-rank update for each of k × k blocks of a layer, so that no outlier input disturbs all of it."""

    name: Literal["gralora"] = "gralora"
    r: int = knob(32, ge=1, le=4096, scale="log2", slider=(4, 256), title="Rank",
                  help="Parameters as in a LoRA of this rank; divisible by the blocks a side.")
    alpha: int = knob(64, ge=1, slider=(1, 256), scale="log2", title="Alpha",
                      help="Strength: the update is scaled by alpha / rank.")
    k: int = knob(2, ge=1, le=64, scale="log2", slider=(1, 16), title="Blocks a side",
                  help="Into how many parts inputs and outputs are cut. 1 is LoRA; 2 to 4 suit ranks of 16 to 64.")
    hybrid_r: int = knob(0, ge=0, le=1024, advanced=True, title="Rank of a LoRA beside it",
                         help="Adds a plain LoRA of this rank, which sees the whole layer.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="GraLoRA", family="reparameterization", order=26,
        summary="LoRA cut into blocks: k times its rank with the same number of parameters.",
        paper="Jung et al., 2025", url="https://arxiv.org/abs/2505.20355",
        use_when="LoRA of rank 64 and more stops improving.",
        avoid_when="Ranks are small: below 16, plain LoRA does as well.",
        settings="Rank 32 with 2 blocks a side, alpha twice the rank.",
        formula="ΔW = blocks (α / r)·B_ij·A_ij, each of rank r / k", mergeable=True)
    maps: ClassVar[bool] = False

    @model_validator(mode="after")
    def _blocks_share_the_rank(self) -> Gralora:
        if self.r % self.k:
            raise ValueError(f"the rank ({self.r}) must be divisible by the blocks a side ({self.k})")
        return self

    def trained_in(self, module: Module) -> int:
        """Return (r + hybrid_r)·(d_in + d_out)."""
        return (self.r + self.hybrid_r) * (module.d_in + module.d_out)

    def fault(self, module: Module) -> str | None:
        """Refuse a width that cannot be cut evenly."""
        if module.d_in % self.k or module.d_out % self.k:
            return f"is {module.d_in} wide and {module.d_out} out, which cannot be cut into {self.k} even parts."
        return None

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's (LoRA Without Regret, 2025); the paper uses 2e-4 to 3e-4."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import GraloraConfig

        return GraloraConfig(r=self.r, alpha=self.alpha, gralora_k=self.k, hybrid_r=self.hybrid_r,
                             gralora_dropout=self.dropout, target_modules=list(modules),
                             fan_in_fan_out=fan_in_fan_out(modules))
