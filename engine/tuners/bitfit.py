"""BitFit: a learned change of each layer's bias (Ben Zaken et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from engine.tuners import base


@dataclass
class BitFitConfig(base.TunerConfig):
    """Which modules get a change of bias.

    `fused` are those whose outputs hold query, key and value together; of them only the outputs in `query` change,
    given as [start, stop) ranges.
    """

    kind: ClassVar[str] = "bitfit"
    fused: list[str] = field(default_factory=list)
    query: list[list[int]] = field(default_factory=list)


class BitFitLayer(base.TunerLayer):
    """Adds `bitfit_bias` to what a linear or norm layer gives out; zero at the start.

    Its shape is (outputs,), or (outputs changed,) where only some of them change.
    """

    adapter_layer_names: tuple[str, ...] = ("bitfit_bias",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: Any, name: str) -> None:
        """Wrap the module called `name` for a first adapter."""
        self.place = name
        self.outputs: dict[str, torch.Tensor] = {}
        super().__init__(base_layer, adapter_name, config)

    def build(self, adapter_name: str, config: Any) -> None:
        """Start from no change."""
        width = base.out_width(self.get_base_layer())
        self.outputs.pop(adapter_name, None)
        if any(self.place == name or self.place.endswith(f".{name}") for name in config.fused):
            self.outputs[adapter_name] = torch.cat([torch.arange(start, stop) for start, stop in config.query])
            width = len(self.outputs[adapter_name])
        self.bitfit_bias[adapter_name] = nn.Parameter(torch.zeros(width))

    def change(self, name: str) -> torch.Tensor:
        """Return the change of every output, (outputs,)."""
        change = self.bitfit_bias[name]
        if name not in self.outputs:
            return change
        places = self.outputs[name] = self.outputs[name].to(change.device)
        return change.new_zeros(base.out_width(self.get_base_layer())).index_put((places,), change)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute with the layer's bias and the changes added up, in one kernel where the layer is a plain one."""
        changes = [self.change(name) for name in self.active()]
        layer: Any = self.base_layer
        if not changes:
            return layer(x, *args, **kwargs)
        change = changes[0] if len(changes) == 1 else torch.stack(changes).sum(0)
        if type(layer) is nn.Linear and not args and not kwargs:
            return F.linear(x, layer.weight, self._bias(layer, change))
        if type(layer) is nn.LayerNorm and layer.elementwise_affine:
            return F.layer_norm(x, layer.normalized_shape, layer.weight, self._bias(layer, change), layer.eps)
        found = layer(x, *args, **kwargs)
        return found + base.along_outputs(change, found, layer).to(found.dtype)

    @staticmethod
    def _bias(layer: Any, change: torch.Tensor) -> torch.Tensor:
        own = base.bias_of(layer)
        return (change if own is None else own + change).to(layer.weight.dtype)

    def check_merge(self) -> None:
        """Raise ValueError where the layer cannot hold a bias."""
        base.check_bias(self.get_base_layer())

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the change to the layer's bias, which it is given where it has none."""
        self.check_merge()
        for name in self.to_merge(adapter_names):
            change = self.change(name).detach()
            own = base.give_bias(self.get_base_layer(), len(change), change)
            own.data += change.to(own.dtype)
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take the change away again."""
        while self.merged_adapters:
            own: Any = base.bias_of(self.get_base_layer())
            own.data -= self.change(self.merged_adapters.pop()).detach().to(own.dtype)


class BitFitModel(base.TunerModel):
    """Puts BitFitLayer around linear and norm layers."""

    prefix: str = "bitfit_"
    tuner_layer_cls = BitFitLayer

    def _make(self, target: nn.Module, adapter_name: str, config: Any, name: str) -> base.TunerLayer:
        return BitFitLayer(target, adapter_name, config, name)


base.register(BitFitConfig, BitFitModel)
