"""Circular convolutions in place of matrices: full rank from one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from engine.knobs import knob
from engine.methods._peft import (
    Layers,
    PeftMethod,
    Targets,
    common_divisor,
    layers_knob,
    targets_knob,
)
from engine.methods.base import Card, Piece
from engine.shape import ModelShape, Module


class C3a(PeftMethod):
    """Learns an update whose blocks are circulant: each is one row, shifted."""

    name: Literal["c3a"] = "c3a"
    block_size: Annotated[int, Field(ge=1, le=65_536)] | None = knob(
        None, title="Block size", words={None: "Largest that fits"}, help=(
            "Side of a block; it must divide every input and output width. Larger blocks learn less and cost less. "
            "If not given, the largest up to 256 that fits."))
    init: Literal["zero", "xavier_uniform", "kaiming_uniform", "gaussian"] = knob(
        "zero", advanced=True, title="Start from", help=(
            "zero starts as no change; random starts change the model a little before training."))
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="C³A", family="reparameterization", order=36,
        summary="A full-rank update made of circular convolutions, with fewer parameters than LoRA.",
        paper="Chen et al., 2024", url="https://arxiv.org/abs/2407.19342",
        use_when="A small adapter should still make updates of full rank.",
        avoid_when="The widths of a model share no large divisor.",
        settings="The largest block that fits, and a learning rate of 0.1 to 0.3.",
        formula="ΔW = blocks circ(w) / d_in, one row w a block", mergeable=True)
    transposed: ClassVar[bool] = False
    head_most: ClassVar[float | None] = 3e-3

    def block(self, modules: Sequence[Module]) -> int:
        """Return the block size asked for, or the largest up to 256 that divides every width."""
        return self.block_size or common_divisor(modules, 256)

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return d_in·d_out / b for each layer."""
        modules = self.chosen(shape)
        counts = [m.d_in * m.d_out // self.block(modules) for m in modules]
        return [Piece(m.name, m.kind, m.role, m.layer, n, n) for m, n in zip(modules, counts, strict=True)]

    def fault(self, module: Module) -> str | None:
        """Refuse a width that the block size does not divide."""
        if self.block_size and (module.d_in % self.block_size or module.d_out % self.block_size):
            return f"is {module.d_in} wide and {module.d_out} out, which blocks of {self.block_size} do not divide."
        return None

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return 0.1, the head excepted: the paper and peft's benchmark use 0.1 to 0.3."""
        return 0.1

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import C3AConfig

        return C3AConfig(block_size=self.block([*modules.values()]), target_modules=list(modules),
                         init_weights=True if self.init == "zero" else self.init)
