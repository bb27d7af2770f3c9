"""All matrices put together from one small bank of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from engine.knobs import knob
from engine.methods._peft import (
    Layers,
    PeftMethod,
    Targets,
    common_divisor,
    fan_in_fan_out,
    layers_knob,
    targets_knob,
)
from engine.methods.base import Card, Piece
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch

#: Learning rate of the choices over that of the bank's vectors (the paper's 1e-2 and 1e-3).
CHOICE_RATIO = 10.0


class Vblora(PeftMethod):
    """Learns a bank of vectors, and for each piece of every layer's LoRA which few of them to mix."""

    name: Literal["vblora"] = "vblora"
    r: int = knob(4, ge=1, le=256, scale="log2", slider=(1, 32), title="Rank",
                  help="Rank of the updates that are put together.")
    num_vectors: int = knob(256, ge=2, le=32_767, scale="log2", slider=(16, 4096), title="Vectors in the bank",
                            help="How many vectors all layers share. More for larger models.")
    vector_length: Annotated[int, Field(ge=1, le=65_536)] | None = knob(
        None, title="Length of a vector", words={None: "Largest that fits"}, help=(
            "It must divide every input and output width. If not given, the largest up to 256 that fits."))
    topk: int = knob(2, ge=1, le=64, title="Vectors mixed", help="How many vectors make one piece; 2 does best.")
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of the update's inputs dropped while training.")
    compact: bool = knob(False, advanced=True, title="Save the choices only", help=(
        "Saves the vectors chosen and not what was weighed against them: a far smaller file, which can be used and "
        "merged but not trained further."))
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="VB-LoRA", family="reparameterization", order=27,
        summary="Shares one bank of vectors between all layers and matrices; what is saved can be tiny.",
        paper="Li et al., 2024", url="https://arxiv.org/abs/2405.15179",
        use_when="Adapters are stored by the thousand.",
        avoid_when="Training memory is short: while it learns, it weighs every vector for every piece.",
        settings="Rank 4, 256 vectors as long as fits, the choices learning ten times faster than the bank.",
        formula="every piece of A and B = Σ softmax(top-k logits)·bank vectors", mergeable=True)
    quantized: ClassVar[tuple[str, ...]] = ("int8", "nf4")

    def length(self, modules: Sequence[Module]) -> int:
        """Return the vectors' length: the one asked for, or the largest up to 256 that divides every width."""
        return self.vector_length or common_divisor(modules, 256)

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return r·(d_in + d_out) / length logits over the bank for each layer, and the bank itself."""
        modules = self.chosen(shape)
        if not modules:
            return []
        length = self.length(modules)
        places = [self.r * (m.d_in // length + m.d_out // length) for m in modules]
        each = 2 * self.topk - 1 if self.compact else self.num_vectors
        found = [Piece(m.name, m.kind, m.role, m.layer, n * self.num_vectors, n * each)
                 for m, n in zip(modules, places, strict=True)]
        bank = self.num_vectors * length
        return [*found, Piece("", "other", "other", None, bank, bank)]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why nothing can be put together from such vectors."""
        found = super().obstacles(shape, task, quantization)
        if self.topk > self.num_vectors:
            found.append(f"There are {self.num_vectors} vectors, so {self.topk} of them cannot be mixed.")
        return found

    def fault(self, module: Module) -> str | None:
        """Refuse a width that vectors of this length do not fill."""
        if self.vector_length and (module.d_in % self.vector_length or module.d_out % self.vector_length):
            return f"is {module.d_in} wide and {module.d_out} out, which vectors of {self.vector_length} do not fill."
        return None

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return the paper's 1e-3, that of the bank and the head; the choices learn ten times faster."""
        return 1e-3

    def groups(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return the bank and the head, and the choices at ten times their rate."""
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        slow = [p for name, p in trained if "vblora_logits" not in name]
        fast = [p for name, p in trained if "vblora_logits" in name]
        return [{"params": slow, "lr": learning_rate, "weight_decay": weight_decay},
                {"params": fast, "lr": learning_rate * CHOICE_RATIO, "weight_decay": weight_decay}]

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import VBLoRAConfig

        return VBLoRAConfig(
            r=self.r, num_vectors=self.num_vectors, vector_length=self.length([*modules.values()]), topk=self.topk,
            vblora_dropout=self.dropout, save_only_topk_weights=self.compact, target_modules=list(modules),
            fan_in_fan_out=fan_in_fan_out(modules))
