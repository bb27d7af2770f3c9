"""Mirroring the inputs of each layer: a few reflections make a rotation."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, Targets, layers_knob, targets_knob, times_full
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Hra(PeftMethod):
    """Learns a chain of Householder reflections of each layer's inputs."""

    name: Literal["hra"] = "hra"
    r: int = knob(8, ge=2, le=512, multiple_of=2, scale="log2", slider=(2, 64), title="Reflections",
                  help="How many reflections are chained; even, so that they start by undoing each other.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="HRA", family="reparameterization", order=34,
        summary="An orthogonal change of each layer made of a few mirrors, which is also a low-rank one.",
        paper="Yuan et al., 2024", url="https://arxiv.org/abs/2405.17484",
        use_when="The model must keep what it knows, with fewer parameters than LoRA.",
        avoid_when="Layers are wide: each step multiplies the whole weight once for every mirror.",
        settings="8 reflections, LoRA's learning rate.",
        formula="h = W·H_1···H_r·x, H = I - 2·u·uᵀ / ‖u‖²", mergeable=True)
    transposed: ClassVar[bool] = False

    def trained_in(self, module: Module) -> int:
        """Return r·d_in."""
        return self.r * module.d_in

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's, at which peft's benchmark trained it (1e-4 beside 1e-5)."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config, Gram-Schmidt off: mirrors that start in equal pairs cannot be made orthogonal."""
        from peft import HRAConfig

        return HRAConfig(r=self.r, target_modules=list(modules))
