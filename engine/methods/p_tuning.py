"""Virtual tokens anywhere in the input, made by a small network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from engine.knobs import knob
from engine.methods import _prompt
from engine.methods.base import Card, Method, Piece
from engine.shape import ModelShape

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class PTuning(Method):
    """Learns virtual tokens at chosen places of the input through a small network that is dropped once trained."""

    name: Literal["p_tuning"] = "p_tuning"
    template: str = knob("[P×20] {text}", title="Template", max_length=1000, help=(
        "Where virtual tokens and words stand around the text: [P×3] is three virtual tokens, all else is read as it "
        "is written, such as: [P×3] {text} [P×2] answer"))
    encoder: Literal["lstm", "mlp", "none"] = knob("lstm", title="Prompt encoder", help=(
        "The network that makes the virtual tokens depend on each other while they learn."))
    hidden: int = knob(128, ge=1, le=8192, scale="log2", advanced=True, title="Width of the encoder",
                       help="Hidden width of that network.")

    card: ClassVar[Card] = Card(
        title="P-tuning", family="soft prompt", order=83,
        summary="Learns virtual tokens between words you choose, through an LSTM or MLP that is dropped afterwards.",
        paper="Liu et al., 2021", url="https://arxiv.org/abs/2103.10385",
        use_when="Understanding tasks with a wording in mind, on models of more than a billion parameters.",
        avoid_when="Small models and tagging: P-tuning v2 was made because this one falls behind there.",
        settings="10 to 20 virtual tokens, an LSTM, a learning rate of 1e-3.",
        formula="f([h(P₁…ᵢ); E(x); h(Pᵢ₊₁…ₙ)]), P and h are learned, h(P) is kept", mergeable=False)

    @field_validator("template")
    @classmethod
    def _means_something(cls, value: str) -> str:
        _prompt.parse(value)
        return value

    @property
    def parts(self) -> _prompt.Template:
        """What stands before and after the text."""
        return _prompt.parse(self.template)

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return n·d stored; trained besides: MLP (d·h + h) + (h² + h) + (h·d + d), or the LSTM's two layers and MLP.

        The LSTM trains 8h·(d + h + 2) + 8h·(3h + 2) + (4h² + 2h) + (2h·d + d).
        """
        n, d, h = self.parts.tokens, _prompt.width(shape), self.hidden
        network = {"none": 0, "mlp": d * h + h + h * h + h + h * d + d,
                   "lstm": 8 * h * (d + h + 2) + 8 * h * (3 * h + 2) + 4 * h * h + 2 * h + 2 * h * d + d}
        return _prompt.piece(shape, n * d + network[self.encoder], n * d)

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why virtual tokens cannot stand where the template wants them."""
        reasons = _prompt.obstacles(shape, self.parts.places)
        if self.parts.after and task == "causal_lm":
            reasons.append("A model that goes on writing has no place behind its text: let the template end in {text}.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return 1e-3 through an encoder and 5e-3 without: peft's benchmark finds its best between the two."""
        return 5e-3 if self.encoder == "none" else 1e-3

    def virtual_tokens(self, shape: ModelShape) -> int:
        """Return the most places that virtual tokens and words take."""
        return self.parts.places

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with virtual tokens around its texts; words follow in `begin`."""
        before, after = ([-1] * sum(part for part in side if isinstance(part, int)) for side in self.parts)
        return _prompt.attach(model, shape, heads, before, after, encoder=self.encoder,
                              hidden=0 if self.encoder == "none" else self.hidden)

    def begin(self, model: Any, tokenizer: Any, labels: Sequence[str], source: Path | None = None) -> None:
        """Put the template's words between its virtual tokens; without an encoder, start these from common words."""
        config = model.peft_config["default"]
        config.before, config.after = ([token for part in side for token in (
            [-1] * part if isinstance(part, int) else _prompt.ids(tokenizer, part))] for side in self.parts)
        if self.encoder == "none":
            words = _prompt.common(model, config.tokens, tokenizer.all_special_ids)
            _prompt.layer(model).keep("default", words)

    def conclude(self, model: torch.nn.Module) -> bool:
        """Replace the encoder by the vectors it gives, which changes no output."""
        _prompt.flatten(model)
        return False

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the virtual tokens, never the encoder."""
        _prompt.flatten(model)
        super().save(model, folder)
