"""The word embedding with virtual tokens beside it, and what an adapter's configuration says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from engine.tuners import base

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
    def in_front(self) -> bool:
        """Whether one prompt stands in front of the text of a model that cannot look ahead."""
        return self.causal and not self.after and self.members == 1

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

        In an ensemble, the rows are those of the first member, then those of the second, and so on; in a batch of
        several tasks, each row has the adapter that `route` named for it.
        """
        if self.routed is not None:
            return self._by_row(self.routed)
        found = [self._sides(name, self.vectors(name).repeat_interleave(rows // self.settings[name].members, dim=0))
                 for name in self.active()]
        return torch.cat([side[0] for side in found], dim=1), torch.cat([side[1] for side in found], dim=1)

    #: The adapter of each row of the batch that is being read; None where all have the active ones.
    routed: Sequence[str] | None = None

    def route(self, names: Sequence[str] | None) -> None:
        """Name the adapter of each row; raises ValueError for unknown ones, ensembles, and prompts of other shapes."""
        for name in dict.fromkeys(names or ()):
            if name not in self.settings:
                raise ValueError(f"there is no prompt '{name}'; known are {', '.join(sorted(self.settings))}")
            if self.settings[name].members > 1:
                raise ValueError(f"'{name}' is an ensemble of prompts, which are asked together and not by row")
        shapes = {(len(self.settings[name].before), len(self.settings[name].after)) for name in names or ()}
        if len(shapes) > 1:
            raise ValueError("prompts of several lengths cannot stand in one batch")
        self.routed = names

    def _by_row(self, names: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what stands before and after each row, each row with the prompt of its own adapter."""
        order = list(dict.fromkeys(names))
        found = [self._sides(name, self.vectors(name)) for name in order]
        index = torch.tensor([order.index(name) for name in names], device=found[0][0].device)
        return torch.cat([side[0] for side in found])[index], torch.cat([side[1] for side in found])[index]

    def _sides(self, adapter_name: str, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an adapter's virtual tokens, (rows, tokens, width), as they stand before and after the text."""
        config = self.settings[adapter_name]
        first = config.before.count(VIRTUAL)
        return self._filled(config.before, vectors[:, :first]), self._filled(config.after, vectors[:, first:])

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
