"""A change of single numbers inside weights and biases, kept as where they are and by how much they change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from peft.tuners._buffer_dict import BufferDict
from torch import nn
from torch.nn import functional as F

from engine.tuners import base


@dataclass
class SparseConfig(base.TunerConfig):
    """Which modules hold numbers that change; which numbers these are lies beside their changes."""

    kind: ClassVar[str] = "sparse"


class SparseLayer(base.TunerLayer):
    """Adds `sparse_values`, shape (n,), to the numbers of weight and bias that `sparse_index` names.

    Places are counted through the weight as it is stored, then through the bias.
    """

    adapter_layer_names: tuple[str, ...] = ("sparse_values",)
    other_param_names: tuple[str, ...] = ("sparse_index",)

    def build(self, adapter_name: str, config: Any) -> None:
        """Start from no change, at places that are still to be told."""
        self.put(adapter_name, torch.zeros(0, dtype=torch.int32))

    def put(self, adapter_name: str, index: torch.Tensor, values: torch.Tensor | None = None) -> None:
        """Change the numbers at `index` (n,) by `values` (n,), which are 0 when not given."""
        if "sparse_index" not in self._modules:
            self.sparse_index = BufferDict(persistent=True)
        self.sparse_index[adapter_name] = index.to(torch.int32)
        self.sparse_values[adapter_name] = nn.Parameter(torch.zeros(len(index)) if values is None else values)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weight and the bias that may change."""
        layer = self.get_base_layer()
        found = {"weight": getattr(layer, "weight", None), "bias": getattr(layer, "bias", None)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def delta(self, name: str, noisy: bool = False) -> torch.Tensor:
        """Return the change of all numbers of weight and bias of an adapter, one after the other.

        `noisy` is for tuners that compute otherwise while they learn.
        """
        values: torch.Tensor = self.sparse_values[name]
        index: Any = self.sparse_index[name]
        size = sum(tensor.numel() for tensor in self.tensors().values())
        return values.new_zeros(size).index_put((index.long(),), values)

    def parts(self, delta: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the changes of weight and bias in their shapes."""
        start = 0
        for name, tensor in self.tensors().items():
            yield name, delta[start:start + tensor.numel()].view(tensor.shape)
            start += tensor.numel()

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute with the changed weight and bias."""
        names = self.active()
        layer: Any = self.base_layer
        if not names:
            return layer(x, *args, **kwargs)
        delta = self.delta(names[0], self.training)
        for name in names[1:]:
            delta = delta + self.delta(name, self.training)
        own = self.tensors()
        changed = {name: (own[name] + part).to(own[name].dtype) for name, part in self.parts(delta)}
        if type(layer) is nn.Linear and not args and not kwargs:
            return F.linear(x, changed["weight"], changed.get("bias"))
        return torch.func.functional_call(layer, changed, (x, *args), kwargs)

    def check_merge(self) -> None:
        """Raise ValueError for quantized weights."""
        base.check_weight(self.get_base_layer())

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the changes to weight and bias."""
        self.check_merge()
        for name in self.to_merge(adapter_names):
            self._add(name, 1)
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take the changes away again."""
        while self.merged_adapters:
            self._add(self.merged_adapters.pop(), -1)

    def _add(self, name: str, sign: int) -> None:
        own = self.tensors()
        for part, change in self.parts(self.delta(name).detach()):
            own[part].data += sign * change.to(own[part].dtype)


class SparseModel(base.TunerModel):
    """Puts SparseLayer around the modules whose weights change."""

    prefix: str = "sparse_"
    tuner_layer_cls: type[base.TunerLayer] = SparseLayer

    @classmethod
    def _remap_adapter_state_dict_for_load(cls, model: nn.Module, config: Any, adapter_name: str,
                                           state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Make room for as many changes as the file holds for each layer, then go on as peft does."""
        for name, module in model.named_modules():
            key = f"{name}.sparse_index"
            if isinstance(module, SparseLayer) and adapter_name in module.settings and key in state_dict:
                learns = not config.inference_mode
                index = state_dict[key].to(module.tensors()["weight"].device)
                module.put(adapter_name, index, torch.zeros(len(index), device=index.device))
                module.sparse_values[adapter_name].requires_grad_(learns)
        return super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)


base.register(SparseConfig, SparseModel)
