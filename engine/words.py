"""Words and tokens: which word each token of a text belongs to, and windows of texts too long to be read at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.errors import ModelError

#: Letters of scripts without blanks between words, and endings that are words of their own.
_ALONE, _ENDING = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff", r"['’](?:s|re|ve|ll|d|m|t)\b"
#: A word as people write it: an address, a letter that stands alone, an ending such as 's, letters and digits with what
#: joins them, or a mark by itself.
_WORD = re.compile(rf"""https?://\S+ | [{_ALONE}] | {_ENDING}
    | [^\W{_ALONE}]+ (?: (?: [-.&] | (?!{_ENDING})['’] | (?<=\d),(?=\d) ) [^\W{_ALONE}]+ )* | [^\w\s]""", re.VERBOSE)


class NoOffsets(ModelError):
    """The base model's tokenizer cannot tell where in the text its tokens stand."""

    kind = "tokenizer_without_offsets"
    try_this = "Choose a base model with a fast tokenizer (a tokenizer.json in its folder)."


def require_offsets(tokenizer: Any) -> None:
    """Raise NoOffsets for a tokenizer that cannot tell where its tokens stand."""
    if not getattr(tokenizer, "is_fast", False):
        raise NoOffsets("model.id")


def split(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text stand, (first character, one beyond the last)."""
    return [found.span() for found in _WORD.finditer(text)]


def sentence(words: Sequence[str]) -> tuple[str, np.ndarray]:
    """Return the words as one text, a blank between them, and the number of the word each character belongs to.

    Numbers are int32 (characters,), -1 for the blanks.
    """
    owners = [np.full(len(word) + 1, number, dtype=np.int32) for number, word in enumerate(words)]
    for owner in owners:
        owner[-1] = -1
    return " ".join(words), np.concatenate(owners)[:-1] if owners else np.zeros(0, dtype=np.int32)


def first_tokens(offsets: Any, owner: np.ndarray) -> np.ndarray:
    """Return, for each token, the word that it is the first token of, -1 for all other tokens; int32 (tokens,).

    `offsets` (tokens, 2) are the tokens' character ranges, empty for special tokens; some tokenizers count the blank
    before a word as part of its first token.
    """
    places = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    # From each character on, where the next one that belongs to a word stands.
    letters = np.where(owner >= 0, np.arange(len(owner)), len(owner))
    following = np.append(np.minimum.accumulate(letters[::-1])[::-1], len(owner))
    at = following[places[:, 0]]
    word = np.where(at < places[:, 1], np.append(owner, -1)[at], -1)
    found = np.full(len(places), -1, dtype=np.int32)
    first = np.unique(word, return_index=True)[1]
    found[first] = word[first]
    return found


def windows(tokenizer: Any, texts: Sequence[str], owners: Sequence[np.ndarray], max_length: int,
            stride: int | None) -> tuple[list[dict[str, Any]], int]:
    """Return the windows of each text in turn, most texts being one, and how many texts were cut.

    A window has the tokenizer's arrays, `row` (the text's number) and `words`: the word that each token is the first
    of, -1 for all others. Windows of one text share `stride` tokens; every word is told in one of them only, that in
    which it has most tokens on either side. Without a stride texts are cut at `max_length`.
    """
    room = max_length - tokenizer.num_special_tokens_to_add(pair=False)
    overlap = max(0, min(stride or 0, room // 2))
    found = tokenizer(list(texts), truncation=True, max_length=max_length, stride=overlap, verbose=False,
                      return_overflowing_tokens=room > 1, return_offsets_mapping=True, return_attention_mask=False)
    names = [name for name in ("input_ids", "token_type_ids") if name in found]
    groups: list[list[int]] = [[] for _ in texts]
    for number, row in enumerate(found["overflow_to_sample_mapping"] if room > 1 else range(len(texts))):
        groups[row].append(number)
    rows: list[dict[str, Any]] = []
    for row, own in enumerate(groups):
        read = own[:1] if stride is None else own
        inside = [np.array([part is not None for part in found.sequence_ids(number)], dtype=bool) for number in read]
        offsets = [np.asarray(found["offset_mapping"][number], dtype=np.int64).reshape(-1, 2)[kept]
                   for number, kept in zip(read, inside, strict=True)]
        for number, kept, first in zip(read, inside, _told(offsets, owners[row], room - overlap), strict=True):
            words = np.full(len(kept), -1, dtype=np.int32)
            words[kept] = first
            rows.append({name: np.asarray(found[name][number], dtype=np.int32) for name in names}
                        | {"row": row, "words": words})
    return rows, sum(len(own) > 1 for own in groups) if stride is None else 0


def _told(offsets: Sequence[np.ndarray], owner: np.ndarray, step: int) -> list[np.ndarray]:
    """Return the words that each window of a text tells, by its tokens; windows start `step` tokens apart."""
    if len(offsets) == 1:
        return [first_tokens(offsets[0], owner)]
    whole = np.concatenate([*(part[:step] for part in offsets[:-1]), offsets[-1]])
    first = first_tokens(whole, owner)
    starts = [step * number for number in range(len(offsets))]
    context = np.full((len(offsets), len(whole)), -1, dtype=np.int64)
    for number, (start, part) in enumerate(zip(starts, offsets, strict=True)):
        places = np.arange(len(part))
        before = places if number else np.full(len(part), len(whole))
        after = places[::-1] if number < len(offsets) - 1 else np.full(len(part), len(whole))
        context[number, start:start + len(part)] = np.minimum(before, after)
    teller = context.argmax(0)
    return [np.where(teller[start:start + len(part)] == number, first[start:start + len(part)], -1).astype(np.int32)
            for number, (start, part) in enumerate(zip(starts, offsets, strict=True))]
