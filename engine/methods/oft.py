"""Rotating what goes into each layer: angles between units stay as pretraining made them."""

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


class Oft(PeftMethod):
    """Learns a rotation of each layer's inputs, block by block."""

    name: Literal["oft"] = "oft"
    block_size: Annotated[int, Field(ge=2, le=1024)] | None = knob(
        None, title="Block size", words={None: "Largest that fits"}, help=(
            "How many inputs are rotated together; it must divide every input width. Larger blocks learn more. If not "
            "given, the largest up to 32 that fits."))
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), title="Dropout",
                          help="Share of blocks left unrotated while training.")
    block_share: bool = knob(False, advanced=True, title="One rotation for all blocks",
                             help="All blocks of a layer share one rotation: far fewer parameters.")
    coft: bool = knob(False, advanced=True, title="Constrained (COFT)",
                      help="Keep each rotation close to none at all.")
    eps: float = knob(6e-5, gt=0, lt=1, advanced=True, scale="log10", shown_if={"coft": True}, title="How close",
                      help="How far a constrained rotation may go.")
    exact: bool = knob(False, advanced=True, title="Exact rotations", help=(
        "Solve for each rotation exactly. Off uses a short series, which is faster and slightly less orthogonal."))
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="OFT", family="reparameterization", order=32,
        summary="Rotates each layer's inputs in small blocks, so that what units have in common is kept.",
        paper="Qiu et al., 2023", url="https://arxiv.org/abs/2306.07280",
        use_when="The model must keep what it knows; it was second best of all methods in peft's arithmetic benchmark.",
        avoid_when="Layers' widths share no divisor, or training must be as fast as LoRA's.",
        settings="Blocks of 32 and LoRA's learning rate or a little less.",
        formula="h = W·R·x, R block-diagonal with RᵀR = I", mergeable=True)
    transposed: ClassVar[bool] = False
    maps: ClassVar[bool] = False
    quantized: ClassVar[tuple[str, ...]] = ("int8", "nf4")

    def block(self, modules: Sequence[Module]) -> int:
        """Return the block size asked for, or the largest up to 32 that divides every input width."""
        return self.block_size or common_divisor(modules, 32, outputs=False)

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return b·(b - 1) / 2 angles for each block of a layer."""
        modules = self.chosen(shape)
        block = self.block(modules)
        counts = [(1 if self.block_share else m.d_in // block) * block * (block - 1) // 2 for m in modules]
        return [Piece(m.name, m.kind, m.role, m.layer, n, n) for m, n in zip(modules, counts, strict=True)]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why the inputs of the chosen layers cannot be cut into such blocks."""
        modules = self.chosen(shape)
        block = self.block(modules)
        whole = [] if block > 1 else ["The input widths of these layers share no divisor, so there are no blocks."]
        uneven = [f"{m.name} has {m.d_in} inputs, which blocks of {block} do not divide." for m in modules
                  if m.d_in % block]
        return super().obstacles(shape, task, quantization) + whole + uneven[:1]

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return LoRA's, ten times full fine-tuning's, at which peft's benchmark trained it (1e-4 beside 1e-5)."""
        return times_full(shape, 10)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import OFTConfig

        return OFTConfig(
            r=0, oft_block_size=self.block([*modules.values()]), module_dropout=self.dropout, coft=self.coft,
            eps=self.eps, block_share=self.block_share, use_cayley_neumann=not self.exact,
            target_modules=list(modules))
