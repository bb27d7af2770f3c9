"""Two learned vectors around random matrices that all layers share."""

from __future__ import annotations

from collections.abc import Sequence
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


class Vera(PeftMethod):
    """Learns how much of each random direction to use (d) and how much of each output to change (b)."""

    name: Literal["vera"] = "vera"
    r: int = knob(256, ge=1, le=4096, scale="log2", slider=(16, 1024), title="Rank",
                  help="Number of random directions. It costs one parameter a layer, so take it large.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    d_initial: float = knob(0.1, gt=0, le=10, advanced=True, title="First weight of a direction",
                            help="Value that d starts from; b starts at zero, so nothing changes at first.")
    save_projection: bool = knob(True, advanced=True, title="Save the random matrices", help=(
        "Off saves the two vectors alone; the matrices are then drawn again from their seed when it is loaded."))
    seed: int = knob(0, ge=0, le=2**31 - 1, advanced=True, title="Seed of the matrices",
                     help="Adapters used together on one model must share it.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="VeRA", family="reparameterization", order=24,
        summary="LoRA with its matrices drawn at random, frozen and shared; only two vectors a layer learn.",
        paper="Kopiczko et al., 2023", url="https://arxiv.org/abs/2310.11454",
        use_when="Hundreds of adapters of one model must be stored: each takes a tenth of LoRA's parameters.",
        avoid_when="You have one task and room for LoRA, which learns more at the same speed.",
        settings="Rank 256 to 1024 and a learning rate ten times LoRA's.",
        formula="h = W·x + b ⊙ B·(d ⊙ A·x), only b and d are trained", mergeable=True)
    quantized: ClassVar[tuple[str, ...]] = ("int8", "nf4")

    def trained_in(self, module: Module) -> int:
        """Return d_out + r."""
        return module.d_out + self.r

    def shared(self, modules: Sequence[Module]) -> tuple[int, int]:
        """Return nothing trained, and the saved matrices: r × the widest input and the widest output × r."""
        if not self.save_projection or not modules:
            return 0, 0
        return 0, self.r * (max(m.d_in for m in modules) + max(m.d_out for m in modules))

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return a hundred times full fine-tuning's: ten times LoRA's, as in the paper's tables."""
        return min(times_full(shape, 100), 1e-2)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import VeraConfig

        return VeraConfig(
            r=self.r, target_modules=list(modules), vera_dropout=self.dropout, d_initial=self.d_initial,
            save_projection=self.save_projection, projection_prng_key=self.seed,
            fan_in_fan_out=fan_in_fan_out(modules))
