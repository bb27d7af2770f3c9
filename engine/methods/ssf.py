"""A scale and a shift after every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from engine.knobs import knob
from engine.methods import _own
from engine.methods.base import Card, Method, Piece, full_learning_rate
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Where = Literal["all", "linear", "norm"]
KINDS: dict[str, tuple[str, ...]] = {"all": ("linear", "norm", "conv"), "linear": ("linear", "conv"), "norm": ("norm",)}


class Ssf(Method):
    """Learns a scale and a shift for every number that a layer gives out; the layers themselves stay frozen."""

    name: Literal["ssf"] = "ssf"
    where: Where = knob("all", title="After which layers", help=(
        "all: linear, convolution and norm layers, as in the paper. linear or norm alone halve what is trained, or "
        "leave a tenth."))

    noise: float = knob(0.0, ge=0, le=0.5, step=0.01, advanced=True, title="Noise at the start", help=(
        "Standard deviation of the scales around 1 and of the shifts around 0 before training. 0 starts as the base "
        "model; the authors' program uses 0.02."))

    card: ClassVar[Card] = Card(
        title="SSF", family="scale", order=60,
        summary="Rescales and shifts what each layer gives out: two numbers an output, folded into the weights later.",
        paper="Lian et al., 2022", url="https://arxiv.org/abs/2210.08823",
        use_when="The new data look different rather than mean something different; images above all.",
        avoid_when="The model must learn new facts or a new format: it can only turn what is there up and down.",
        settings="A learning rate of 1e-3 to 1e-2; nothing else needs setting.",
        formula="y = γ ⊙ f(x) + β, γ starts at 1 and β at 0", mergeable=True)

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the modules that are followed by a scale and a shift."""
        return _own.everywhere(shape, KINDS[self.where])

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return 2·d_out for each module."""
        return [Piece(m.name, m.kind, m.role, m.layer, 2 * m.d_out, 2 * m.d_out) for m in self.chosen(shape)]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why nothing could be scaled."""
        return [] if self.chosen(shape) else [f"This model has no {self.where} layers to scale."]

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return a hundred times the rate of full fine-tuning: few parameters, each a factor (paper, table 7)."""
        return float(f"{min(100 * full_learning_rate(shape), 1e-2):.1e}")

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with scale and shift after exactly the chosen modules."""
        from engine.tuners.ssf import SsfConfig

        return _own.attach(model, SsfConfig, self.chosen(shape), heads, noise=self.noise)
