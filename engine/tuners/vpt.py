"""Visual prompt tuning: learned tokens among an image's patches (Jia et al., 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from engine.tuners import base


@dataclass
class VptConfig(base.TunerConfig):
    """The blocks, all of them in `target_modules`, and what goes into them.

    Prompts enter at `first_block` and leave after `last_block`; `bound` is that of the uniform values they start from.
    """

    kind: ClassVar[str] = "vpt"

    num_virtual_tokens: int = field(default=10)
    hidden_size: int = field(default=0)
    deep: bool = field(default=True)
    dropout: float = field(default=0.0)
    bound: float = field(default=0.0)
    first_block: str = field(default="")
    last_block: str = field(default="")


class VptLayer(base.TunerLayer):
    """A block that sees `vpt_prompt`, (tokens, width), between an image's first token and its others.

    Shallow prompts enter the first block and go through all of them; deep ones are new in each block, in place of what
    the block below made of its own. They are taken out after the last block, so a head never sees them.
    """

    adapter_layer_names: tuple[str, ...] = ("vpt_prompt",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: VptConfig, *, key: str) -> None:
        """Wrap the block whose name in the model is `key`."""
        object.__setattr__(self, "key", key)
        super().__init__(base_layer, adapter_name, config)

    def build(self, adapter_name: str, config: VptConfig) -> None:
        """Draw the prompt of this block, uniform within the bound; a shallow one is in the first block alone."""
        if config.deep or self._first(config):
            prompt = torch.empty(config.num_virtual_tokens, config.hidden_size)
            self.vpt_prompt[adapter_name] = nn.Parameter(prompt.uniform_(-config.bound, config.bound))

    def active(self) -> list[str]:
        """Return the adapters whose prompts are among the tokens, with or without one of their own in this block."""
        return [] if self.disable_adapters else [name for name in self.active_adapters if name in self.settings]

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Compute the block with the active adapters' prompts in `hidden_states`, (batch, tokens, width)."""
        names = self.active()
        if not names:
            return self.base_layer(hidden_states, *args, **kwargs)
        sizes = [self.settings[name].num_virtual_tokens for name in names]
        entering = self._first(self.settings[names[0]])
        after = 1 if entering else 1 + sum(sizes)
        prompts: list[torch.Tensor] = [] if entering else list(hidden_states[:, 1:after].split(sizes, dim=1))
        for place, name in enumerate(names):
            if name in self.vpt_prompt:
                prompts[place:place + 1] = [self._prompt(name, hidden_states)]
        found = self.base_layer(torch.cat([hidden_states[:, :1], *prompts, hidden_states[:, after:]], dim=1),
                                *args, **kwargs)
        if self.key != self.settings[names[0]].last_block:
            return found
        return (_without(found[0], sum(sizes)), *found[1:]) if isinstance(found, tuple) else _without(found, sum(sizes))

    def _prompt(self, name: str, hidden_states: torch.Tensor) -> torch.Tensor:
        prompt = self.vpt_prompt[name].to(hidden_states.dtype).expand(hidden_states.shape[0], -1, -1)
        return nn.functional.dropout(prompt, self.settings[name].dropout, self.training)

    def _first(self, config: VptConfig) -> bool:
        return self.key == config.first_block


class VptModel(base.TunerModel):
    """Puts VptLayer around every block."""

    prefix: str = "vpt_"
    tuner_layer_cls = VptLayer

    def _make(self, target: nn.Module, adapter_name: str, config: Any, name: str) -> VptLayer:
        return VptLayer(target, adapter_name, config, key=name)


@torch.no_grad()
def start_from_patches(model: nn.Module, batches: Iterable[Mapping[str, torch.Tensor]]) -> None:
    """Set each prompt to patches as they reach its block, without prompts; no patch twice while there are enough.

    `batches` are mappings of model inputs. Source: Wang et al., 2024 (arXiv:2402.02382); tokens are drawn at random, as
    in the authors' own scripts, not clustered.
    """
    layers = [module for module in model.modules() if isinstance(module, VptLayer) and len(module.vpt_prompt)]
    seen: dict[VptLayer, list[torch.Tensor]] = {layer: [] for layer in layers}

    def watch(layer: VptLayer) -> Any:
        def look(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            # The first token stands for the whole image. Equal prompts would stay equal.
            patches = (args[0] if args else named["hidden_states"])[:, 1:].flatten(0, 1)
            chosen = torch.randperm(len(patches))[:max(len(prompt) for prompt in layer.vpt_prompt.values())]
            seen[layer].append(patches[chosen.to(patches.device)].float())

        return layer.base_layer.register_forward_pre_hook(look, with_kwargs=True)

    hooks = [watch(layer) for layer in layers]
    training = model.training
    wrapped: Any = model.eval()
    try:
        with wrapped.disable_adapter():
            for batch in batches:
                wrapped(**batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    for layer in layers:
        found = torch.cat(seen[layer])
        for prompt in layer.vpt_prompt.values():
            rounds = [torch.randperm(len(found)) for _ in range(-(-len(prompt) // len(found)))]
            prompt.copy_(found[torch.cat(rounds)[:len(prompt)]])


def _without(hidden_states: torch.Tensor, count: int) -> torch.Tensor:
    return torch.cat([hidden_states[:, :1], hidden_states[:, 1 + count:]], dim=1)


base.register(VptConfig, VptModel)
