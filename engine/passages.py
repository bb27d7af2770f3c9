"""Questions with their passages: windows of long passages, and the likeliest answers in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Found(NamedTuple):
    """An answer a model would give: its score, and its characters in the passage, from `start` up to `end`."""

    score: float
    start: int
    end: int


#: What stands where nothing can be answered.
NOWHERE = Found(-math.inf, 0, 0)


def cut_questions(tokenizer: Any, questions: Sequence[str], max_length: int) -> list[str]:
    """Return the questions, cut where they would take more than half of a window."""
    half = _room(tokenizer, max_length) // 2
    spans = tokenizer(list(questions), add_special_tokens=False, return_offsets_mapping=True,
                      verbose=False)["offset_mapping"]
    return [question if len(own) <= half else question[:own[half - 1][1]]
            for question, own in zip(questions, spans, strict=True)]


def windows(tokenizer: Any, questions: Sequence[str], passages: Sequence[str], max_length: int,
            stride: int) -> Iterator[dict[str, Any]]:
    """Yield the windows of each passage, behind its question; each repeats `stride` tokens of the one before.

    A window has the tokenizer's arrays, `row`, `offsets` (tokens, 2; -1 outside the passage), and `start`, the token
    that stands for no answer.
    """
    # What is repeated must be less than what a window holds beside the longest question.
    stride = min(stride, _room(tokenizer, max_length) // 4)
    found = tokenizer(list(questions), list(passages), truncation="only_second", max_length=max_length, stride=stride,
                      return_overflowing_tokens=True, return_offsets_mapping=True, return_attention_mask=False)
    names = [name for name in ("input_ids", "token_type_ids") if name in found]
    for i, row in enumerate(found["overflow_to_sample_mapping"]):
        ids = np.asarray(found["input_ids"][i], dtype=np.int32)
        offsets = np.asarray(found["offset_mapping"][i], dtype=np.int32).reshape(-1, 2)
        offsets[np.array([part != 1 for part in found.sequence_ids(i)])] = -1
        marked = ids == (-1 if tokenizer.cls_token_id is None else tokenizer.cls_token_id)
        yield {name: np.asarray(found[name][i], dtype=np.int32) for name in names} | {
            "row": row, "offsets": offsets, "start": int(marked.argmax())}


def tokens(window: Mapping[str, Any], answer: tuple[int, int] | None) -> tuple[int, int]:
    """Return the first and last token of an answer's characters; the window's own start when it lies outside."""
    offsets: np.ndarray = window["offsets"]
    inside = (offsets[:, 0] >= 0).nonzero()[0]
    none = window["start"], window["start"]
    if answer is None or not len(inside) or answer[0] < offsets[inside[0], 0] or answer[1] > offsets[inside[-1], 1]:
        return none
    touched = inside[(offsets[inside, 1] > answer[0]) & (offsets[inside, 0] < answer[1])]
    return (int(touched[0]), int(touched[-1])) if len(touched) else none


def likeliest(scores: np.ndarray, offsets: np.ndarray, longest: int, count: int = 1) -> list[Found]:
    """Return the best answers of a window of at most `longest` tokens, the best first.

    `scores` (tokens, 2) are those of each token as the first and as the last of the answer.
    """
    inside = np.flatnonzero(offsets[:, 0] >= 0)
    if not len(inside):
        return []
    longest = min(longest, len(inside))
    ends = np.concatenate([scores[inside, 1], np.full(longest - 1, -np.inf, dtype=scores.dtype)])
    # Row: first token of the answer; column: how many tokens its last one lies behind.
    sums = (scores[inside, 0, None] + np.lib.stride_tricks.sliding_window_view(ends, longest)).reshape(-1)
    best = np.argpartition(-sums, min(count, len(sums)) - 1)[:count]
    best = best[np.argsort(-sums[best], kind="stable")]
    return [Found(float(sums[i]), int(offsets[inside[i // longest], 0]),
                  int(offsets[inside[i // longest + i % longest], 1])) for i in best if np.isfinite(sums[i])]


def nothing(window: Mapping[str, Any], scores: np.ndarray) -> float:
    """Return the score of there being no answer in a window; `scores` (tokens, 2)."""
    return float(scores[window["start"]].sum())


def _room(tokenizer: Any, max_length: int) -> int:
    """Return the tokens of a window that questions and passages may take."""
    return max(2, max_length - tokenizer.num_special_tokens_to_add(pair=True))
