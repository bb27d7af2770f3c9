"""Training the embeddings of a few chosen tokens."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from engine.knobs import knob
from engine.methods import _own
from engine.methods._peft import PeftMethod, times_full
from engine.methods.base import Card, Piece
from engine.shape import ModelShape, Module


class TrainableTokens(PeftMethod):
    """Learns the embeddings of chosen tokens; the rest of the table and all layers stay frozen."""

    name: Literal["trainable_tokens"] = "trainable_tokens"
    tokens: list[Annotated[int, Field(ge=0)]] = knob(default_factory=list, max_length=10_000, title="Tokens", help=(
        "Numbers of the tokens to train, as the tokenizer counts them: marks of a format, new words, other names."))

    card: ClassVar[Card] = Card(
        title="Trainable tokens", family="selective", order=53,
        summary="Teaches the model a few tokens: reserved ones, marks of a format, words of a trade.",
        paper="peft, 2025", url="https://huggingface.co/docs/peft/package_reference/trainable_tokens",
        use_when="Special tokens must gain a meaning and nothing else may change.",
        avoid_when="The model must learn to do something new with words it knows.",
        settings="The tokens' numbers, a learning rate ten times full fine-tuning's.",
        formula="E[t] is trained for the chosen t, in the output layer too where it shares the table", mergeable=True)

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the table of token embeddings: the first whose height is the vocabulary."""
        return _own.token_tables(shape)

    def trained_in(self, module: Module) -> int:
        """Return the table's width for each token."""
        return len(set(self.tokens)) * module.d_out

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return the tokens' rows; peft saves them a second time for an output layer that shares the table."""
        copies = 2 if shape.tied_embeddings else 1
        return [Piece(m.name, m.kind, m.role, m.layer, self.trained_in(m), copies * self.trained_in(m))
                for m in self.chosen(shape)]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why the tokens cannot be trained, or what else would have to be saved with them."""
        reasons: list[str] = []
        if not self.chosen(shape):
            reasons.append("This model has no table of token embeddings.")
        if not self.tokens:
            reasons.append("No token is chosen: name at least one.")
        if unknown := [t for t in self.tokens if t >= shape.vocab]:
            reasons.append(f"There is no token {unknown[0]}: this model's are numbered 0 to {shape.vocab - 1}.")
        if shape.task_heads.get(task):
            reasons.append("This task trains a new head, which peft cannot save beside single tokens.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's: few rows, each seen rarely."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import TrainableTokensConfig

        return TrainableTokensConfig(target_modules=list(modules), token_indices=sorted(set(self.tokens)))
