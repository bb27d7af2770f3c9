"""A low-rank picture multiplied onto the weights: the update inherits their high rank."""

from __future__ import annotations

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


class Hira(PeftMethod):
    """Learns a low-rank matrix by whose entries the pretrained weights are rescaled one by one."""

    name: Literal["hira"] = "hira"
    r: int = knob(32, ge=1, le=4096, scale="log2", slider=(1, 256), title="Rank",
                  help="Rank of the matrix that rescales. Higher learns more and costs more.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="HiRA", family="reparameterization", order=29,
        summary="LoRA's size, but the update is multiplied by the weights, so its rank is as high as theirs.",
        paper="Huang et al., 2025", url="https://openreview.net/forum?id=TwJrTz9cRS",
        use_when="Reasoning or arithmetic, where LoRA's low rank falls short.",
        avoid_when="Weights that matter are near zero: what is multiplied stays near zero.",
        settings="Rank 32, a learning rate many times LoRA's: weights are small, so their products are.",
        formula="ΔW = W ⊙ (B·A), only A and B are trained", mergeable=True)

    def trained_in(self, module: Module) -> int:
        """Return r·(d_in + d_out)."""
        return self.r * (module.d_in + module.d_out)

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return two hundred times full fine-tuning's, up to 5e-3: peft's benchmark uses 4.5e-3 beside 1e-5."""
        return min(times_full(shape, 200), 5e-3)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import HiraConfig

        return HiraConfig(r=self.r, hira_dropout=self.dropout, target_modules=list(modules),
                          fan_in_fan_out=fan_in_fan_out(modules))
