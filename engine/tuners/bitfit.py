"""BitFit: a learned change of each layer's bias (Ben Zaken et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from engine.tuners import base


@dataclass
class BitFitConfig(base.TunerConfig):
    """Which modules get a change of bias."""

    kind: ClassVar[str] = "bitfit"


class BitFitLayer(base.TunerLayer):
    """Adds `bitfit_bias`, shape (outputs,), to what a linear or norm layer gives out; zero at the start."""

    adapter_layer_names: tuple[str, ...] = ("bitfit_bias",)

    def build(self, adapter_name: str, config: Any) -> None:
        """Start from no change."""
        self.bitfit_bias[adapter_name] = nn.Parameter(torch.zeros(base.out_width(self.get_base_layer())))

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute with the layer's bias and the changes added up, in one kernel where the layer is a plain one."""
        changes = [self.bitfit_bias[name] for name in self.active()]
        layer: Any = self.base_layer
        if not changes:
            return layer(x, *args, **kwargs)
        change = changes[0] if len(changes) == 1 else torch.stack(list(changes)).sum(0)
        if type(layer) is nn.Linear and not args and not kwargs:
            return F.linear(x, layer.weight, self._bias(layer, change, x.dtype))
        if type(layer) is nn.LayerNorm and layer.weight is not None:
            return F.layer_norm(x, layer.normalized_shape, layer.weight, self._bias(layer, change, x.dtype), layer.eps)
        found = layer(x, *args, **kwargs)
        return found + change.to(found.dtype)

    @staticmethod
    def _bias(layer: Any, change: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        own = base.bias_of(layer)
        return (change if own is None else own + change).to(layer.weight.dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the change to the layer's bias, which it is given where it has none."""
        for name in self.to_merge(adapter_names):
            change = self.bitfit_bias[name].data
            own = base.give_bias(self.get_base_layer(), len(change), change)
            own.data += change.to(own.dtype)
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take the change away again."""
        while self.merged_adapters:
            own: Any = base.bias_of(self.get_base_layer())
            own.data -= self.bitfit_bias[self.merged_adapters.pop()].data.to(own.dtype)


class BitFitModel(base.TunerModel):
    """Puts BitFitLayer around linear and norm layers."""

    prefix: str = "bitfit_"
    tuner_layer_cls = BitFitLayer


base.register(BitFitConfig, BitFitModel)
