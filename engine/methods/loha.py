"""Two low-rank products multiplied entry by entry: a high rank for the price of a low one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, Targets, layers_knob, targets_knob, times_full
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Loha(PeftMethod):
    """Learns an update that is the entrywise product of two low-rank ones, so its rank reaches r²."""

    name: Literal["loha"] = "loha"
    r: int = knob(8, ge=1, le=1024, scale="log2", slider=(1, 64), title="Rank",
                  help="Rank of each factor; the update can reach its square.")
    alpha: int = knob(8, ge=1, slider=(1, 128), scale="log2", title="Alpha",
                      help="Strength: the update is scaled by alpha / r.")
    rank_dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), advanced=True, title="Rank dropout",
                               help="Share of the update's rows dropped while training.")
    module_dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), advanced=True, title="Layer dropout",
                                 help="Share of forward passes in which a layer goes without its update.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="LoHa", family="reparameterization", order=30,
        summary="A low-rank update of high effective rank, made of two multiplied entry by entry.",
        paper="Hyeon-Woo et al., 2021", url="https://arxiv.org/abs/2108.06098",
        use_when="LoRA's rank is the limit and a larger one would not fit.",
        avoid_when="Speed matters: each step builds the whole update of every layer.",
        settings="Rank 8, alpha as the rank, LoRA's learning rate.",
        formula="ΔW = (α / r)·(A₁·B₁) ⊙ (A₂·B₂)", mergeable=True)
    transposed: ClassVar[bool] = False
    quantized: ClassVar[tuple[str, ...]] = ("int8",)

    def trained_in(self, module: Module) -> int:
        """Return 2·r·(d_in + d_out)."""
        return 2 * self.r * (module.d_in + module.d_out)

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's: one factor starts at zero as LoRA's B does."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import LoHaConfig

        return LoHaConfig(r=self.r, alpha=self.alpha, rank_dropout=self.rank_dropout, target_modules=list(modules),
                          module_dropout=self.module_dropout)
