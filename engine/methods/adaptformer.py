"""A narrow layer beside the feed-forward part of each block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from engine.knobs import knob
from engine.methods import _own
from engine.methods.base import Card, Method, Piece, full_learning_rate
from engine.shape import ModelShape

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class AdaptFormer(Method):
    """Runs a small bottleneck in parallel with the feed-forward part of each block and adds a little of it."""

    name: Literal["adaptformer"] = "adaptformer"
    size: int = knob(64, ge=1, le=65_536, scale="log2", slider=(1, 256), title="Bottleneck width",
                     help="Width of the bottleneck. The paper uses 64 and finds little beyond it.")
    scale: float = knob(0.1, gt=0, le=10, slider=(0.01, 1), scale="log10", title="Scale s",
                        help="Share of the bottleneck's output that is added. Above 0.1 training gets unstable.")
    learned: bool = knob(False, title="Learn the scale", help="Let each block find its own scale, from s on.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), advanced=True, title="Dropout", help=(
        "Share of the bottleneck's numbers dropped while training; the authors' program uses 0.1."))
    layers: Annotated[int, Field(ge=1)] | None = knob(
        None, advanced=True, title="Blocks", words={None: "All"},
        help="How many blocks get one, counted from the top.")

    card: ClassVar[Card] = Card(
        title="AdaptFormer", family="additive", order=80,
        summary="A small branch beside each feed-forward part; made for images, and good for text.",
        paper="Chen et al., 2022", url="https://arxiv.org/abs/2205.13535",
        use_when="Vision models, or where adapters after each layer disturb the model too much.",
        avoid_when="Latency counts: the branch cannot be folded into the weights.",
        settings="Width 64, s = 0.1, learning rate 1e-3.",
        formula="y = FFN(x) + s·W_up·ReLU(W_down·x + b) + s·b′", mergeable=False)

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return 2·d·r + r + d for each feed-forward part, and 1 for a scale that is learned."""
        found: list[Piece] = []
        for m, _ in _own.feed_forward(shape, self.layers):
            count = _own.bottleneck(m.d_in, self.size, 1) + self.learned
            found.append(Piece(m.name, m.kind, m.role, m.layer, count, count, "AdaptFormer branch"))
        return found

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why there is no feed-forward part to stand beside."""
        if reasons := _own.too_many(shape, self.layers):
            return reasons
        pairs = _own.feed_forward(shape, self.layers)
        asked = range(0 if self.layers is None else shape.layers - self.layers, shape.layers)
        if {first.layer for first, _ in pairs} != set(asked) or len({last.name for _, last in pairs}) < len(pairs):
            return ["The first and last layer of this model's feed-forward parts were not recognised."]
        return []

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return twenty times the rate of full fine-tuning: s makes steps ten times smaller."""
        return float(f"{min(20 * full_learning_rate(shape), 5e-3):.1e}")

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with a bottleneck beside each feed-forward part."""
        from engine.skeleton import names_in
        from engine.tuners.adaptformer import AdaptFormerConfig

        pairs = _own.feed_forward(shape, self.layers)
        modules = [m for pair in pairs for m in pair]
        full = names_in(model, [m.name for m in modules])
        return _own.attach(model, AdaptFormerConfig, modules, heads, size=self.size, scale=self.scale,
                           learned=self.learned, dropout=self.dropout,
                           pairs=[[full[first.name], full[last.name]] for first, last in pairs])
