"""Deep prompts without a network in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods import _prefix
from engine.methods.base import Card, Method, Piece
from engine.shape import ModelShape

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class PTuningV2(Method):
    """Learns prompts at every layer directly, with a linear head: full fine-tuning's accuracy on understanding."""

    name: Literal["p_tuning_v2"] = "p_tuning_v2"
    length: int = knob(20, ge=1, le=1000, scale="log2", slider=(1, 256), unit="tokens", title="Prompt length", help=(
        "Virtual tokens at every layer: about 20 for simple classification, about 100 for hard reading tasks."))
    reparameterize: bool = knob(False, advanced=True, title="Through an MLP", help=(
        "Learn the prompts through a small network, which is dropped once trained. Helps some tasks and hurts others."))
    hidden: int = knob(512, ge=1, le=8192, scale="log2", advanced=True, title="Width of the MLP",
                       shown_if={"reparameterize": True}, help="Hidden width of that network.")

    init: Literal["random", "vocabulary"] = knob("random", advanced=True, title="Start from",
                                                 shown_if={"reparameterize": False}, help=(
        "Small random numbers, or what common words, drawn at random, are to each layer: words bear no more than about "
        "half the learning rate."))
    start_from: str = knob("", advanced=True, max_length=1000, title="Source prompts", help=(
        "An adapter of P-tuning v2 with the same length to start from, such as one trained on several datasets in one: "
        "its folder, or its id in the studio. Its head is not taken over."))

    card: ClassVar[Card] = Card(
        title="P-tuning v2", family="soft prompt", order=81,
        summary="Prompts at every layer and a linear head: matches full fine-tuning where prompt tuning falls behind.",
        paper="Liu et al., 2022", url="https://arxiv.org/abs/2110.07602",
        use_when="Classification, tagging and question answering with models of any size, small ones too.",
        avoid_when="You want the answer without extra work at every layer: LoRA is merged away, a prompt is not.",
        settings="20 tokens for simple, 100 for hard tasks; a learning rate of 5e-3 to 1e-2, many epochs.",
        formula="attention(q, [P_K; K], [P_V; V]), P is learned as it is", mergeable=False)

    @property
    def width(self) -> int:
        """The hidden width of the MLP, 0 without one."""
        return self.hidden if self.reparameterize else 0

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return n·2·d_kv for each attention."""
        return _prefix.pieces(shape, "both", self.length, self.width)

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why nothing can be put in front of the keys of this model."""
        reasons = _prefix.obstacles(shape, "both")
        if self.start_from and self.reparameterize:
            reasons.append("Prompts learned through an MLP cannot start from others.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return 1e-2, of the paper's 5e-3 to 1e-2 what few updates need; 5e-3 from words or a source, 1e-3 by the MLP.

        Prompts that are already of a text's size bear less than small numbers do.
        """
        if self.reparameterize:
            return 1e-3
        return 5e-3 if self.init == "vocabulary" or self.start_from else 1e-2

    @property
    def origin(self) -> str:
        """The source prompts."""
        return self.start_from

    def check_source(self, folder: Path, shape: ModelShape) -> None:
        """Refuse what has no prefixes of this length and width."""
        found = _prefix.attentions(shape)
        if found:
            _prefix.check(folder, self.length, found[0].d_out)

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with prompts at every attention."""
        return _prefix.attach(model, shape, heads, "both", self.length, self.width)

    def begin(self, model: Any, tokenizer: Any, labels: Sequence[str], source: Path | None = None) -> None:
        """Set the prompts to those of the source, or to words; raises PrefixMismatch."""
        if source is not None:
            _prefix.start_from(model, source)
        elif self.init == "vocabulary" and not self.reparameterize and hasattr(tokenizer, "all_special_ids"):
            _prefix.start_from_words(model, tokenizer.all_special_ids)

    def conclude(self, model: torch.nn.Module) -> bool:
        """Replace the MLP, where there is one, by what it gives, which changes no output."""
        _prefix.flatten(model)
        return False

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the prompts, never the MLP."""
        _prefix.flatten(model)
        super().save(model, folder)
