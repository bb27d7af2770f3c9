"""Changing few single weights: a sparse update of high rank."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, Targets, layers_knob, targets_knob, times_full
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Shira(PeftMethod):
    """Learns changes of single weights drawn at random, as many as LoRA of the same rank would hold."""

    name: Literal["shira"] = "shira"
    r: int = knob(8, ge=1, le=1024, scale="log2", slider=(1, 128), title="Rank of the LoRA to match",
                  help="As many weights change as a LoRA of this rank would have parameters.")
    seed: int = knob(42, ge=0, le=2**31 - 1, advanced=True, title="Seed of the places",
                     help="Which weights change is drawn from it.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="SHiRA", family="selective", order=52,
        summary="Changes one or two in a hundred single weights and leaves all others exactly as they are.",
        paper="Bhardwaj et al., 2024", url="https://arxiv.org/abs/2406.13175",
        use_when="Several adapters are to be added up on one model: sparse ones get little in each other's way.",
        avoid_when="Disk matters: places are saved beside values, three numbers for each weight.",
        settings="Rank 8 to 32, a learning rate three times LoRA's.",
        formula="ΔW zero but for r·(d_in + d_out) learned entries", mergeable=True)
    transposed: ClassVar[bool] = False
    quantized: ClassVar[tuple[str, ...]] = ("nf4",)

    def trained_in(self, module: Module) -> int:
        """Return r·(d_in + d_out)."""
        return self.r * (module.d_in + module.d_out)

    def stored_in(self, module: Module) -> int:
        """Return a value, a row and a column for each changed weight."""
        return 3 * self.trained_in(module)

    def fault(self, module: Module) -> str | None:
        """Refuse to change more weights than there are."""
        if self.trained_in(module) > module.d_in * module.d_out:
            return f"has {module.d_in * module.d_out} weights, fewer than the {self.trained_in(module)} to change."
        return None

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return thirty times full fine-tuning's, as peft's benchmark trained it (3e-4 beside 1e-5)."""
        return times_full(shape, 30)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import ShiraConfig

        return ShiraConfig(r=self.r, random_seed=self.seed, target_modules=list(modules))
