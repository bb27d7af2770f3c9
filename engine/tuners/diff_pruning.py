"""Diff pruning: a change of every weight that learns to be zero almost everywhere (Guo et al., 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from engine.tuners import base
from engine.tuners.sparse import SparseConfig, SparseLayer, SparseModel

#: The hard-concrete gate is a sigmoid stretched to this interval and cut at 0 and 1 (Louizos et al., 2018).
LOW, HIGH = -1.5, 1.5
#: Where gates start, and beyond which value either way no draw opens or closes one.
START, SURE = 5.0, 30.0


@dataclass
class DiffPruningConfig(SparseConfig):
    """Whether weight and bias of a layer also open and close whole; `kept` of `of` numbers change in the end."""

    kind: ClassVar[str] = "diff_pruning"
    structured: bool = True
    kept: int = 0
    of: int = 0


class Gate(torch.autograd.Function):
    """z = min(1, max(0, sigmoid(a + noise)·(HIGH − LOW) + LOW)), elementwise; only z is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        """Return z; without noise, the gate's most likely value."""
        open_ = torch.sigmoid(gate if noise is None else noise.add_(gate))
        z = open_.mul_(HIGH - LOW).add_(LOW).clamp_(0, 1)
        ctx.save_for_backward(z)
        return z

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient of the gate, 0 where z was cut."""
        z, = ctx.saved_tensors
        open_ = (z - LOW) / (HIGH - LOW)
        slope = open_ * (1 - open_) * (HIGH - LOW) * ((z > 0) & (z < 1))
        return grads[0] * slope, None


class DiffLayer(SparseLayer):
    """While it learns: `diff_change` and `diff_gate`, one of each for every number of weight and bias.

    `diff_group` (1 or 2,) are the gates of weight and bias as a whole. `finish` leaves the sparse change alone.
    """

    adapter_layer_names: tuple[str, ...] = ("sparse_values", "diff_change", "diff_gate", "diff_group")

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: Any) -> None:
        """Wrap `base_layer` for a first adapter."""
        #: Seeds the draw of the gates: every pass of one update sees the same.
        self.draw = 0
        super().__init__(base_layer, adapter_name, config)

    def build(self, adapter_name: str, config: Any) -> None:
        """Start from no change and open gates; an adapter that only predicts waits for what the file holds."""
        if config.inference_mode:
            super().build(adapter_name, config)
            return
        size = sum(self._sizes())
        self.diff_change[adapter_name] = nn.Parameter(torch.zeros(size))
        self.diff_gate[adapter_name] = nn.Parameter(torch.full((size,), START))
        if config.structured:
            self.diff_group[adapter_name] = nn.Parameter(torch.full((len(self.tensors()),), START))

    def put(self, adapter_name: str, index: torch.Tensor, values: torch.Tensor | None = None) -> None:
        """Change the numbers at `index` by `values` and nothing else any more."""
        for parts in (self.diff_change, self.diff_gate, self.diff_group):
            if adapter_name in parts:
                del parts[adapter_name]
        super().put(adapter_name, index, values)

    def delta(self, name: str, noisy: bool = False) -> torch.Tensor:
        """Return the change of all numbers, the gates drawn (`noisy`) or at their most likely value."""
        if name not in self.diff_change:
            return super().delta(name)
        gate = self.diff_gate[name]
        generator = torch.Generator(gate.device).manual_seed(self.draw)
        found = self.diff_change[name] * Gate.apply(gate, _logistic(gate, generator) if noisy else None)
        if name not in self.diff_group:
            return found
        group = self.diff_group[name]
        whole = Gate.apply(group, _logistic(group, generator) if noisy else None)
        return torch.cat([part * whole[i] for i, part in enumerate(found.split(self._sizes()))])

    def open(self, name: str) -> torch.Tensor:
        """Return how many numbers are expected to change, a scalar: the sum of each gate's chance to be open."""
        chances = torch.sigmoid(self.diff_gate[name])
        if name not in self.diff_group:
            return chances.sum()
        sums = torch.stack([part.sum() for part in chances.split(self._sizes())])
        return (sums * torch.sigmoid(self.diff_group[name])).sum()

    @torch.no_grad()
    def fix(self, name: str, kept: torch.Tensor) -> None:
        """Let exactly the numbers that `kept` (all,) marks change from now on, by what they change now."""
        self.diff_change[name].copy_(self.delta(name) * kept)
        self.diff_gate[name].copy_(torch.where(kept, SURE, -SURE))
        if name in self.diff_group:
            self.diff_group[name].fill_(SURE)

    @torch.no_grad()
    def finish(self, name: str) -> None:
        """Keep the changes of what is open, and forget the gates."""
        index = torch.nonzero(self.diff_gate[name] > 0).flatten()
        self.put(name, index, self.delta(name)[index].clone())

    def _sizes(self) -> list[int]:
        return [tensor.numel() for tensor in self.tensors().values()]


def _logistic(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    chance = torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    return torch.logit(chance.clamp_(1e-6, 1 - 1e-6))


class DiffPruningModel(SparseModel):
    """Puts DiffLayer around the modules whose weights change."""

    prefix: str = "diff_"
    tuner_layer_cls: type[base.TunerLayer] = DiffLayer

    @classmethod
    def _get_adapter_state_dict(cls, model: nn.Module, config: Any, adapter_name: str,
                                state_dict: dict[str, torch.Tensor],
                                unwanted_adapter_names: list[str]) -> dict[str, torch.Tensor]:
        """Return places and changes; of a layer that still learns, those that its gates let through now."""
        found = super()._get_adapter_state_dict(model, config, adapter_name, state_dict, unwanted_adapter_names)
        for name, layer in learning(model, adapter_name):
            for part in ("change", "gate", "group"):
                found.pop(f"{name}.diff_{part}.{adapter_name}", None)
            delta = layer.delta(adapter_name).detach()
            index = torch.nonzero(delta).flatten()
            found[f"{name}.sparse_index.{adapter_name}"] = index.to(torch.int32)
            found[f"{name}.sparse_values.{adapter_name}"] = delta[index]
        return found


def learning(model: nn.Module, adapter_name: str = "default") -> Iterator[tuple[str, DiffLayer]]:
    """Yield the layers whose gates still learn, with their names."""
    for name, module in model.named_modules():
        if isinstance(module, DiffLayer) and adapter_name in module.diff_change:
            yield name, module


@torch.no_grad()
def project(model: nn.Module, count: int, adapter_name: str = "default") -> bool:
    """Keep the `count` largest changes of the whole model and close all other gates; False where that was done."""
    layers = [layer for _, layer in learning(model, adapter_name)]
    gates = [layer.diff_gate[adapter_name] for layer in layers]
    sure = all(bool((gate.abs() > SURE / 2).all()) for gate in gates)
    if not layers or (sure and sum(int((gate > 0).sum()) for gate in gates) == count):
        return False
    sizes = [gate.numel() for gate in gates]
    sizes_of_changes = torch.cat([layer.delta(adapter_name).abs() for layer in layers])
    kept = torch.zeros_like(sizes_of_changes, dtype=torch.bool)
    kept[torch.topk(sizes_of_changes, count, sorted=False).indices] = True
    for layer, part in zip(layers, kept.split(sizes), strict=True):
        layer.fix(adapter_name, part)
    return True


base.register(DiffPruningConfig, DiffPruningModel)
