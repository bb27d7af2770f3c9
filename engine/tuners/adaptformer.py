"""AdaptFormer: a bottleneck beside the whole feed-forward part of a block (Chen et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from engine.tuners import base
from engine.tuners.bottleneck import PARTS, BottleneckConfig, BottleneckLayer


@dataclass
class AdaptFormerConfig(BottleneckConfig):
    """How strongly the bottleneck counts, whether that is learned, and between which layers it stands.

    `pairs` are names of a first and a last layer of a feed-forward part: what goes into the first goes through the
    bottleneck too, and is added to what the last gives out.
    """

    kind: ClassVar[str] = "adaptformer"
    activation: str = "relu"
    scale: float = 0.1
    learned: bool = False
    pairs: list[list[str]] = field(default_factory=list)


class InLayer(BottleneckLayer):
    """The first layer of a feed-forward part: computes as it always does, and keeps s · bottleneck(x) for the last.

    `adaptformer_scale` (1,) is the s of adapters that learn it.
    """

    adapter_layer_names: tuple[str, ...] = (*(name.replace("bottleneck", "adaptformer") for name in PARTS),
                                            "adaptformer_scale")

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: Any) -> None:
        """Wrap the layer for a first adapter."""
        self.beside: torch.Tensor | None = None
        super().__init__(base_layer, adapter_name, config)

    def build(self, adapter_name: str, config: Any) -> None:
        """Draw the way down; the way up is zero."""
        super().build(adapter_name, config)
        if config.learned:
            self.adaptformer_scale[adapter_name] = nn.Parameter(torch.full((1,), float(config.scale)))

    def outer(self) -> int:
        """Return the width of what comes in."""
        return base.in_width(self.get_base_layer())

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the layer, and what is to be added after the last one."""
        self.beside = None
        for name in self.active():
            learned = name in self.adaptformer_scale
            scale = self.adaptformer_scale[name].to(x.dtype) if learned else self.settings[name].scale
            found = self.narrow(name, x) * scale
            self.beside = found if self.beside is None else self.beside + found
        return self.base_layer(x, *args, **kwargs)

    def take(self) -> torch.Tensor | None:
        """Return what was kept, once."""
        kept, self.beside = self.beside, None
        return kept

    def __getstate__(self) -> dict[str, Any]:
        """Leave what belongs to a forward pass under way out of copies."""
        return self.__dict__ | {"beside": None}


class OutLayer(base.TunerLayer):
    """The last layer of a feed-forward part: adds what the first one kept."""

    adapter_layer_names: tuple[str, ...] = ()

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: Any) -> None:
        """Wrap the layer; its partner is told later."""
        # In a tuple, so that it does not count as a part of this module; a copy of both stays a pair.
        self.partner: tuple[InLayer, ...] = ()
        super().__init__(base_layer, adapter_name, config)

    def build(self, adapter_name: str, config: Any) -> None:
        """Create nothing: the partner holds what is learned."""

    def delete_adapter(self, adapter_name: str) -> None:
        """Go on with the adapters that the partner still has."""
        left = sorted(name for name in self.partner[0].adaptformer_down if name != adapter_name)
        active = [name for name in self.active_adapters if name != adapter_name]
        self.set_adapter(active or left[:1])

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the layer and add what the first one kept."""
        found: torch.Tensor = self.base_layer(x, *args, **kwargs)
        kept = self.partner[0].take()
        return found if kept is None else found + kept.to(found.dtype)


class AdaptFormerModel(base.TunerModel):
    """Puts InLayer and OutLayer around the first and last layer of each feed-forward part."""

    prefix: str = "adaptformer_"
    tuner_layer_cls: type[base.TunerLayer] = base.TunerLayer

    def _make(self, target: nn.Module, adapter_name: str, config: Any, name: str) -> base.TunerLayer:
        first = {pair[0] for pair in config.pairs}
        return (InLayer if name in first else OutLayer)(target, adapter_name, config)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Put the layers in, and make pairs of them."""
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        config: Any = self.peft_config[adapter_name]
        for first, last in config.pairs:
            inner, outer = model.get_submodule(first), model.get_submodule(last)
            if isinstance(inner, InLayer) and isinstance(outer, OutLayer):
                outer.partner = (inner,)


base.register(AdaptFormerConfig, AdaptFormerModel)
