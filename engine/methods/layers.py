"""Full fine-tuning of the top of the model alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from engine.knobs import knob
from engine.methods.base import Card, Method, Piece, full_learning_rate
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Layers(Method):
    """Trains the top blocks of the model with its task head; everything below stays frozen."""

    name: Literal["layers"] = "layers"
    artifact: ClassVar[Literal["adapter", "model"]] = "model"
    top: int = knob(2, ge=1, le=1000, slider=(1, 24), title="Blocks", help=(
        "How many blocks learn, counted from the top. All of them is nearly full fine-tuning."))
    above: bool = knob(True, advanced=True, title="Final norm and pooler", help=(
        "Also train what lies between the blocks and the head. The word embeddings and a language model's output "
        "matrix stay frozen."))

    card: ClassVar[Card] = Card(
        title="Layer tuning", family="selective", order=40,
        summary="Fine-tunes the top blocks and the head; the blocks below run once and are remembered.",
        paper="Lee et al., 2019", url="https://arxiv.org/abs/1911.03090",
        use_when="The task is close to what the model knows, or an epoch must be fast: frozen blocks run only once.",
        avoid_when="Storage matters (a whole model is saved), or the lower blocks must learn something new.",
        settings="A quarter of the blocks, the learning rate of full fine-tuning.",
        formula="θ_l ← θ_l − η·∇L(θ_l) for the top k of the blocks, the others stay", mergeable=True)

    @property
    def float32(self) -> bool:
        """Weights that are trained stay in float32."""
        return True

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the modules that learn."""
        first = max(0, shape.layers - self.top)
        blocks = [m for m in shape.modules if m.layer is not None and m.layer >= first]
        if not self.above:
            return blocks
        if shape.family == "vision":
            # Convolutional networks have norms below their blocks too, and convolutions above them.
            last = max(i for i, m in enumerate(shape.modules) if m.layer is not None)
            return blocks + [m for m in shape.modules[last + 1:] if m.layer is None and m.role != "head"]
        # In an encoder-decoder a norm belongs to the stack it stands in, and learns when a block of that stack does.
        stacks = {m.name.partition(".")[0] for m in blocks} if shape.family == "encoder-decoder" else None
        return blocks + [m for m in shape.modules if _above(m)
                         and (stacks is None or m.name.partition(".")[0] in stacks)]

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return the chosen modules whole."""
        return [Piece(m.name, m.kind, m.role, m.layer, m.parameters, m.parameters) for m in self.chosen(shape)
                if m.parameters]

    def first_trained_layer(self, shape: ModelShape) -> int | None:
        """Return the lowest block that learns: norm and pooler outside the blocks come after them."""
        return max(0, shape.layers - self.top)

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Refuse quantized bases, and more blocks than there are."""
        reasons: list[str] = []
        if self.top > shape.layers:
            shared = " (shared, so it learns whole or not at all)" if shape.depth > shape.layers else ""
            reasons.append(f"This model has {shape.layers} {'block' if shape.layers == 1 else 'blocks'}{shared}, "
                           f"not {self.top}.")
        if quantization:
            reasons.append("Weights stored in 4 or 8 bits cannot be trained; layer tuning needs the base as it is.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return the usual rate of full fine-tuning at this width."""
        return full_learning_rate(shape)

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Freeze everything but the chosen modules and the head."""
        from engine.skeleton import names_in

        model.requires_grad_(False)
        for name in names_in(model, [m.name for m in self.chosen(shape)]).values():
            for parameter in model.get_submodule(name).parameters(recurse=False):
                parameter.requires_grad_(True)
                parameter.data = parameter.data.float()
        for name in heads:
            model.get_submodule(name).requires_grad_(True)
        return model


def _above(module: Module) -> bool:
    """Whether a module stands between the last block and the head: a pooler, or a norm that is not an embedding's."""
    if module.layer is not None:
        return False
    return module.role == "pooler" or (module.kind == "norm" and "emb" not in module.name.lower())
