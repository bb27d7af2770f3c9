"""A few waves learned in place of a matrix."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, Targets, fan_in_fan_out, layers_knob, targets_knob
from engine.methods.base import Card
from engine.shape import ModelShape, Module


class Fourierft(PeftMethod):
    """Learns the strengths of a few frequencies; the update is the picture they make together."""

    name: Literal["fourierft"] = "fourierft"
    frequencies: int = knob(1000, ge=1, le=1_000_000, scale="log2", slider=(50, 10_000), title="Frequencies",
                            help="How many a layer learns, each one parameter; at most the entries of its matrix.")
    scaling: float = knob(150.0, gt=0, slider=(1, 500), title="Scaling",
                          help="Strength of the update. Around 150 suits classifiers, 300 large language models.")
    init: Literal["random", "zero"] = knob("zero", advanced=True, title="Start from", help=(
        "zero starts as no change. random is the paper's; below a width of 768 it disturbs the model a lot."))
    seed: int = knob(777, ge=0, le=2**31 - 1, advanced=True, title="Seed of the frequencies",
                     help="Which frequencies are learned is drawn from it.")
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="FourierFT", family="reparameterization", order=35,
        summary="Learns a thousand numbers a layer, read as frequencies of the update.",
        paper="Gao et al., 2024", url="https://arxiv.org/abs/2405.03003",
        use_when="Adapters must be tiny and their size must not grow with the model.",
        avoid_when="Speed matters: each step transforms a matrix as large as the layer's.",
        settings="1000 frequencies, scaling 150, a large learning rate.",
        formula="ΔW = s·Re(IFFT2(F)), F zero but for the learned frequencies", mergeable=True)
    quantized: ClassVar[tuple[str, ...]] = ("int8", "nf4")
    head_most: ClassVar[float | None] = 3e-3

    def trained_in(self, module: Module) -> int:
        """Return the number of frequencies, at most the entries of the matrix."""
        return min(self.frequencies, module.d_in * module.d_out)

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return the paper's 3e-3 for language models, and its 5e-2 for encoders, the head excepted.

        One number moves a weight by scaling / width², so narrow encoders get less: the rate falls as width² does, to
        1e-3.
        """
        if shape.family == "decoder":
            return 3e-3
        return float(f"{max(5e-2 * min(1.0, (shape.hidden / 768) ** 2), 1e-3):.1e}")

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config; small layers learn as many frequencies as they have entries."""
        from peft import FourierFTConfig

        fewer = {full: n for full, m in modules.items() if (n := self.trained_in(m)) < self.frequencies}
        return FourierFTConfig(
            n_frequency=self.frequencies, scaling=self.scaling, random_loc_seed=self.seed, n_frequency_pattern=fewer,
            init_weights=self.init == "zero", target_modules=list(modules), fan_in_fan_out=fan_in_fan_out(modules))
