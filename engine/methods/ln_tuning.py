"""Training the normalisation layers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.methods._peft import Layers, PeftMethod, layers_knob, times_full
from engine.methods.base import Card
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class LnTuning(PeftMethod):
    """Learns the scales and shifts of the normalisation layers; everything else stays frozen."""

    name: Literal["ln_tuning"] = "ln_tuning"
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="Norm tuning", family="selective", order=51,
        summary="Trains the normalisation layers and nothing else: fewer parameters than BitFit.",
        paper="Zhao et al., 2023", url="https://arxiv.org/abs/2312.11420",
        use_when="Little data, or a quick look at how far the smallest change gets.",
        avoid_when="Anything must be learned that the model does not already represent.",
        settings="A learning rate of 1e-4 to 1e-2, more epochs than full fine-tuning.",
        formula="y = γ ⊙ norm(x) + β, only γ and β are trained", mergeable=True)
    quantized: ClassVar[tuple[str, ...]] = ("int8", "nf4")

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the normalisation layers of the blocks asked for; with all blocks, those outside them too."""
        norms = [m for m in shape.modules if m.kind == "norm" and m.role == "norm" and m.parameters]
        return shape.in_layers(norms, self.blocks(shape))

    def trained_in(self, module: Module) -> int:
        """Return scales and, where there are any, shifts."""
        return module.parameters

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why there is nothing to train."""
        found = self._missing_blocks(shape)
        return found if found or self.chosen(shape) else ["This model has no normalisation layers with weights."]

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return twenty times full fine-tuning's, as for BitFit, whose shifts are half of what is trained here."""
        return min(times_full(shape, 20), 5e-3)

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft; float32 copies of the norms hand on what a half-precision base expects."""
        from peft.tuners.ln_tuning.layer import LNTuningLayer

        wrapped = super().attach(model, shape, heads)
        for module in wrapped.modules():
            if isinstance(module, LNTuningLayer):
                module.register_forward_hook(_same_dtype)
        return wrapped

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import LNTuningConfig

        return LNTuningConfig(target_modules=list(modules))


def _same_dtype(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    return output.to(inputs[0].dtype)
