"""The reference every comparison shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from engine.methods.base import Card, Method, Piece, full_learning_rate
from engine.shape import ModelShape

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Full(Method):
    """Trains every parameter of the model."""

    name: Literal["full"] = "full"
    artifact: ClassVar[Literal["adapter", "model"]] = "model"
    card: ClassVar[Card] = Card(
        title="Full fine-tuning", family="baseline", order=30,
        summary="Trains every weight of the model and stores a complete copy of it.",
        paper="Devlin et al., 2019", url="https://arxiv.org/abs/1810.04805",
        use_when="The model is small, the data is plentiful, and one model per task is fine.",
        avoid_when="Memory is short or you need many variants: it keeps four numbers per weight while training.",
        settings="A learning rate of 2e-5 to 5e-5 at BERT's width, 2 to 4 epochs, 16 or 32 examples an update.",
        formula="θ ← θ − η·∇L(θ), all of θ", mergeable=True)

    @property
    def float32(self) -> bool:
        """Weights that are trained stay in float32."""
        return True

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return every module whole."""
        return [Piece(m.name, m.kind, m.role, m.layer, m.parameters, m.parameters) for m in shape.modules
                if m.parameters]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Refuse quantized bases: their weights cannot be trained."""
        return ["Weights stored in 4 or 8 bits cannot be trained; full fine-tuning needs the base as it is."] \
            if quantization else []

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return the usual rate of full fine-tuning at this width."""
        return full_learning_rate(shape)

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Make every weight trainable, in float32."""
        model.float()
        model.requires_grad_(True)
        return model
