"""Turning pairs of outputs: rotations cheap enough to differ for every row of a batch."""

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
from engine.methods.base import Card
from engine.shape import ModelShape, Module

#: Variant -> parameters for each output.
EACH = {"road_1": 1, "road_2": 2, "road_4": 4}


class Road(PeftMethod):
    """Learns an angle and a length for pairs of each layer's outputs."""

    name: Literal["road"] = "road"
    variant: Literal["road_1", "road_2", "road_4"] = knob("road_1", title="Variant", words={
        "road_1": "RoAd 1", "road_2": "RoAd 2", "road_4": "RoAd 4"}, help=(
        "Parameters for each output: one (pairs share angle and length), two or four (any 2 × 2 matrix)."))
    group_size: Annotated[int, Field(ge=2, le=65_536, multiple_of=2)] | None = knob(
        None, advanced=True, title="Group size", words={None: "Largest that fits"}, help=(
            "Which outputs form pairs: the two halves of each group. It must divide every output width; it changes "
            "speed, not quality. If not given, the largest even one up to 64."))
    targets: Targets = targets_knob()
    layers: Layers = layers_knob()

    card: ClassVar[Card] = Card(
        title="RoAd", family="scale", order=61,
        summary="Rotates and stretches pairs of outputs: about as small as IA³, and it can also turn.",
        paper="Liao and Monz, 2024", url="https://arxiv.org/abs/2409.00119",
        use_when="Many small adapters are served at once from one model.",
        avoid_when="The task needs much new knowledge: raise to road_4 or take LoRA.",
        settings="road_1 and a learning rate of 1e-3 to 1e-2.",
        formula="h = R·W·x, R of 2 × 2 blocks α·[cos θ, -sin θ; sin θ, cos θ]", mergeable=True)
    transposed: ClassVar[bool] = False

    def group(self, modules: Sequence[Module]) -> int:
        """Return the group size asked for, or the largest even one up to 64 that divides every output width."""
        halves = [m.model_copy(update={"d_out": m.d_out // 2}) for m in modules]
        return self.group_size or 2 * common_divisor(halves, 32, inputs=False)

    def trained_in(self, module: Module) -> int:
        """Return d_out, twice or four times as many: angles and lengths."""
        return EACH[self.variant] * module.d_out

    def fault(self, module: Module) -> str | None:
        """Refuse outputs that cannot be paired."""
        size = self.group_size or 2
        return f"has {module.d_out} outputs, which groups of {size} do not divide." if module.d_out % size else None

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return a hundred times full fine-tuning's, as peft's benchmark trained it (1e-3 beside 1e-5)."""
        return min(times_full(shape, 100), 1e-2)

    def config(self, modules: dict[str, Module]) -> Any:
        """Return peft's config."""
        from peft import RoadConfig

        return RoadConfig(variant=self.variant, group_size=self.group([*modules.values()]),
                          target_modules=list(modules))
