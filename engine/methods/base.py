"""What every fine-tuning method promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from engine.shape import Kind, ModelShape, Role

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Family = Literal["baseline", "selective", "reparameterization", "additive", "soft prompt", "scale"]


@dataclass(frozen=True)
class Card:
    """What a person reads before picking a method: the source of its form card and its docs page."""

    title: str
    family: Family
    summary: str
    paper: str
    url: str = ""
    use_when: str = ""
    avoid_when: str = ""
    formula: str = ""
    mergeable: bool = False
    order: int = 100


@dataclass(frozen=True)
class Piece:
    """Parameters a method trains and stores in one module of the base model."""

    module: str
    kind: Kind
    role: Role
    layer: int | None
    trained: int
    stored: int


class Method(BaseModel):
    """A way of fine-tuning. A subclass is one file, one set of fields, one card, one exact count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    card: ClassVar[Card]
    #: "adapter": saved as a peft directory; "model": saved as a whole transformers model.
    artifact: ClassVar[Literal["adapter", "model"]] = "adapter"

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return what is trained and stored in each module, the task head excluded; empty when only the head learns."""
        raise NotImplementedError

    def trainable(self, shape: ModelShape) -> int:
        """Return the exact number of parameters that are trained, the task head excluded."""
        return sum(piece.trained for piece in self.pieces(shape))

    def stored(self, shape: ModelShape) -> int:
        """Return the exact number of parameters that are saved, the task head excluded."""
        return sum(piece.stored for piece in self.pieces(shape))

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return the reasons why this method cannot train this model for this task; empty when it can."""
        return []

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return the peak learning rate that "auto" stands for."""
        raise NotImplementedError

    def first_trained_layer(self, shape: ModelShape) -> int | None:
        """Return the lowest block that holds trained parameters; `shape.layers` for the head alone; None for all."""
        layers = [piece.layer for piece in self.pieces(shape) if piece.trained]
        if not layers:
            return shape.layers
        return None if None in layers else min(layer for layer in layers if layer is not None)

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Freeze `model`, add what is trained and return the model to train; `heads` are module names trained whole."""
        raise NotImplementedError

    def groups(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return optimizer parameter groups over every trainable tensor of `model`."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        return [{"params": parameters, "lr": learning_rate, "weight_decay": weight_decay}]
