"""Rescaling keys, values and the feed-forward layer: the fewest parameters that still change every block."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods._peft import Layers, PeftMethod, fan_in_fan_out, layers_knob
from engine.methods.base import Card
from engine.shape import ModelShape, Module

#: What is rescaled -> the roles of the layers that carry it. A fused query+key+value layer is rescaled whole.
ROLES: dict[str, tuple[str, ...]] = {"attention": ("key", "value", "qkv"), "mlp": ("down",),
                                     "all": ("key", "value", "qkv", "down")}


class Ia3(PeftMethod):
    """Learns one factor for each key, value and inner feed-forward unit; no matrix is touched."""

    name: Literal["ia3"] = "ia3"
    where: Literal["all", "attention", "mlp"] = knob("all", title="What to rescale", help=(
        "all is the paper's: keys, values and the inner side of the feed-forward layer. Queries too, where a model "
        "computes them together with keys and values."))
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="IA³", family="scale", order=60,
        summary="Learns to amplify or silence single units of each block: about 0.01 % of the weights.",
        paper="Liu et al., 2022", url="https://arxiv.org/abs/2205.05638",
        use_when="Few examples, many tasks on one model, or an adapter of a few kilobytes.",
        avoid_when="The task is far from what the model knows: factors alone cannot teach it.",
        settings="A learning rate of 3e-3, as in the paper, and more epochs than LoRA.",
        formula="k = l_k ⊙ W_k·x, v = l_v ⊙ W_v·x, h = W_down·(l_ff ⊙ u), only l is trained", mergeable=True)

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the key, value and down-projection layers asked for."""
        linear = [m for m in shape.linear() if m.role in ROLES[self.where]]
        return shape.in_layers(linear, self.blocks(shape))

    def trained_in(self, module: Module) -> int:
        """Return d_in of a down projection, whose input is rescaled, and d_out of the others."""
        return module.d_in if module.role == "down" else module.d_out

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return the paper's 3e-3, whatever the size of the model: factors near 1 do not shrink with its width."""
        return 3e-3

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config; the feed-forward layers are named, or peft would take its own list of names."""
        from peft import IA3Config

        return IA3Config(target_modules=list(modules), fan_in_fan_out=fan_in_fan_out(modules),
                         feedforward_modules=[full for full, m in modules.items() if m.role == "down"])
