"""Numbers of any size learned like small ones, by a model that in the end gives them in their own units.

While a run trains, what the head's last layer gives is multiplied by the deviation of the numbers to be learned and
moved by their mean, and gradients are those of the error in deviations. At the end both go into that layer's weight
and bias: what is saved is the model's plain architecture.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn


class Scale:
    """What stands behind `layer`, a linear layer with one output: times `deviation`, plus `mean`.

    A layer without a bias has nowhere to keep the mean: it is to learn numbers around 0, over their root mean square.
    """

    def __init__(self, layer: nn.Linear, mean: float, deviation: float, *, fresh: bool) -> None:
        """Stand behind `layer`; one whose weights are not `fresh` goes on giving what it gave."""
        self.layer = layer
        self.centred = self._bias() is not None
        self.mean = mean if self.centred else 0.0
        self.deviation = deviation if self.centred else math.hypot(mean, deviation)
        if not fresh:
            self._into(1 / self.deviation, -self.mean / self.deviation)
        self._hook = layer.register_forward_hook(self._apply)

    @property
    def gain(self) -> float:
        """What a loss, a squared error in the numbers' own units, is multiplied by before its gradient is taken."""
        return 1 / self.deviation ** 2

    def fold(self) -> None:
        """Put deviation and mean into the layer, and stand aside; to be called once."""
        self._hook.remove()
        self._into(self.deviation, self.mean)

    def _bias(self) -> torch.Tensor | None:
        return getattr(self.layer, "bias", None)

    def _into(self, factor: float, shift: float) -> None:
        with torch.no_grad():
            self.layer.weight.mul_(factor)
            if (bias := self._bias()) is not None:
                bias.mul_(factor).add_(shift)

    def _apply(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output.float() * self.deviation + self.mean


def behind(model: nn.Module, heads: Sequence[str], fresh: Collection[str], numbers: Sequence[float]) -> Scale | None:
    """Return the scale of `numbers` behind the layer of `heads` that gives one; None where there is no such layer.

    `fresh` names the parameters that no checkpoint gave their values. A single number has no deviation, and no scale.
    """
    known = np.asarray(numbers, dtype=np.float64)
    mean, deviation = float(known.mean()), float(known.std())
    if not (math.isfinite(deviation) and deviation):
        return None
    found = [(head, module) for name, module in model.named_modules() for head in heads
             if isinstance(module, nn.Linear) and module.out_features == 1 and module.weight.requires_grad
             and f".{head}." in f".{name}."]
    if len(found) != 1:
        return None
    (head, layer), = found
    return Scale(layer, mean, deviation, fresh=any(name.startswith(f"{head}.") for name in fresh))
