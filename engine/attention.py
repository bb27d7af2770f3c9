"""Attention for training: packed sequences that never see each other, and the faster kernel for each length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from engine.batches import Layout

#: Name under which transformers finds `packed`.
PACKED = "studio_packed"

#: On a CPU in bf16, sequences up to this many tokens are faster with plain matrix products than with SDPA, whose
#: backward pass is 2-8 times slower there.
EAGER_BF16 = 1024


@dataclass
class Prefix:
    """Keys and values, (1, key heads, n, head size), that stand in front of those of every sequence.

    `seen` (batch, tokens) marks the places that see them; None when all do.
    """

    key: torch.Tensor
    value: torch.Tensor
    seen: torch.Tensor | None = None

    def before(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values (rows, key heads, n + length, head size)."""
        one, two = (torch.cat([front.expand(len(own), -1, -1, -1), own], dim=2)
                    for front, own in ((self.key, key), (self.value, value)))
        return one, two

    def bias(self, bias: torch.Tensor | None, like: torch.Tensor, start: int, rows: int,
             length: int) -> torch.Tensor | None:
        """Return what is added to the scores of a block whose first place is `start`, `bias` being that without it."""
        count = self.key.shape[2]
        if self.seen is None:
            return None if bias is None else F.pad(bias, (count, 0))
        seen = self.seen if _layout is None else self.seen[0, start:start + rows * length].view(rows, length)
        front = _blocked(seen[:, None, :, None].expand(-1, -1, -1, count), like.dtype)
        rest = like.new_zeros(1, 1, 1, length) if bias is None else bias
        return torch.cat([front, rest.expand(rows, -1, length, -1)], dim=-1)


_layout: Layout | None = None
_answers: torch.Tensor | None = None


def set_layout(layout: Layout | None, answers: torch.Tensor | None = None) -> None:
    """Tell `packed` where the sequences of the coming forward pass (and its recomputation) lie.

    `answers` (batch, tokens) marks the places from which a token of an answer is predicted; None when nobody knows.
    """
    global _layout, _answers
    _layout, _answers = layout, answers


def answers() -> torch.Tensor | None:
    """Return the places of the forward pass under way from which answers are predicted, (batch, tokens), if known."""
    return _answers


def layout() -> Layout | None:
    """Return the layout of the forward pass under way, None when its batch is padded."""
    return _layout


def register() -> None:
    """Make `packed` known to transformers as an attention implementation; it builds no mask of its own."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed)


def packed(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
           attention_mask: torch.Tensor | None, dropout: float = 0.0, scaling: float | None = None,
           is_causal: bool | None = None, sliding_window: int | None = None,
           prefix: Prefix | None = None, **kwargs: Any) -> tuple[torch.Tensor, None]:
    """Attend within each sequence of a flattened batch; tensors are (1, heads, tokens, head size).

    `prefix` stands in front of every sequence. Blocks of like length are views, so nothing is copied without one.
    Raises ValueError for what it cannot do (masks, soft caps, sinks), so that nothing is silently left out.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None or attention_mask is not None:
        raise ValueError("packed attention knows neither masks, soft caps nor sinks")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    found, start = [], 0
    shapes = _layout.blocks if _layout is not None else [(query.shape[0], query.shape[2])]
    for number, (rows, length) in enumerate(shapes):
        parts = (query, key, value) if _layout is None else [
            _block(tensor, start, rows, length) for tensor in (query, key, value)]
        bias = _bias(number, length, causal, sliding_window, query)
        if prefix is None:
            out = _attend(*parts, bias=bias, causal=causal, scaling=scaling, dropout=dropout)
        else:
            bias = _triangle(length, query) if causal and bias is None else bias
            key_values = prefix.before(parts[1], parts[2])
            out = _attend(parts[0], *key_values, bias=prefix.bias(bias, query, start, rows, length), causal=False,
                          scaling=scaling, dropout=dropout)
        found.append(out.transpose(1, 2).reshape(1, rows * length, out.shape[1], out.shape[3]))
        start += rows * length
    if _layout is not None and start < query.shape[2]:
        found.append(query.new_zeros(1, query.shape[2] - start, query.shape[1], query.shape[3]))
    if _layout is None:
        return found[0].view(query.shape[0], query.shape[2], query.shape[1], -1), None
    return (torch.cat(found, dim=1) if len(found) > 1 else found[0]), None


def _block(tensor: torch.Tensor, start: int, rows: int, length: int) -> torch.Tensor:
    """Return a block of (1, heads, tokens, size) as (rows, heads, length, size), without copying."""
    part = tensor[0, :, start:start + rows * length]
    return part.unflatten(1, (rows, length)).transpose(0, 1)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, bias: torch.Tensor | None, causal: bool,
            scaling: float | None, dropout: float) -> torch.Tensor:
    length = query.shape[2]
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and length <= EAGER_BF16:
        if causal and bias is None:
            bias = _triangle(length, query)
        return _eager(query, key, value, bias, scaling, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout, scale=scaling,
                                          is_causal=causal and bias is None,
                                          enable_gqa=key.shape[1] != query.shape[1])


def _eager(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None,
           scaling: float | None, dropout: float) -> torch.Tensor:
    """Attention as three plain steps; heads that share a key are rows of one product."""
    rows, heads, length, size = query.shape
    shared = heads // key.shape[1]
    query = query * (scaling if scaling is not None else size ** -0.5)
    if shared > 1:
        query = query.reshape(rows, key.shape[1], shared * length, size)
        if bias is not None and bias.shape[-2] > 1:
            bias = bias.repeat(1, 1, shared, 1)
    scores = torch.matmul(query, key.transpose(2, 3))
    if bias is not None:
        scores = scores + bias
    weights = F.softmax(scores, dim=-1)
    if dropout:
        weights = F.dropout(weights, dropout)
    return torch.matmul(weights, value).reshape(rows, heads, length, size)


def _bias(number: int, length: int, causal: bool, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
    """Return what is added to the scores of a block, None when every token sees all it should.

    Where attention is causal, what fills up a row comes after it and is seen by nobody.
    """
    narrow = window is not None and length > window
    ragged = not causal and _layout is not None and min(_layout.block_lengths[number]) < length
    if not narrow and not ragged:
        return None
    cache = _layout.cache if _layout is not None else {}
    name = (number, causal, window, like.dtype)
    if name not in cache:
        places = torch.arange(length, device=like.device)
        seen = torch.ones(1, 1, 1, length, dtype=torch.bool, device=like.device)
        if narrow and window is not None:
            gap = places[:, None] - places[None, :]
            seen = seen & (((gap >= 0) if causal else True) & (gap.abs() < window))
        if ragged and _layout is not None:
            ends = torch.tensor(_layout.block_lengths[number], device=like.device)
            seen = seen & (places < ends[:, None])[:, None, None, :]
        cache[name] = _blocked(seen, like.dtype)
    return cache[name]


def _triangle(length: int, like: torch.Tensor) -> torch.Tensor:
    """Return the bias (1, 1, length, length) that hides what comes later."""
    cache = _layout.cache if _layout is not None else {}
    name = ("causal", length, like.dtype)
    if name not in cache:
        places = torch.arange(length, device=like.device)
        cache[name] = _blocked((places[:, None] >= places[None, :])[None, None], like.dtype)
    return cache[name]


def _blocked(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
