"""Virtual tokens among the embeddings of the text (Lester et al., 2021; Liu et al., 2021).

The transformers model around the embedding stays as it is: it is called with embeddings in which the virtual tokens
stand, and what its blocks give out for them is taken away again, so that pooling, heads and labels notice nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from engine import attention
from engine.roles import blocks
from engine.tuners import base
from engine.tuners.insertion import Insertion
from engine.tuners.prompt_layer import PromptConfig, PromptLayer


class PromptModel(base.TunerModel):
    """Wraps the word embedding in PromptLayer and hooks the model around it."""

    prefix: str = "prompt_"
    tuner_layer_cls = PromptLayer

    def _create_and_replace(self, peft_config: Any, adapter_name: str, target: nn.Module, target_name: str,
                            parent: nn.Module, current_key: str, *args: Any, **kwargs: Any) -> None:
        super()._create_and_replace(peft_config, adapter_name, target, target_name, parent, current_key)
        # In a tuple, so that it does not count as a part of the tuner.
        self.place: tuple[PromptLayer] = (getattr(parent, target_name),)

    def _post_injection_hook(self, model: Any, config: Any, adapter_name: str) -> None:
        whole = model.base_model
        decodes = model.config.is_encoder_decoder and hasattr(whole, "encoder") and hasattr(whole, "decoder")
        stack = _reader(whole.encoder if decodes else whole)
        self._now: Insertion | None = None
        #: While the model reads the virtual tokens by themselves.
        self._alone = False
        self.handles = [stack.register_forward_pre_hook(self._insert, with_kwargs=True),
                        model.register_forward_pre_hook(self._repeat, with_kwargs=True),
                        model.register_forward_hook(self._combine)]
        if decodes:
            self.handles.append(whole.decoder.register_forward_pre_hook(self._show, with_kwargs=True))
        else:
            owner = blocks(stack)[0].name.rpartition(".")[0]
            self.handles.append(stack.get_submodule(owner).register_forward_hook(self._take_away))

    @property
    def layer(self) -> PromptLayer:
        """The wrapped word embedding."""
        return self.place[0]

    def flatten(self, adapter_name: str) -> bool:
        """Replace an adapter's encoder by the vectors it gives; False when it has none."""
        if adapter_name not in self.layer.prompt_encoder:
            return False
        with torch.no_grad():
            self.layer.keep(adapter_name, self.layer.vectors(adapter_name))
        config: Any = self.peft_config[adapter_name]
        config.encoder, config.hidden = "none", 0
        return True

    def _unload_and_optionally_merge(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._unload_and_optionally_merge(*args, **kwargs)
        for handle in self.handles:
            handle.remove()
        return found

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Generator[None, None, None]:
        """Route the rows of a batch of several tasks: `model(..., adapter_names=[...])`, one name a row, as in peft.

        Heads that were saved with the adapters are routed too. Raises ValueError while training.
        """
        names: list[str] | None = kwargs.pop("adapter_names", None)
        if names is None:
            yield
            return
        if self.training:
            raise ValueError("rows are given their adapters by name when predicting, not while training")
        self.layer.route(names)
        handles = [module.register_forward_pre_hook(partial(_named_rows, names=names), with_kwargs=True)
                   for module in self.modules() if isinstance(module, AuxiliaryTrainingWrapper)]
        try:
            yield
        finally:
            self.layer.route(None)
            for handle in handles:
                handle.remove()

    # -- hooks -----------------------------------------------------------------------------------------------------

    def _insert(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the model with embeddings among which the virtual tokens stand; raises ValueError for packed rows."""
        if self._alone:
            return None
        self._now = None
        if not self.layer.active():
            return None
        if attention.layout() is not None:
            raise ValueError("virtual tokens cannot be put into packed rows")
        given = named(module, args, kwargs)
        ids, text = given.get("input_ids"), given.get("inputs_embeds")
        text = self.layer.base_layer(ids) if text is None else text
        if self._sharable(module, given, text):
            return (), self._shared(module, given, text)
        before, after = (part.to(text.dtype) for part in self.layer.around(len(text)))
        cache = given.get("past_key_values")
        if cache is not None and cache.get_seq_length() > 0:
            return (), Insertion.later(given, before.shape[1] + after.shape[1])
        causal = any(self.layer.settings[name].causal for name in self.layer.active())
        self._now = Insertion.of(given.get("attention_mask"), text, before.shape[1], after.shape[1], causal)
        return (), given | self._now.inputs(given, text, before, after)

    def _sharable(self, module: Any, given: dict[str, Any], text: torch.Tensor) -> bool:
        """Tell whether the rows can share one pass over the virtual tokens.

        What a causal model makes of tokens in front does not depend on the text behind them, so that once is enough for
        a batch. Not so while it keeps a cache of its own (as when it writes), forgets activations, or reads rows that
        begin with padding.
        """
        mask, uses = given.get("attention_mask"), given.get("use_cache")
        uses = getattr(module.config, "use_cache", True) if uses is None else uses
        return (len(text) > 1 and not uses and given.get("past_key_values") is None and self.layer.routed is None
                and not getattr(module, "gradient_checkpointing", False)
                and all(self.layer.settings[name].in_front for name in self.layer.active())
                and (mask is None or (mask.dim() == 2 and bool(mask[:, 0].all()))))

    def _shared(self, module: Any, given: dict[str, Any], text: torch.Tensor) -> dict[str, Any]:
        """Return the arguments of a call that reads the texts behind keys and values of the virtual tokens."""
        from transformers import DynamicCache

        before = self.layer.around(1)[0].to(text.dtype)
        count, self._alone = before.shape[1], True
        try:
            cache = module(inputs_embeds=before, use_cache=True,
                           past_key_values=DynamicCache(config=module.config)).past_key_values
        finally:
            self._alone = False
        cache.batch_repeat_interleave(len(text))
        mask, places = given.get("attention_mask"), given.get("position_ids")
        return given | {
            "input_ids": None, "inputs_embeds": text, "past_key_values": cache,
            "attention_mask": None if mask is None else torch.cat([mask.new_ones(len(mask), count), mask], dim=1),
            "position_ids": None if places is None else places + count}

    def _take_away(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Give out the hidden states of the text alone."""
        return output if self._now is None else self._now.text_of(output)

    def _show(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let the decoder see the encoder's virtual tokens."""
        given = named(module, args, kwargs)
        seen, states = given.get("encoder_attention_mask"), given.get("encoder_hidden_states")
        if seen is None or states is None or seen.shape[-1] == states.shape[1] or not self.layer.active():
            return None
        before, after = (sum(len(getattr(self.layer.settings[name], side)) for name in self.layer.active())
                         for side in ("before", "after"))
        return (), given | {"encoder_attention_mask": Insertion.of(seen, seen, before, after, False).mask(seen)}

    def _members(self) -> int:
        """Return how many members are to be asked: one while learning, where each has its own rows."""
        names = self.layer.active()
        return 1 if self.layer.training or not names else self.layer.settings[names[0]].members

    def _repeat(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Ask every member of an ensemble about every row."""
        members = self._members()
        if members == 1:
            return None
        given = named(module, args, kwargs)
        rows = max(len(given[name]) for name in ("input_ids", "inputs_embeds") if given.get(name) is not None)
        return (), {name: torch.cat([value] * members)
                    if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows else value
                    for name, value in given.items()}

    def _combine(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Make one answer of those of an ensemble's members: the mean of their scores, or how many votes each got."""
        members = self._members()
        if members == 1:
            return output
        scores = output.logits.unflatten(0, (members, -1))
        if self.layer.settings[self.layer.active()[0]].combine == "vote":
            votes = nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).sum(0)
            # A tie is decided by the mean probability; the logarithm makes probabilities of shares.
            output.logits = ((votes + 0.5 * scores.float().softmax(-1).mean(0)) / (members + 0.5)).log()
        else:
            output.logits = scores.mean(0)
        return output


def _named_rows(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, names: list[str]) -> Any:
    """Tell a saved head which row belongs to which adapter."""
    return args, kwargs | {"adapter_names": names}


def _reader(model: nn.Module) -> nn.Module:
    """Return the innermost module around the blocks that can be called with embeddings in place of token ids."""
    name = blocks(model)[0].name
    while name:
        name = name.rpartition(".")[0]
        found = model.get_submodule(name)
        if "inputs_embeds" in inspect.signature(found.forward).parameters:
            return found
    return model


def named(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by name."""
    return dict(zip(inspect.signature(module.forward).parameters, args, strict=False)) | kwargs


base.register(PromptConfig, PromptModel)
