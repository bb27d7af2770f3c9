"""A few wavelets learned in place of a matrix."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import (
    Layers,
    PeftMethod,
    Targets,
    fan_in_fan_out,
    layers_knob,
    targets_knob,
    times_full,
)
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Waveft(PeftMethod):
    """Learns the strengths of a few wavelets, which are local where FourierFT's waves are everywhere."""

    name: Literal["waveft"] = "waveft"
    coefficients: int = knob(2592, ge=1, le=1_000_000, scale="log2", slider=(50, 20_000), title="Coefficients",
                             help="How many a layer learns, each one parameter; at most the entries of its matrix.")
    scaling: float = knob(25.0, gt=0, slider=(1, 200), title="Scaling", help="Strength of the update.")
    wavelet: Literal["db1", "sym2", "coif1"] = knob("db1", advanced=True, title="Wavelet",
                                                   help="Shape of the waves; db1 is the simplest and fastest.")
    seed: int = knob(777, ge=0, le=2**31 - 1, advanced=True, title="Seed of the places",
                     help="Which wavelets are learned is drawn from it.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="WaveFT", family="reparameterization", order=39,
        summary="Learns a few numbers a layer, read as wavelets of the update.",
        paper="Bilican et al., 2025", url="https://arxiv.org/abs/2505.12532",
        use_when="Adapters must be tiny, and their size chosen freely, down to one number a layer.",
        avoid_when="Speed matters: each step transforms a matrix as large as the layer's.",
        settings="2592 coefficients, scaling 25, a third of LoRA's learning rate.",
        formula="ΔW = s·IDWT(C), C zero but for the learned coefficients", mergeable=True)

    def trained_in(self, module: Module) -> int:
        """Return the number of coefficients, at most the entries of the matrix."""
        return min(self.coefficients, module.d_in * module.d_out)

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return three times full fine-tuning's: for the 3B model of peft's benchmark the 1e-4 that was used there."""
        return times_full(shape, 3)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config; small layers learn as many coefficients as they have entries."""
        from peft import WaveFTConfig

        fewer = {full: n for full, m in modules.items() if (n := self.trained_in(m)) < self.coefficients}
        return WaveFTConfig(
            n_frequency=self.coefficients, scaling=self.scaling, wavelet_family=self.wavelet,
            random_loc_seed=self.seed, n_frequency_pattern=fewer, target_modules=list(modules),
            fan_in_fan_out=fan_in_fan_out(modules))
