"""Narrow layers put in after frozen ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from engine.knobs import knob
from engine.methods import _own
from engine.methods.base import Card, Method, Piece, full_learning_rate
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Placement = Literal["houlsby", "pfeiffer"]
#: The parts of a block after whose last layer an adapter stands, before that is added to the residual stream.
AFTER: dict[str, dict[str, str]] = {"houlsby": {"output": "attention", "down": "feed-forward"},
                                    "pfeiffer": {"down": "feed-forward"}}


class Adapter(Method):
    """Puts a small bottleneck with a detour around it after attention and feed-forward of each block."""

    name: Literal["adapter"] = "adapter"
    placement: Placement = knob("houlsby", title="Where", help=(
        "houlsby: after attention and after the feed-forward part, twice a block. pfeiffer: after the feed-forward "
        "part alone, half the parameters and nearly as good."))
    reduction: int = knob(16, ge=1, le=4096, scale="log2", slider=(2, 64), title="Reduction",
                          help="The bottleneck is this many times narrower than the model.")
    size: Annotated[int, Field(ge=1, le=65_536)] | None = knob(
        None, advanced=True, title="Bottleneck width", help="Width of the bottleneck as a number, instead.")
    activation: Literal["gelu", "relu", "silu", "tanh"] = knob(
        "gelu", advanced=True, title="Activation", words={"gelu": "GELU", "relu": "ReLU", "silu": "SiLU"},
        help="The bend between the way down and the way up.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), advanced=True, title="Dropout",
                          help="Share of the bottleneck's numbers dropped while training.")
    start: Literal["zero", "normal"] = knob("zero", advanced=True, title="Start", help=(
        "zero: exactly the base model at first. normal: as in the paper, near it: both ways drawn with a spread of "
        "0.01."))
    norms: bool = knob(False, advanced=True, title="Train the norms",
                       help="Also change the blocks' norm layers, as the paper does.")
    layers: Annotated[int, Field(ge=1)] | None = knob(
        None, advanced=True, title="Blocks", words={None: "All"},
        help="How many blocks get adapters, counted from the top.")

    card: ClassVar[Card] = Card(
        title="Adapters", family="additive", order=70,
        summary="Puts small trainable layers into the frozen model: a few per cent of its weights.",
        paper="Houlsby et al., 2019; Pfeiffer et al., 2021", url="https://arxiv.org/abs/1902.00751",
        use_when="Many tasks on one frozen model, and quality close to full fine-tuning matters.",
        avoid_when="Latency counts: the layers cannot be folded into the weights, so each answer takes longer.",
        settings="Reduction 16 (8 to 64), learning rate 1e-4 to 1e-3.",
        formula="y ← y + W_up·σ(W_down·y + b) + b′, with W_down of size r × d", mergeable=False)

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the layers that are followed by an adapter, in the order of the model."""
        after = {last.name for _, last in _own.feed_forward(shape, self.layers)}
        if self.placement == "houlsby":
            after |= {m.name for m in _own.top(shape, shape.modules, self.layers) if m.role == "output"}
        return [m for m in shape.modules if m.name in after]

    def changed(self, shape: ModelShape) -> list[Module]:
        """Return the norm layers that change."""
        norms = [m for m in shape.modules if m.kind == "norm"]
        return _own.top(shape, norms, self.layers) if self.norms else []

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return 2·d·r + r + d for each adapter, and what each norm layer holds."""
        counts = [(m, _own.bottleneck(m.d_out, self.size, self.reduction)) for m in self.chosen(shape)]
        counts += [(m, m.parameters) for m in self.changed(shape)]
        return [Piece(m.name, m.kind, m.role, m.layer, count, count) for m, count in counts]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why there is no place for an adapter."""
        if reasons := _own.too_many(shape, self.layers):
            return reasons
        found = {m.role for m in self.chosen(shape)}
        return [f"The last layer of this model's {part} part was not recognised." for role, part
                in AFTER[self.placement].items() if role not in found]

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return ten times the rate of full fine-tuning; the paper searched 3e-5 to 3e-3."""
        return float(f"{min(10 * full_learning_rate(shape), 3e-3):.1e}")

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with adapters after exactly the chosen layers."""
        from engine.tuners.bottleneck import BottleneckConfig

        return _own.attach(model, BottleneckConfig, [*self.chosen(shape), *self.changed(shape)], heads, size=self.size,
                           reduction=self.reduction, activation=self.activation, dropout=self.dropout,
                           start=self.start)
