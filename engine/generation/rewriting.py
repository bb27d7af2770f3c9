"""Texts written by encoder-decoder models: the likeliest token each time, or a search with beams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine.batches import pad, split
from engine.generation import writing

#: Padded tokens of a batch's sources, each beam reading them anew.
BUDGET = 8192


@dataclass(frozen=True)
class Search:
    """How to write: `most` new tokens at most, `beams` texts followed at once, of which the best is taken.

    A `length_penalty` above 1 prefers long texts, below 1 short ones; it matters to beams alone. No run of `no_repeat`
    tokens comes twice; 0 allows all.
    """

    most: int
    beams: int = 1
    length_penalty: float = 1.0
    no_repeat: int = 0

    def settings(self) -> dict[str, Any]:
        """Return what transformers calls it; what a model's own settings say to these is not used."""
        found: dict[str, Any] = {
            "max_new_tokens": self.most, "num_beams": self.beams, "do_sample": False, "min_length": 0,
            "no_repeat_ngram_size": self.no_repeat}
        return found | ({"length_penalty": self.length_penalty, "early_stopping": False} if self.beams > 1 else {})


def write(model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], search: Search, *, device: str = "cpu",
          cancelled: Callable[[], bool] = lambda: False) -> list[str | None]:
    """Return the text made of each source, given as token ids; None for those that were not finished."""
    found: list[str | None] = [None] * len(sources)
    lengths = [len(source) for source in sources]
    fill = int(tokenizer.pad_token_id or 0)
    stop = _Stop(cancelled)
    with writing.able_to_write(model):
        for chosen in split(range(len(sources)), lengths, max(1, BUDGET // search.beams)):
            if cancelled():
                break
            arrays = pad([{"input_ids": sources[i]} for i in chosen], {"input_ids": fill})
            given = {name: torch.as_tensor(array, device=device) for name, array in arrays.items()}
            ids = model.generate(**given, **search.settings(), eos_token_id=tokenizer.eos_token_id,
                                 pad_token_id=fill, stopping_criteria=[stop])
            if stop.asked:
                break
            texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
            for i, text in zip(chosen, texts, strict=True):
                found[i] = text.strip()
    return found


class _Stop:
    """What transformers asks after each token whether to end."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self.cancelled, self.asked = cancelled, False

    def __call__(self, ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Return for each row whether to end, (rows,)."""
        self.asked = self.asked or self.cancelled()
        return torch.full((len(ids),), self.asked, dtype=torch.bool, device=ids.device)
