"""Rows of one small matrix shared by groups of inputs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, Targets, layers_knob, targets_knob, times_full
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Miss(PeftMethod):
    """Learns r rows; the inputs are cut into groups of r and all groups use the same rows."""

    name: Literal["miss"] = "miss"
    r: int = knob(32, ge=1, le=4096, scale="log2", slider=(2, 256), title="Rank",
                  help="Rows that are learned. Higher learns more and costs more.")
    variant: Literal["miss", "bat", "mini"] = knob("miss", advanced=True, title="Variant", words={
        "miss": "MiSS"}, help=(
            "miss is the fast one. bat multiplies the update by the weights themselves. mini shares columns too."))
    mini_r: int = knob(1, ge=1, le=4096, advanced=True, shown_if={"variant": "mini"}, title="Columns",
                       help="Columns that mini learns; it must divide every output width.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="MiSS", family="reparameterization", order=37,
        summary="One learned matrix a layer, shared by groups of inputs: half of LoRA's matrices, quicker to learn.",
        paper="Kang and Yin, 2024", url="https://arxiv.org/abs/2409.15371",
        use_when="LoRA learns too slowly at the start, or memory is short.",
        avoid_when="A comparison with published LoRA figures is wanted.",
        settings="Rank 32 to 64, LoRA's learning rate or less.",
        formula="h = W·x + Dᵀ·s, s the sum of x over its groups, only D (r × d_out) is trained", mergeable=True)
    transposed: ClassVar[bool] = False
    quantized: ClassVar[tuple[str, ...]] = ("int8", "nf4")

    def trained_in(self, module: Module) -> int:
        """Return r·d_out; r·r·(d_out / r) for bat, r·mini_r for mini."""
        return self.r * (self.mini_r if self.variant == "mini" else module.d_out)

    def fault(self, module: Module) -> str | None:
        """Refuse more rows than inputs, and groups that do not come out even where the variant needs it."""
        if self.r > module.d_in:
            return f"has {module.d_in} inputs, fewer than the {self.r} rows asked for."
        if self.variant == "bat" and (module.d_in % self.r or module.d_out % self.r):
            return f"is {module.d_in} wide and {module.d_out} out; bat needs both divisible by its rank {self.r}."
        if self.variant == "mini" and module.d_out % self.mini_r:
            return f"has {module.d_out} outputs, which {self.mini_r} columns do not divide."
        return None

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's, at which peft's benchmark trained it (1e-4 beside 1e-5)."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import MissConfig

        return MissConfig(r=self.r, mini_r=self.mini_r, miss_dropout=self.dropout, target_modules=list(modules),
                          init_weights=True if self.variant == "miss" else self.variant)
