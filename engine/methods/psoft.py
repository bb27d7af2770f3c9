"""A rotation inside the main directions of each layer: orthogonal tuning at a tiny size."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, Targets, layers_knob, targets_knob, times_full
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Psoft(PeftMethod):
    """Learns how to turn and stretch the r main directions of each weight matrix; the rest of it stays."""

    name: Literal["psoft"] = "psoft"
    r: int = knob(32, ge=2, le=4096, scale="log2", slider=(8, 256), title="Main directions",
                  help="How many main directions are turned. It costs the square of it, so 32 to 128 do.")
    orthogonal: bool = knob(True, title="Turn only",
                            help="Keep angles between directions. Off learns any r × r matrix: twice the parameters.")
    stretch: bool = knob(True, advanced=True, title="Stretch too",
                         help="Also learn a factor for each direction, before and after turning.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="PSOFT", family="reparameterization", order=38,
        summary="Turns each layer's main directions: a few hundred parameters a layer, whatever its width.",
        paper="Wu et al., 2025", url="https://arxiv.org/abs/2505.11235",
        use_when="Adapters must be tiny and the model must keep what it knows.",
        avoid_when="Starting must be instant: each layer is decomposed first, and again when it is loaded.",
        settings="32 to 128 directions, LoRA's learning rate.",
        formula="W' = A·diag(β)·R·diag(α)·B + (W - A·B), A·B the main part of W, RᵀR = I", mergeable=True)
    transposed: ClassVar[bool] = False

    def trained_in(self, module: Module) -> int:
        """Return r·(r - 1) / 2 angles (r² entries when not orthogonal) and 2·r factors."""
        turning = self.r * (self.r - 1) // 2 if self.orthogonal else self.r**2
        return turning + (2 * self.r if self.stretch else 0)

    def fault(self, module: Module) -> str | None:
        """Refuse more main directions than the matrix has."""
        most = min(module.d_in, module.d_out)
        return f"has {most} main directions, fewer than the {self.r} asked for." if self.r > most else None

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's, at which peft's benchmark trained it (1e-4 beside 1e-5)."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config; alpha equals the rank, as the scale must be 1 for the parts to add up."""
        from peft import PsoftConfig

        return PsoftConfig(r=self.r, psoft_alpha=self.r, psoft_orth=self.orthogonal, psoft_mag_a=self.stretch,
                           psoft_mag_b=self.stretch, psoft_dropout=self.dropout, target_modules=list(modules))
