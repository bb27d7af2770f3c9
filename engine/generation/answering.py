"""Answers of a language model to prompts, as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine import generate
from engine.generation import writing


@dataclass(frozen=True)
class Answer:
    """What was written, and how many of the prompt's `there` tokens were `read`: the last ones."""

    text: str
    read: int
    there: int

    @property
    def note(self) -> str:
        """What a person should know about it."""
        return f"Only the last {self.read} of {self.there} tokens were read." if self.read < self.there else ""


def answers(model: Any, tokenizer: Any, prompts: Sequence[str], *, most: int, continues: bool = False,
            temperature: float = 0.0, top_p: float = 1.0, seed: int = 0,
            cancelled: Callable[[], bool] = lambda: False) -> list[Answer | None]:
    """Return the answer to each prompt, of `most` tokens at most; None for those that were not finished.

    A prompt that leaves no room for an answer loses its beginning. `continues` keeps the blank an answer begins with.
    """
    if not prompts:
        return []
    limit = writing.room(model)
    given = tokenizer(list(prompts), add_special_tokens=False, verbose=False)["input_ids"]
    kept = [_end(ids, limit, most) or [int(tokenizer.eos_token_id or 0)] for ids in given]
    manner = writing.Manner(most=most, ends=generate.ends(tokenizer, writing.end_ids(model), continues=continues),
                            limit=limit, temperature=temperature, top_p=top_p, seed=seed)
    device = str(next(parameter.device for parameter in model.parameters() if parameter.device != torch.device("meta")))
    written = writing.write(model, kept, manner, device=device, cancelled=cancelled)
    return [None if new is None else Answer(_text(tokenizer, prompt, new, continues), len(prompt), len(ids))
            for ids, prompt, new in zip(given, kept, written, strict=True)]


def _end(ids: Sequence[int], limit: int, most: int) -> list[int]:
    """Return the end of a prompt that leaves room for `most` tokens, or for half of what the model reads."""
    return list(ids)[-max(1, limit - min(most, limit // 2)):] if limit else list(ids)


def _text(tokenizer: Any, prompt: Sequence[int], new: Sequence[int], continues: bool) -> str:
    if not continues:
        return str(tokenizer.decode(list(new), skip_special_tokens=True)).strip()
    words = generate.Detokeniser(tokenizer, list(prompt)[-generate.CONTEXT:])
    return "".join([*(words.add(token) for token in new), words.finish()])
