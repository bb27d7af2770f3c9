"""SSF: a learned scale and shift after each layer (Lian et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from engine.tuners import base


@dataclass
class SsfConfig(base.TunerConfig):
    """Which modules are followed by a scale and a shift, and the standard deviation by which these miss 1 and 0."""

    kind: ClassVar[str] = "ssf"
    noise: float = 0.0


class SsfLayer(base.TunerLayer):
    """Gives out `scale · y + shift`, both of shape (outputs,), for a linear, norm or 2-d convolution layer's y."""

    adapter_layer_names: tuple[str, ...] = ("ssf_scale", "ssf_shift")

    def build(self, adapter_name: str, config: Any) -> None:
        """Start from scale 1 and shift 0, or near them."""
        width = base.out_width(self.get_base_layer())
        self.ssf_scale[adapter_name] = nn.Parameter(1 + config.noise * torch.randn(width))
        self.ssf_shift[adapter_name] = nn.Parameter(config.noise * torch.randn(width))

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Scale and shift what the layer gives out."""
        found: torch.Tensor = self.base_layer(x, *args, **kwargs)
        for name in self.active():
            scale, shift = (base.along_outputs(values[name], found, self.get_base_layer()).to(found.dtype)
                            for values in (self.ssf_scale, self.ssf_shift))
            found = torch.addcmul(shift, found, scale)
        return found

    def check_merge(self) -> None:
        """Raise ValueError where the layer cannot hold a bias or its weights are quantized."""
        base.check_weight(self.get_base_layer())
        base.check_bias(self.get_base_layer())

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold scale and shift into weight and bias: W' = scale · W, b' = scale · b + shift."""
        self.check_merge()
        layer: Any = self.get_base_layer()
        for name in self.to_merge(adapter_names):
            scale, shift = self.ssf_scale[name].data, self.ssf_shift[name].data
            own = base.give_bias(layer, len(shift), shift)
            layer.weight.data = layer.weight.data * self._rows(layer, scale)
            own.data = own.data * scale.to(own.dtype) + shift.to(own.dtype)
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take scale and shift out of weight and bias again."""
        layer: Any = self.get_base_layer()
        while self.merged_adapters:
            name = self.merged_adapters.pop()
            scale, shift = self.ssf_scale[name].data, self.ssf_shift[name].data
            layer.bias.data = (layer.bias.data - shift.to(layer.bias.dtype)) / scale.to(layer.bias.dtype)
            layer.weight.data = layer.weight.data / self._rows(layer, scale)

    @staticmethod
    def _rows(layer: Any, scale: torch.Tensor) -> torch.Tensor:
        """Return the scale shaped to multiply the weights of each output; Conv1D keeps outputs in columns."""
        weight: torch.Tensor = layer.weight.data
        scale = scale.to(weight.dtype)
        return scale if type(layer).__name__ == "Conv1D" else scale.view(-1, *[1] * (weight.dim() - 1))


class SsfModel(base.TunerModel):
    """Puts SsfLayer around linear, norm and convolution layers."""

    prefix: str = "ssf_"
    tuner_layer_cls = SsfLayer


base.register(SsfConfig, SsfModel)
