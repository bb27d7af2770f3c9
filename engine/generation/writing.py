"""Answers to many prompts at once: padded on the left, with a cache of keys and values, each until its own end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from engine import attention, generate

#: Rows of one batch at most, and tokens, prompts and answers together, unless one row alone has more.
ROWS, TOKENS = 64, 16_384


@dataclass(frozen=True)
class Manner:
    """How to write: `most` new tokens at most; the likeliest each time at temperature 0, else drawn.

    `ends` are ids that end an answer, `limit` how many tokens the model reads, answer included (0: no limit). Row i is
    drawn with a generator seeded `seed` + i, so that its text depends on no other row.
    """

    most: int
    ends: Collection[int] = ()
    limit: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def inner(model: Any) -> Any:
    """Return the transformers model inside one that peft may have wrapped."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def room(model: Any) -> int:
    """Return how many tokens of text a model reads beside a soft prompt of its own; 0: no limit."""
    from engine import dimensions

    base = inner(model)
    limit = dimensions.positions(base.config.get_text_config(), base)
    config = getattr(model, "active_peft_config", None)
    virtual = getattr(config, "num_virtual_tokens", 0) if getattr(config, "is_prompt_learning", False) else 0
    return max(1, limit - int(virtual or getattr(config, "places", 0))) if limit else 0


def end_ids(model: Any) -> list[int]:
    """Return the ids at which the model's own settings end a text."""
    settings = getattr(inner(model), "generation_config", None)
    found: int | list[int] | None = getattr(settings, "eos_token_id", None)
    return [] if found is None else [int(i) for i in (found if isinstance(found, list) else [found])]


@contextmanager
def able_to_write(model: Any) -> Iterator[None]:
    """Let a model that reads packed rows read padded ones meanwhile; it is in evaluation mode already."""
    base = inner(model)
    before = base.config._attn_implementation
    attention.set_layout(None)
    if before == attention.PACKED:
        base.set_attn_implementation("sdpa" if getattr(base, "_supports_sdpa", False) else "eager")
    try:
        with torch.inference_mode():
            yield
    finally:
        if before == attention.PACKED:
            base.set_attn_implementation(before)


def write(model: Any, prompts: Sequence[Sequence[int]], manner: Manner, *, device: str = "cpu",
          cancelled: Callable[[], bool] = lambda: False) -> list[list[int] | None]:
    """Return the new tokens after each prompt, its end left out; None for those that were not finished.

    Prompts are not empty and shorter than the limit. Batched, each row gets the tokens it would get alone.
    """
    found: list[list[int] | None] = [None] * len(prompts)
    with able_to_write(model):
        step = _Step(model, device)
        for chosen in _batches([len(prompt) for prompt in prompts], manner.most, even=not step.pads):
            if cancelled():
                break
            written = _Batch(step, [prompts[i] for i in chosen], manner, chosen).run(cancelled)
            for i, tokens in zip(chosen, written or (), strict=bool(written)):
                found[i] = tokens
    return found


def _batches(lengths: Sequence[int], most: int, *, even: bool) -> list[list[int]]:
    """Return rows in batches, longest first; `even` ones hold rows of one length alone."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batches[-1][0]] if batches else 0
        fits = batches and len(batches[-1]) < ROWS and (len(batches[-1]) + 1) * (longest + most) <= TOKENS
        if fits and (lengths[row] == longest or not even):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


class _Step:
    """One call of a model: the last place's scores of each row, and a cache that grows."""

    def __init__(self, model: Any, device: str) -> None:
        base, config = inner(model), getattr(model, "active_peft_config", None)
        known = inspect.signature(base.forward).parameters
        # peft puts a soft prompt in front of every call and forgets places: only the first call may have it.
        self.soft = bool(config is not None and config.is_prompt_learning)
        self.first, self.later = model, base if self.soft else model
        #: Whether rows of different lengths can be read together: the model is told where each one begins.
        self.pads = "position_ids" in known and not self.soft
        self.few = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self.device = device

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor,
                 cache: Any) -> tuple[torch.Tensor, Any]:
        """Return scores (rows, vocabulary) and the cache; ids and places are (rows, new), the mask (rows, all)."""
        told = {"attention_mask": mask, "position_ids": places} if self.pads else {}
        model = self.first if cache is None else self.later
        held = {} if cache is None else {"past_key_values": cache}
        out = model(input_ids=ids, use_cache=True, **told, **held, **self.few)
        return out.logits[:, -1], out.past_key_values


class _Batch:
    """Rows that are written together; those that have ended leave once they are half of it."""

    def __init__(self, step: _Step, prompts: Sequence[Sequence[int]], manner: Manner, numbers: Sequence[int]) -> None:
        self.step, self.manner, self.ends = step, manner, set(manner.ends)
        longest = max(len(prompt) for prompt in prompts)
        self.ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        self.mask = torch.zeros_like(self.ids)
        for row, prompt in enumerate(prompts):
            self.ids[row, longest - len(prompt):] = torch.tensor(list(prompt))
            self.mask[row, longest - len(prompt):] = 1
        self.places = (self.mask.cumsum(1) - 1).clamp(min=0)
        self.ids, self.mask, self.places = (part.to(step.device) for part in (self.ids, self.mask, self.places))
        self.rooms = [min(manner.most, manner.limit - len(p)) if manner.limit else manner.most for p in prompts]
        self.written: list[list[int]] = [[] for _ in prompts]
        self.rows = list(range(len(prompts)))
        self.over = {row for row in self.rows if self.rooms[row] <= 0}
        self.chance = [torch.Generator().manual_seed(manner.seed + i) for i in numbers] if manner.temperature else []

    def run(self, cancelled: Callable[[], bool]) -> list[list[int]] | None:
        """Return what was written in each row, or None when `cancelled()` between two tokens."""
        cache = None
        while len(self.over) < len(self.written):
            if cancelled():
                return None
            scores, cache = self.step(self.ids, self.mask, self.places, cache)
            tokens = self._take(scores)
            going = torch.tensor([[int(row not in self.over)] for row in self.rows], device=self.step.device)
            self.ids = tokens[:, None].to(self.step.device)
            # A row that has ended stays where it is, so that it never leaves the model's places.
            self.places = self.places[:, -1:] + going
            self.mask = torch.cat([self.mask, torch.ones_like(going)], dim=1)
            self._leave(cache)
        return self.written

    def _take(self, scores: torch.Tensor) -> torch.Tensor:
        """Note the next token of each row that goes on; return what every row reads next, (rows,)."""
        tokens = scores.float().argmax(-1).cpu()
        for place, row in enumerate(self.rows):
            if row in self.over:
                continue
            if self.chance:
                tokens[place] = generate.pick(scores[place], self.manner.temperature, self.manner.top_p,
                                              self.chance[row])
            token = int(tokens[place])
            if token in self.ends:
                self.over.add(row)
                continue
            self.written[row].append(token)
            if len(self.written[row]) >= self.rooms[row]:
                self.over.add(row)
        return tokens

    def _leave(self, cache: Any) -> None:
        """Drop the rows that have ended, from the cache too, when they are half of the batch."""
        stay = [place for place, row in enumerate(self.rows) if row not in self.over]
        if not stay or 2 * len(stay) > len(self.rows) or not _holds(cache, len(self.rows)):
            return
        index = torch.tensor(stay, device=self.step.device)
        cache.batch_select_indices(index)
        self.ids, self.mask, self.places = self.ids[index], self.mask[index], self.places[index]
        self.rows = [self.rows[place] for place in stay]


def _holds(cache: Any, rows: int) -> bool:
    """Tell whether a cache has one entry a row, and lets go of some."""
    layers = getattr(cache, "layers", None) or [None]
    keys = getattr(layers[0], "keys", None)
    return isinstance(keys, torch.Tensor) and len(keys) == rows and hasattr(cache, "batch_select_indices")
