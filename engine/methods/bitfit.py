"""Training nothing but biases."""

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

Which = Literal["all", "query", "intermediate", "query+intermediate"]
ROLES: dict[str, tuple[str, ...]] = {"query": ("query", "qkv"), "intermediate": ("up", "gate_up"),
                                     "query+intermediate": ("query", "qkv", "up", "gate_up")}


class BitFit(Method):
    """Learns a change of every bias (or of two kinds of them); layers without a bias are given one."""

    name: Literal["bitfit"] = "bitfit"
    biases: Which = knob("all", title="Which biases", help=(
        "all, those of the attention queries (the paper's b_q), those of the feed-forward layer's wide side (b_m2), or "
        "both: the two kinds carry most of the effect."))

    card: ClassVar[Card] = Card(
        title="BitFit", family="selective", order=50,
        summary="Trains only the biases: a thousandth of the weights, nothing added, merged without a trace.",
        paper="Ben Zaken et al., 2022", url="https://arxiv.org/abs/2106.10199",
        use_when="Small to medium data, and many tasks that should share one model.",
        avoid_when="Much data, where full fine-tuning and LoRA pull ahead; decoders without biases must be given some.",
        settings="All biases, a learning rate of 1e-4 to 1e-2, more epochs than full fine-tuning.",
        formula="y = W·x + b + Δb, only Δb is trained", mergeable=True)

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the modules whose bias changes."""
        found = _own.everywhere(shape)
        return found if self.biases == "all" else [m for m in found if m.role in ROLES[self.biases]]

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return d_out for each module."""
        return [Piece(m.name, m.kind, m.role, m.layer, m.d_out, m.d_out) for m in self.chosen(shape)]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why there is no bias to change."""
        return [] if self.chosen(shape) else ["No layer of this model was recognised as one that carries these biases."]

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return twenty times the rate of full fine-tuning; the paper searched 1e-4 to 1e-2."""
        return float(f"{min(20 * full_learning_rate(shape), 5e-3):.1e}")

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with a change of bias at exactly the chosen modules."""
        from engine.tuners.bitfit import BitFitConfig

        return _own.attach(model, BitFitConfig, self.chosen(shape), heads)
