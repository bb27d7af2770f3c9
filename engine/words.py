"""Words and tokens: which word each token of a text belongs to, found by the tokenizer's own offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.errors import ModelError


class NoOffsets(ModelError):
    """The base model's tokenizer cannot tell where in the text its tokens stand."""

    kind = "tokenizer_without_offsets"
    try_this = "Choose a base model with a fast tokenizer (a tokenizer.json in its folder)."


def require_offsets(tokenizer: Any) -> None:
    """Raise NoOffsets for a tokenizer that cannot tell where its tokens stand."""
    if not getattr(tokenizer, "is_fast", False):
        raise NoOffsets("model.id")


def sentence(words: Sequence[str]) -> tuple[str, np.ndarray]:
    """Return the words as one text, a blank between them, and the number of the word each character belongs to.

    Numbers are int32 (characters,), -1 for the blanks.
    """
    owners = [np.full(len(word) + 1, number, dtype=np.int32) for number, word in enumerate(words)]
    for owner in owners:
        owner[-1] = -1
    return " ".join(words), np.concatenate(owners)[:-1] if owners else np.zeros(0, dtype=np.int32)


def first_tokens(offsets: Sequence[tuple[int, int]], owner: np.ndarray) -> np.ndarray:
    """Return, for each token, the word that it is the first token of, -1 for all other tokens; int32 (tokens,).

    `offsets` are the tokens' character ranges, empty for special tokens; some tokenizers count the blank before a word
    as part of its first token.
    """
    found = np.full(len(offsets), -1, dtype=np.int32)
    seen: set[int] = set()
    for place, (start, end) in enumerate(offsets):
        word = next((int(number) for number in owner[start:end] if number >= 0), -1)
        if word >= 0 and word not in seen:
            seen.add(word)
            found[place] = word
    return found
