"""The floor of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from engine.methods.base import Card, Method, Piece
from engine.shape import ModelShape

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Head(Method):
    """Trains the task head alone; the whole base model stays frozen."""

    name: Literal["head"] = "head"
    artifact: ClassVar[Literal["adapter", "model"]] = "model"
    card: ClassVar[Card] = Card(
        title="Head only", family="baseline", order=20,
        summary="Trains only the new output layer on top of the frozen model.",
        paper="The “frozen” baseline of Ben Zaken et al., 2022", url="https://arxiv.org/abs/2106.10199",
        use_when="As the floor of a comparison, or when a run must take seconds.",
        avoid_when="You want the best accuracy: the model itself learns nothing.",
        settings="A learning rate around 3e-3 and many epochs, which cost little: frozen layers run only once.",
        formula="y = softmax(W·h(x) + b), only W and b are trained", mergeable=True)

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return nothing: only the head learns."""
        return []

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Refuse tasks that add no head, and quantized bases, which cannot be saved as a whole model."""
        reasons = [] if shape.task_heads.get(task) else [f"The task {task} adds no head, so nothing would be trained."]
        if quantization:
            reasons.append("Head-only training saves the whole model, which a quantized base does not allow.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """A linear probe takes large steps."""
        return 3e-3

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Freeze everything but the head."""
        model.requires_grad_(False)
        for name in heads:
            model.get_submodule(name).requires_grad_(True)
        return model
