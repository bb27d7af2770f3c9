"""Rotations of the inputs as butterflies: few parameters that still mix far-apart units."""

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
    times_full,
)
from engine.methods.base import Card, Piece
from engine.shape import ModelShape, Module


class Boft(PeftMethod):
    """Learns a rotation of each layer's inputs, as a product of sparse ones, and a scale for each output."""

    name: Literal["boft"] = "boft"
    block_size: Annotated[int, Field(ge=2, le=256)] | None = knob(
        None, title="Block size", words={None: "Largest that fits"}, help=(
            "How many inputs are rotated together; it must divide every input width. If not given, the largest up to 4 "
            "that fits."))
    butterflies: int = knob(1, ge=1, le=8, title="Butterfly factors", advanced=True, help=(
        "How many sparse rotations are multiplied. More than one needs a program compiled for a graphics card."))
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of blocks left unrotated while training.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="BOFT", family="reparameterization", order=33,
        summary="Rotates each layer's inputs in blocks and rescales its outputs.",
        paper="Liu et al., 2023", url="https://arxiv.org/abs/2311.06243",
        use_when="The model must keep what it knows and OFT's blocks are too coarse.",
        avoid_when="Models are wide: each layer keeps a permutation as large as its inputs squared.",
        settings="Blocks of 4, LoRA's learning rate.",
        formula="h = s ⊙ W·R_m···R_1·x, every R block-diagonal with RᵀR = I", mergeable=True)
    transposed: ClassVar[bool] = False
    quantized: ClassVar[tuple[str, ...]] = ("int8", "nf4")

    def block(self, modules: Sequence[Module]) -> int:
        """Return the block size asked for, or the largest up to 4 that divides every input width."""
        return self.block_size or common_divisor(modules, 4, outputs=False)

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return a b × b matrix for each block of a layer, of which its antisymmetric part counts, and d_out scales."""
        modules = self.chosen(shape)
        block = self.block(modules)
        counts = [m.d_in // block * block * block + m.d_out for m in modules]
        return [Piece(m.name, m.kind, m.role, m.layer, n, n) for m, n in zip(modules, counts, strict=True)]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why the inputs cannot be cut into such blocks, or why there is but one factor."""
        modules = self.chosen(shape)
        block = self.block(modules)
        found = super().obstacles(shape, task, quantization)
        if self.butterflies > 1:
            found.append("More than one butterfly factor needs a CUDA program that is compiled on the spot, which is "
                         "not part of this installation; use 1, or OFT with larger blocks.")
        if block < 2:
            found.append("The input widths of these layers share no divisor, so there are no blocks.")
        return found + [f"{m.name} has {m.d_in} inputs, which blocks of {block} do not divide." for m in modules
                        if m.d_in % block][:1]

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's, at which peft's benchmark trained it (1e-4 beside 1e-5)."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import BOFTConfig

        return BOFTConfig(boft_block_size=self.block([*modules.values()]), boft_n_butterfly_factor=1,
                          boft_dropout=self.dropout, target_modules=list(modules))
