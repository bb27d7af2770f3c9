"""LoRA with its strength learned apart from its direction, and bounded."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, Targets, layers_knob, targets_knob, times_full
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Delora(PeftMethod):
    """Learns normalised low-rank directions and one number a layer that says how far to go along them."""

    name: Literal["delora"] = "delora"
    r: int = knob(32, ge=1, le=4096, scale="log2", slider=(1, 256), title="Rank",
                  help="Rank of the update. Higher learns more and costs more.")
    bound: int = knob(4, ge=1, le=1000, scale="log2", slider=(1, 64), title="First bound",
                      help="How far a layer may move at first: half the rank or less. It is learned too.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="DeLoRA", family="reparameterization", order=28,
        summary="LoRA whose updates cannot run away: direction and distance are learned apart.",
        paper="Bini et al., 2025", url="https://arxiv.org/abs/2503.18225",
        use_when="LoRA's result swings with the learning rate, or long training makes it worse.",
        avoid_when="You want the most common format: LoRA is read everywhere.",
        settings="Rank 32; bound 4 on small models, 15 on large ones; LoRA's learning rate.",
        formula="ΔW = (λ / r)·Σ b_i·a_iᵀ / (‖b_i‖·‖a_i‖) ⊙ ‖w‖, only A, B and λ are trained", mergeable=True)
    transposed: ClassVar[bool] = False

    def trained_in(self, module: Module) -> int:
        """Return r·(d_in + d_out) + 1."""
        return self.r * (module.d_in + module.d_out) + 1

    def stored_in(self, module: Module) -> int:
        """Return what is trained and the lengths of the base's columns, which peft saves with it."""
        return self.trained_in(module) + module.d_in

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's; the paper uses 1e-3, at which it is still steady."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import DeloraConfig

        return DeloraConfig(r=self.r, delora_lambda=self.bound, module_dropout=self.dropout,
                            target_modules=list(modules))
