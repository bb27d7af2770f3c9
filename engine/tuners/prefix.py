"""Prefix tuning: learned keys and values in front of those of every attention (Li & Liang, 2021; Liu et al., 2022)."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from engine import attention
from engine.errors import ModelError
from engine.tuners import base

#: Name under which transformers finds `attend` while a wrapped attention computes.
PREFIXED = "studio_prefix"


class AttentionClosed(ModelError):
    """The attention of this model never asked for its prefix, so nothing would be learned."""

    kind = "attention_closed"
    try_this = "Choose another method, or a model whose attention transformers can exchange."


@dataclass
class PrefixConfig(base.TunerConfig):
    """How many virtual tokens each attention gets; `width` is that of its keys, `embedding` and `hidden` the MLP's.

    `hidden` 0 means that keys and values are learned as they are; so is every adapter that was saved. An `infix` stands
    between a text and its answer: only the places from which the answer is predicted see it.
    """

    kind: ClassVar[str] = "prefix"

    num_tokens: int = field(default=10)
    width: int = field(default=0)
    hidden: int = field(default=0)
    embedding: int = field(default=0)
    infix: bool = field(default=False)


@dataclass
class Given:
    """What a wrapped attention hands to `attend`: keys and values (tokens, width) and whose way of attending to use.

    With `record`, nothing is put in front: the keys and values of the text are noted instead.
    """

    key: torch.Tensor | None
    value: torch.Tensor | None
    implementation: str
    used: bool = False
    record: bool = False
    infix: bool = False


class PrefixLayer(base.TunerLayer):
    """An attention module that sees `num_tokens` more keys and values; they are never stored in a cache.

    Per adapter either `prefix_key` and `prefix_value`, both (tokens, width), or, with an MLP, the rows of its last
    layer that give this module's: `prefix_weight` (2·width, hidden) and `prefix_bias` (2·width,).
    """

    adapter_layer_names: tuple[str, ...] = ("prefix_key", "prefix_value", "prefix_weight", "prefix_bias")
    #: While set, there is no prefix, and `recorded` is the text's keys and values, (batch, heads, tokens, size).
    recording: bool = False
    recorded: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)

    def build(self, adapter_name: str, config: Any) -> None:
        """Start from small random keys and values, or from a random last layer."""
        if config.hidden:
            last = nn.Linear(config.hidden, 2 * config.width)
            self.prefix_weight[adapter_name], self.prefix_bias[adapter_name] = last.weight, last.bias
            return
        for states in (self.prefix_key, self.prefix_value):
            states[adapter_name] = nn.Parameter(torch.randn(config.num_tokens, config.width) * 0.02)

    def active(self) -> list[str]:
        """Return the adapters that count in a forward pass."""
        if self.disable_adapters:
            return []
        return [name for name in self.active_adapters if name in self.prefix_key or name in self.prefix_weight]

    def states(self, adapter_name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an adapter's keys and values, both (tokens, width)."""
        if adapter_name in self.prefix_key:
            return self.prefix_key[adapter_name], self.prefix_value[adapter_name]
        hidden = self.trunk[0].trunk(adapter_name)
        both = F.linear(hidden, self.prefix_weight[adapter_name], self.prefix_bias[adapter_name])
        key, value = both.chunk(2, dim=-1)
        return key, value

    def keep(self, adapter_name: str, key: torch.Tensor, value: torch.Tensor) -> None:
        """Learn (or use) these keys and values as they are from now on."""
        for states, found in ((self.prefix_key, key), (self.prefix_value, value)):
            states[adapter_name] = nn.Parameter(found.detach().clone().float())
        for last in (self.prefix_weight, self.prefix_bias):
            if adapter_name in last:
                del last[adapter_name]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Attend with the prefixes of all active adapters in front; raises AttentionClosed."""
        names = self.active()
        if self.recording:
            given = Given(None, None, "", record=True)
            found = self._under(given, *args, **kwargs)
            self.recorded = given.key, given.value
            return found
        if not names:
            return self.base_layer(*args, **kwargs)
        states = [self.states(name) for name in names]
        keys, values = ([pair[i] for pair in states] for i in (0, 1))
        infix = any(self.settings[name].infix for name in names)
        return self._under(Given(torch.cat(keys), torch.cat(values), "", infix=infix), *args, **kwargs)

    def _under(self, given: Given, *args: Any, **kwargs: Any) -> Any:
        """Run the attention with `attend` in place of its way of attending."""
        module: Any = self.get_base_layer()
        config = module.config
        given.implementation = config._attn_implementation_internal
        module.studio_prefix, config._attn_implementation_internal = given, PREFIXED
        try:
            found = self.base_layer(*args, **kwargs)
        finally:
            config._attn_implementation_internal = given.implementation
            del module.studio_prefix
        if not given.used:
            raise AttentionClosed("method")
        return found


def attend(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
           attention_mask: torch.Tensor | None, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attend as the model would, with the prefix in front of keys and values (batch, heads, tokens, size).

    Every query sees all of the prefix, whatever its place, mask and sliding window; of an infix, see `_seen`.
    """
    given: Given = module.studio_prefix
    given.used = True
    usual: Any = ALL_ATTENTION_FUNCTIONS.get_interface(given.implementation, _eager(module))
    if given.record:
        given.key, given.value = key, value
        return usual(module, query, key, value, attention_mask, **kwargs)
    assert given.key is not None and given.value is not None
    prefix = attention.Prefix(_by_head(given.key, key), _by_head(given.value, value),
                              _seen(query) if given.infix else None)
    if given.implementation == attention.PACKED:
        return usual(module, query, key, value, attention_mask, prefix=prefix, **kwargs)
    count, length = len(given.key), query.shape[2]
    if attention_mask is None and given.implementation != "eager" and length > 1 and _causal(module, kwargs):
        places = torch.ones(length, key.shape[2], dtype=torch.bool, device=query.device)
        attention_mask = places.tril(key.shape[2] - length)[None, None]
    if attention_mask is not None:
        attention_mask = F.pad(attention_mask, (count, 0), value=attention_mask.dtype == torch.bool)
        if prefix.seen is not None:
            attention_mask = _hidden(attention_mask, prefix.seen, count)
    if kwargs.get("position_bias") is not None:
        kwargs["position_bias"] = F.pad(kwargs["position_bias"], (count, 0))
    return usual(module, query, *prefix.before(key, value), attention_mask, **kwargs)


def _seen(query: torch.Tensor) -> torch.Tensor:
    """Return the places that see an infix, (batch, tokens): those that predict answers, else the last alone."""
    rows, length = query.shape[0], query.shape[2]
    known = attention.answers()
    if known is not None and known.shape == (rows, length):
        return known
    return (torch.arange(length, device=query.device) == length - 1).expand(rows, -1)


def _hidden(mask: torch.Tensor, seen: torch.Tensor, count: int) -> torch.Tensor:
    """Return a mask (batch, 1, tokens, keys) whose first `count` keys only the `seen` places see."""
    rows, length = seen.shape
    mask = mask.expand(rows, -1, length, -1)
    front = seen[:, None, :, None].expand(-1, mask.shape[1], -1, count)
    if mask.dtype != torch.bool:
        front = torch.zeros(front.shape, dtype=mask.dtype, device=mask.device).masked_fill(
            ~front, torch.finfo(mask.dtype).min)
    return torch.cat([front, mask[..., count:]], dim=-1)


def _by_head(states: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return (tokens, width) as (1, heads, tokens, size) of the dtype of the text's own keys."""
    return states.view(len(states), like.shape[1], like.shape[3]).transpose(0, 1)[None].to(like.dtype)


def _causal(module: Any, kwargs: dict[str, Any]) -> bool:
    given = kwargs.get("is_causal")
    return bool(getattr(module, "is_causal", True) if given is None else given)


def _eager(module: Any) -> Any:
    return getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)


class PrefixModel(base.TunerModel):
    """Puts PrefixLayer around attention modules; holds the part of the MLP that all of them share.

    Per adapter with an MLP: `prefix_embedding` (tokens, embedding), and a linear layer to `hidden`, then tanh.
    """

    prefix: str = "prefix_"
    tuner_layer_cls = PrefixLayer

    def _pre_injection_hook(self, model: nn.Module, config: Any, adapter_name: str) -> None:
        for name in ("prefix_embedding", "prefix_inner_weight", "prefix_inner_bias"):
            setattr(self, name, nn.ParameterDict())

    def _create_and_replace(self, peft_config: Any, adapter_name: str, target: nn.Module, target_name: str,
                            parent: nn.Module, current_key: str, *args: Any, **kwargs: Any) -> None:
        if peft_config.hidden and adapter_name not in self.prefix_embedding:
            inner = nn.Linear(peft_config.embedding, peft_config.hidden)
            start = torch.randn(peft_config.num_tokens, peft_config.embedding)
            self.prefix_embedding[adapter_name] = nn.Parameter(start)
            self.prefix_inner_weight[adapter_name], self.prefix_inner_bias[adapter_name] = inner.weight, inner.bias
        super()._create_and_replace(peft_config, adapter_name, target, target_name, parent, current_key)
        # In a tuple, so that it does not count as a part of the layer.
        getattr(parent, target_name).trunk = (self,)

    def trunk(self, adapter_name: str) -> torch.Tensor:
        """Return what each attention's last layer gets, (tokens, hidden)."""
        embedding = self.prefix_embedding[adapter_name]
        return torch.tanh(F.linear(embedding, self.prefix_inner_weight[adapter_name],
                                   self.prefix_inner_bias[adapter_name]))

    def layers(self) -> list[PrefixLayer]:
        """Return the wrapped attention modules."""
        return [module for module in self.model.modules() if isinstance(module, PrefixLayer)]

    @contextmanager
    def recording(self) -> Generator[None, None, None]:
        """Let each attention note the keys and values of what the model reads, and use no prefix meanwhile."""
        for layer in self.layers():
            layer.recording = True
        try:
            yield
        finally:
            for layer in self.layers():
                layer.recording, layer.recorded = False, (None, None)

    def flatten(self, adapter_name: str) -> bool:
        """Replace an adapter's MLP by the keys and values it gives; False when it has none."""
        if adapter_name not in self.prefix_embedding:
            return False
        with torch.no_grad():
            for layer in self.layers():
                layer.keep(adapter_name, *layer.states(adapter_name))
        self._forget(adapter_name)
        config: Any = self.peft_config[adapter_name]
        config.hidden = config.embedding = 0
        return True

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete an adapter, its part of the MLP included."""
        super().delete_adapter(adapter_name)
        self._forget(adapter_name)

    def _forget(self, adapter_name: str) -> None:
        for held in (self.prefix_embedding, self.prefix_inner_weight, self.prefix_inner_bias):
            if adapter_name in held:
                del held[adapter_name]


AttentionInterface.register(PREFIXED, attend)
base.register(PrefixConfig, PrefixModel)
