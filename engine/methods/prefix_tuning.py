"""Learned keys and values in front of every attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods import _prefix, _prompt
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
    place: Literal["prefix", "infix", "embedding"] = knob("prefix", advanced=True, title="Where it acts", help=(
        "prefix: before the text, in every layer. infix: between text and answer, seen by the answer alone. embedding: "
        "before the text, at the input only. The last two are the paper's ablations."))
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
        """The hidden width of the MLP, 0 without one; embeddings are learned as they are."""
        return self.hidden if self.reparameterize and self.place != "embedding" else 0

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return n·2·d_kv for each attention (with the MLP, that is what is stored of it), or n·d at the input."""
        if self.place == "embedding":
            count = self.length * _prompt.width(shape)
            return _prompt.piece(shape, count, count)
        return _prefix.pieces(shape, self.sides, self.length, self.width)

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why nothing can be put in front of the keys of this model."""
        if self.place == "embedding":
            return _prompt.obstacles(shape, self.length)
        reasons = _prefix.obstacles(shape, self.sides)
        if self.place == "infix" and task != "causal_lm":
            reasons.append("An infix stands between a text and its answer: it needs text generation.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return 1e-3 with the MLP, 3e-3 without, 5e-3 at the input: peft's benchmark is best from 1e-3 to 5e-3."""
        if self.place == "embedding":
            return 5e-3
        return 1e-3 if self.reparameterize else 3e-3

    def virtual_tokens(self, shape: ModelShape) -> int:
        """Return the length for the places of the input; keys and values take none."""
        return self.length if self.place == "embedding" else 0

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with a prefix at every attention."""
        if self.place == "embedding":
            return _prompt.attach(model, shape, heads, [-1] * self.length, [])
        return _prefix.attach(model, shape, heads, self.sides, self.length, self.width, self.place == "infix")

    def begin(self, model: Any, tokenizer: Any, labels: Sequence[str], source: Path | None = None) -> None:
        """Without the MLP, start from what words are to each layer, which the paper found best for little data."""
        if self.place == "embedding":
            _prompt.layer(model).keep("default", _prompt.common(model, self.length, tokenizer.all_special_ids))
        elif not self.reparameterize and hasattr(tokenizer, "all_special_ids"):
            _prefix.start_from_words(model, tokenizer.all_special_ids)

    def conclude(self, model: torch.nn.Module) -> bool:
        """Replace the MLP by the keys and values it gives, which changes no output."""
        _prefix.flatten(model)
        return False

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the prefix, never the MLP."""
        _prefix.flatten(model)
        super().save(model, folder)
