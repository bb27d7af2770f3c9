"""A Kronecker product of a small matrix and a larger, low-rank one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, Targets, layers_knob, targets_knob, times_full
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Lokr(PeftMethod):
    """Learns an update made of blocks: one small matrix says how strongly each block repeats another matrix."""

    name: Literal["lokr"] = "lokr"
    r: int = knob(8, ge=1, le=1024, scale="log2", slider=(1, 128), title="Rank",
                  help="Rank of the larger matrix; from half its width on, it is learned whole.")
    alpha: int = knob(8, ge=1, slider=(1, 128), scale="log2", title="Alpha",
                      help="Strength: the update is scaled by alpha / r.")
    factor: int = knob(-1, ge=-1, le=512, slider=(-1, 32), title="Blocks a side", help=(
        "Into how many blocks each side is cut, where that divides it. -1 makes both matrices about equally large; "
        "small numbers such as 4 learn more."))
    both: bool = knob(False, advanced=True, title="Low rank for both",
                      help="Write the small matrix as a low-rank product too, where that saves anything.")
    rank_dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), advanced=True, title="Rank dropout",
                               help="Share of the update's rows dropped while training.")
    module_dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), advanced=True, title="Layer dropout",
                                 help="Share of forward passes in which a layer goes without its update.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="LoKr", family="reparameterization", order=31,
        summary="A block-patterned update of full rank with fewer parameters than LoRA's.",
        paper="Yeh et al., 2023", url="https://arxiv.org/abs/2309.14859",
        use_when="Adapters must be very small, yet an update of high rank is wanted.",
        avoid_when="Blocks of the weights have little in common; LoRA makes no such assumption.",
        settings="Rank 8 with -1, or rank 32 with 4 blocks a side.",
        formula="ΔW = (α / r)·C ⊗ (A·B)", mergeable=True)
    transposed: ClassVar[bool] = False
    quantized: ClassVar[tuple[str, ...]] = ("int8",)

    def trained_in(self, module: Module) -> int:
        """Return the entries of C and of A·B, each low-rank where that is smaller."""
        (rows, tall), (columns, wide) = split(module.d_out, self.factor), split(module.d_in, self.factor)
        small = self.r * (rows + columns) if self.both and self.r < max(rows, columns) / 2 else rows * columns
        return small + (self.r * (tall + wide) if self.r < max(tall, wide) / 2 else tall * wide)

    def fault(self, module: Module) -> str | None:
        """Refuse a factor of zero, which divides nothing."""
        return "cannot be cut into no blocks: choose -1 or at least 1." if self.factor == 0 else None

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return thirty times full fine-tuning's: peft's benchmark on Llama-3.2-3B does well up to 3e-3."""
        return times_full(shape, 30)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import LoKrConfig

        return LoKrConfig(r=self.r, alpha=self.alpha, decompose_factor=self.factor, decompose_both=self.both,
                          rank_dropout=self.rank_dropout, module_dropout=self.module_dropout,
                          target_modules=list(modules))


def split(size: int, factor: int) -> tuple[int, int]:
    """Return m ≤ n with m·n = size: m is `factor` where that divides, else the most even pair with m up to it."""
    if factor > 0 and size % factor == 0:
        return factor, size // factor
    most = size if factor == -1 else factor
    m = max(number for number in range(1, int(size**0.5) + 1) if size % number == 0 and number <= most)
    return m, size // m
