"""Virtual tokens among the embeddings of the text (Lester et al., 2021; Liu et al., 2021).

The transformers model around the embedding stays as it is: it is called with embeddings in which the virtual tokens
stand, and what its blocks give out for them is taken away again, so that pooling, heads and labels notice nothing.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from engine import attention
from engine.roles import blocks
from engine.tuners import base
from engine.tuners.insertion import Insertion

#: What stands for a virtual token among the token ids of a template.
VIRTUAL = -1


@dataclass
class PromptConfig(base.TunerConfig):
    """Where virtual tokens stand, and how they are made.

    `before` and `after` the text: -1 for each virtual token, token ids for words that stay words. `members` prompts of
    the same shape form an ensemble, whose scores are averaged or which votes (`combine`). `encoder` is none, mlp or
    lstm; saved adapters have none. `causal` models cannot look ahead: what the last place says counts.
    """

    kind: ClassVar[str] = "prompt"

    before: list[int] = field(default_factory=lambda: [VIRTUAL])
    after: list[int] = field(default_factory=list)
    width: int = field(default=0)
    members: int = field(default=1)
    combine: str = field(default="average")
    encoder: str = field(default="none")
    hidden: int = field(default=0)
    causal: bool = field(default=False)

    @property
    def places(self) -> int:
        """Places of the input that the prompt takes for itself."""
        return len(self.before) + len(self.after)

    @property
    def tokens(self) -> int:
        """Virtual tokens of one member."""
        return (self.before + self.after).count(VIRTUAL)


class Lstm(nn.Module):
    """Two bidirectional layers and an MLP over the virtual tokens, as P-tuning's prompt encoder."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return vectors (members, tokens, width) for vectors of that shape."""
        return self.mlp(self.lstm(tokens)[0])


def encoder(kind: str, width: int, hidden: int) -> nn.Module:
    """Return a new prompt encoder of kind mlp or lstm."""
    if kind == "lstm":
        return Lstm(width, hidden)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
                         nn.Linear(hidden, width))


class PromptLayer(base.TunerLayer):
    """The word embedding, and virtual tokens that belong among its words: `prompt_tokens`, (tokens, width).

    Those of an ensemble are (members, tokens, width).
    With an encoder in `prompt_encoder`, what it makes of them stands among the words.
    """

    adapter_layer_names: tuple[str, ...] = ("prompt_tokens", "prompt_encoder")
    modules_in: ClassVar[tuple[str, ...]] = ("prompt_encoder",)

    def build(self, adapter_name: str, config: Any) -> None:
        """Start from random vectors: as spread as the words' own, or of unit spread in front of an encoder."""
        start = torch.randn(*([config.members] if config.members > 1 else []), config.tokens, config.width)
        if config.encoder == "none":
            self.prompt_tokens[adapter_name] = nn.Parameter(start * self.spread())
        else:
            self.prompt_tokens[adapter_name] = nn.Parameter(start)
            self.prompt_encoder[adapter_name] = encoder(config.encoder, config.width, config.hidden)

    def spread(self) -> float:
        """Return the standard deviation of the words' embeddings."""
        weight: torch.Tensor = self.get_base_layer().weight  # type: ignore[assignment]
        if weight.is_meta:
            return 0.02
        return float(self.words(torch.arange(min(len(weight), 5000))).float().std())

    def words(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of token ids as the model sees them."""
        weight: Any = self.get_base_layer().weight
        with torch.no_grad():
            return self.base_layer(ids.to(weight.device)).detach()

    def vectors(self, adapter_name: str) -> torch.Tensor:
        """Return an adapter's virtual tokens, (members, tokens, width)."""
        config = self.settings[adapter_name]
        found = self.prompt_tokens[adapter_name].view(config.members, -1, config.width)
        if adapter_name in self.prompt_encoder:
            found = self.prompt_encoder[adapter_name](found)
        return found

    def keep(self, adapter_name: str, vectors: torch.Tensor) -> None:
        """Learn (or use) these vectors, (members, tokens, width), as they are from now on."""
        shape = self.prompt_tokens[adapter_name].shape
        self.prompt_tokens[adapter_name] = nn.Parameter(vectors.detach().reshape(shape).clone().float())
        if adapter_name in self.prompt_encoder:
            del self.prompt_encoder[adapter_name]

    def around(self, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what stands before and after the texts of a batch, (rows, places, width) each.

        In an ensemble, the rows are those of the first member, then those of the second, and so on.
        """
        parts: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for name in self.active():
            config, vectors = self.settings[name], self.vectors(name)
            vectors = vectors.repeat_interleave(rows // config.members, dim=0)
            done = 0
            for side, template in zip(parts, (config.before, config.after), strict=True):
                count = template.count(VIRTUAL)
                side.append(self._filled(template, vectors[:, done:done + count]))
                done += count
        return torch.cat(parts[0], dim=1), torch.cat(parts[1], dim=1)

    def _filled(self, template: list[int], vectors: torch.Tensor) -> torch.Tensor:
        """Return a template's places, its words looked up and its virtual tokens taken in order."""
        if all(token == VIRTUAL for token in template):
            return vectors
        taken, places = 0, []
        for token in template:
            if token == VIRTUAL:
                places.append(vectors[:, taken])
                taken += 1
            else:
                word = self.words(torch.tensor(token))
                places.append(word.to(vectors.dtype).expand(len(vectors), -1))
        return torch.stack(places, dim=1)

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the words' embeddings; the virtual tokens are put among them where the model is called."""
        return self.base_layer(*args, **kwargs)


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

    # -- hooks -----------------------------------------------------------------------------------------------------

    def _insert(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the model with embeddings among which the virtual tokens stand; raises ValueError for packed rows."""
        self._now = None
        if not self.layer.active():
            return None
        if attention.layout() is not None:
            raise ValueError("virtual tokens cannot be put into packed rows")
        given = named(module, args, kwargs)
        ids, text = given.get("input_ids"), given.get("inputs_embeds")
        text = self.layer.base_layer(ids) if text is None else text
        before, after = (part.to(text.dtype) for part in self.layer.around(len(text)))
        cache = given.get("past_key_values")
        if cache is not None and cache.get_seq_length() > 0:
            return (), Insertion.later(given, before.shape[1] + after.shape[1])
        causal = any(self.layer.settings[name].causal for name in self.layer.active())
        self._now = Insertion.of(given.get("attention_mask"), text, before.shape[1], after.shape[1], causal)
        return (), given | self._now.inputs(given, text, before, after)

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
