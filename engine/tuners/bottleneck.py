"""Bottleneck adapters: a narrow layer with a detour around it after a layer (Houlsby et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from engine.tuners import base

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}
#: The names under which a layer keeps the two matrices of a bottleneck and their biases.
PARTS = ("bottleneck_down", "bottleneck_down_bias", "bottleneck_up", "bottleneck_up_bias")


def width(config: Any, outer: int) -> int:
    """Return the bottleneck's width for a layer that gives out `outer` numbers."""
    return int(config.size) if config.size else max(1, outer // int(config.reduction))


@dataclass
class BottleneckConfig(base.TunerConfig):
    """The width of the bottleneck, as a number or as a share of the layer's, and how it computes and starts.

    `start` is zero (the way up is 0, so nothing changes at first) or normal (both ways are drawn with a small spread).
    """

    kind: ClassVar[str] = "bottleneck"
    size: int | None = None
    reduction: int = 16
    activation: str = "gelu"
    dropout: float = 0.0
    start: str = "zero"


class BottleneckLayer(base.TunerLayer):
    """Gives out y + up(activation(down(y))) for the y of a linear layer; down is (r, d), up (d, r), both with bias."""

    adapter_layer_names: tuple[str, ...] = PARTS

    def build(self, adapter_name: str, config: Any) -> None:
        """Draw the way down; the way up is zero, or drawn as narrowly as the paper does."""
        outer = self.outer()
        down, up = torch.empty(width(config, outer), outer), torch.zeros(outer, width(config, outer))
        if config.start == "normal":
            nn.init.trunc_normal_(down, std=1e-2, a=-2e-2, b=2e-2)
            nn.init.trunc_normal_(up, std=1e-2, a=-2e-2, b=2e-2)
        else:
            nn.init.kaiming_uniform_(down, a=5 ** 0.5)
        parts = (down, torch.zeros(len(down)), up, torch.zeros(outer))
        for name, value in zip(self.adapter_layer_names, parts, strict=False):
            getattr(self, name)[adapter_name] = nn.Parameter(value)

    def outer(self) -> int:
        """Return the width on both sides of the bottleneck."""
        return base.out_width(self.get_base_layer())

    def narrow(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Return what the bottleneck of an adapter makes of x (…, d), in the number format of x."""
        config = self.settings[name]
        down, down_bias, up, up_bias = (getattr(self, part)[name].to(x.dtype) for part in self.adapter_layer_names[:4])
        inner = ACTIVATIONS[config.activation](F.linear(x, down, down_bias))
        if config.dropout and self.training:
            inner = F.dropout(inner, config.dropout)
        return F.linear(inner, up, up_bias)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the layer, then each active adapter after it."""
        found: torch.Tensor = self.base_layer(x, *args, **kwargs)
        for name in self.active():
            found = found + self.narrow(name, found)
        return found


class NormLayer(base.TunerLayer):
    """A norm layer whose weight and bias change: `bottleneck_norm` holds the changes, one after the other."""

    adapter_layer_names: tuple[str, ...] = ("bottleneck_norm",)

    def build(self, adapter_name: str, config: Any) -> None:
        """Start from no change."""
        self.bottleneck_norm[adapter_name] = nn.Parameter(torch.zeros(sum(t.numel() for t in self.own().values())))

    def own(self) -> dict[str, torch.Tensor]:
        """Return the norm layer's weight and bias."""
        return dict(self.get_base_layer().named_parameters(recurse=False))

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the norm layer with its weight and bias changed."""
        names = self.active()
        if not names:
            return self.base_layer(x, *args, **kwargs)
        changed, start = {}, 0
        for part, tensor in self.own().items():
            stop = start + tensor.numel()
            change = sum(self.bottleneck_norm[name][start:stop].view(tensor.shape) for name in names)
            changed[part], start = (tensor + change).to(tensor.dtype), stop
        return torch.func.functional_call(self.base_layer, changed, (x, *args), kwargs)


class BottleneckModel(base.TunerModel):
    """Puts BottleneckLayer after linear layers and NormLayer around norm layers."""

    prefix: str = "bottleneck_"
    tuner_layer_cls: type[base.TunerLayer] = base.TunerLayer

    def _make(self, target: nn.Module, adapter_name: str, config: Any, name: str) -> base.TunerLayer:
        kind = NormLayer if "norm" in type(target).__name__.lower() else BottleneckLayer
        return kind(target, adapter_name, config)


base.register(BottleneckConfig, BottleneckModel)
