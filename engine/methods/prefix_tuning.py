"""Learned keys and values in front of every attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from engine.knobs import knob
from engine.methods import _prefix
from engine.methods.base import Card, Method, Piece
from engine.shape import ModelShape

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class PrefixTuning(Method):
    """Learns keys and values of virtual tokens that every attention sees before the text; the model stays frozen."""

    name: Literal["prefix_tuning"] = "prefix_tuning"
    length: int = knob(10, ge=1, le=1000, scale="log2", slider=(1, 256), unit="tokens", title="Prefix length", help=(
        "Virtual tokens in front of the text. About 10 suffice to turn tables into text, about 200 for summaries."))
    reparameterize: bool = knob(True, title="Through an MLP", help=(
        "Learn the prefix through a small network, which is dropped once trained. Steadier than learning it directly."))
    hidden: int = knob(512, ge=1, le=8192, scale="log2", advanced=True, title="Width of the MLP",
                       shown_if={"reparameterize": True}, help="The paper takes 512, and 800 for summaries.")
    sides: _prefix.Sides = knob("both", advanced=True, title="Which side", help=(
        "Of encoder-decoder models: prefixes in both halves, the encoder or the decoder alone. Others have one side."))

    card: ClassVar[Card] = Card(
        title="Prefix-tuning", family="soft prompt", order=80,
        summary="Puts learned keys and values in front of every attention: a context that no words could make.",
        paper="Li & Liang, 2021", url="https://arxiv.org/abs/2101.00190",
        use_when="Text generation with one model for many tasks: a task is a file of a few hundred kilobytes.",
        avoid_when="Small models and much data, where LoRA learns more and is merged away.",
        settings="5 to 20 virtual tokens through an MLP, a learning rate of 1e-3 or a little more.",
        formula="attention(q, [P_K; K], [P_V; V]), P = MLP(E) while it learns", mergeable=False)

    @property
    def width(self) -> int:
        """The hidden width of the MLP, 0 without one."""
        return self.hidden if self.reparameterize else 0

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return n·2·d_kv for each attention; with the MLP, that is what is stored of it."""
        return _prefix.pieces(shape, self.sides, self.length, self.width)

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why nothing can be put in front of the keys of this model."""
        return _prefix.obstacles(shape, self.sides)

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return 1e-3 with the MLP and 3e-3 without: peft's benchmark finds its best between 1e-3 and 5e-3."""
        return 1e-3 if self.reparameterize else 3e-3

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with a prefix at every attention."""
        return _prefix.attach(model, shape, heads, self.sides, self.length, self.width)

    def conclude(self, model: torch.nn.Module) -> bool:
        """Replace the MLP by the keys and values it gives, which changes no output."""
        _prefix.flatten(model)
        return False

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the prefix, never the MLP."""
        _prefix.flatten(model)
        super().save(model, folder)
