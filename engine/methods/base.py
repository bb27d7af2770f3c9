"""What every fine-tuning method promises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, model_validator

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
    settings: str = ""
    formula: str = ""
    mergeable: bool = False
    order: int = 100


@dataclass(frozen=True)
class Piece:
    """Parameters a method trains and stores in one module of the base model.

    `called` names what stands beside the module, where that is no part of it.
    """

    module: str
    kind: Kind
    role: Role
    layer: int | None
    trained: int
    stored: int
    called: str = ""


@dataclass(frozen=True)
class Doubt:
    """A setting that is allowed and does not do what it seems to: its field, what is so, and what to do."""

    field: str
    what: str
    try_this: str


class Method(BaseModel):
    """A way of fine-tuning. A subclass is one file, one set of fields, one card, one exact count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    card: ClassVar[Card]
    #: "adapter": saved as a peft directory; "model": saved as a whole transformers model.
    artifact: ClassVar[Literal["adapter", "model"]] = "adapter"

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, given: Any) -> Any:
        """Refuse yes and no where a number is asked for, which would count as 1 and 0."""
        numbers: set[Any] = {int, float}
        for field, value in given.items() if isinstance(given, dict) else ():
            if isinstance(value, bool) and field in cls.model_fields and cls.model_fields[field].annotation in numbers:
                raise ValueError(f"{field} is a number, not {str(value).lower()}")
        return given

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

    @property
    def float32(self) -> bool:
        """Whether the base must be held in float32 for this method to be exact."""
        return False

    @property
    def needs_data(self) -> bool:
        """Whether `initialise` looks at training batches before the first update."""
        return False

    def initialise(self, model: torch.nn.Module, batches: Iterable[dict[str, torch.Tensor]]) -> None:
        """Set what `attach` added from training batches (mappings of model inputs); most methods do nothing here."""

    def begin(self, model: torch.nn.Module, tokenizer: Any, labels: Sequence[str], source: Path | None = None) -> None:
        """Set what `attach` added from words, the task's labels or the adapter in `source`; most methods do nothing."""

    @property
    def origin(self) -> str:
        """The adapter to start from, a folder or, where adapters have ids, its id; empty for none."""
        return ""

    def doubts(self, shape: ModelShape) -> list[Doubt]:
        """Return what a person should know of settings that are allowed and do not do what they seem to."""
        return []

    def check_source(self, folder: Path, shape: ModelShape) -> None:
        """Raise what is wrong with the adapter in a folder as one to start from, its numbers unread."""

    # -- while it trains -------------------------------------------------------------------------------------------

    def virtual_tokens(self, shape: ModelShape) -> int:
        """Return how many places of the model's input the method takes for itself; texts must leave them free."""
        return 0

    @property
    def copies(self) -> int:
        """How often a row is laid into a batch: once for each member of an ensemble, whose losses are averaged."""
        return 1

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """Return what is added to the mean loss of an update, a scalar with gradient; None for nothing."""
        return None

    def before_update(self, model: torch.nn.Module, step: int, total: int) -> None:
        """Prepare for update `step` (from 0) of `total`, before its first forward pass."""

    def after_update(self, model: torch.nn.Module, step: int, total: int) -> None:
        """Follow the optimizer's update `step` (from 0) of `total`; its clipped gradients are still in `.grad`."""

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Return what a checkpoint must hold beyond the trained tensors, by name."""
        return {}

    def load_state(self, model: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state` returned."""

    def conclude(self, model: torch.nn.Module) -> bool:
        """Bring the model into the form that is saved, before its last evaluation; True when its outputs may change."""
        return False

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the trained result to `folder` so that plain peft (or transformers, for "model") loads it."""
        saving: Any = model
        saving.save_pretrained(str(folder), safe_serialization=True)

    def groups(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return optimizer parameter groups over every trainable tensor of `model`."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        return [{"params": parameters, "lr": learning_rate, "weight_decay": weight_decay}]


def full_learning_rate(shape: ModelShape) -> float:
    """Return the usual peak rate of full fine-tuning, which falls with the width of the model.

    Encoders: 5e-5 at width 768 (Devlin et al., 2019). Decoders: 5e-5 · (2000 / width)^0.775, a tenth of the rate
    fitted for LoRA (LoRA Without Regret, 2025). Two digits, between 1e-5 and 3e-4.
    """
    width = max(shape.hidden, 1)
    rate = 5e-5 * (2000 / width) ** 0.775 if shape.family == "decoder" else 5e-5 * 768 / width
    return float(f"{min(max(rate, 1e-5), 3e-4):.1e}")
