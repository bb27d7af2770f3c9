"""Attention for training: packed sequences that never see each other, and the faster kernel for each length."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

#: Name under which transformers finds `packed`.
PACKED = "studio_packed"

#: On a CPU in bf16, sequences up to this many tokens are faster with plain matrix products than with SDPA, whose
#: backward pass is 2-8 times slower there.
EAGER_BF16 = 1024

_lengths: list[int] = []


def set_sequences(lengths: list[int] | None) -> None:
    """Tell `packed` where the sequences of the coming forward pass (and its recomputation) begin and end."""
    global _lengths
    _lengths = list(lengths or [])


def register() -> None:
    """Make `packed` known to transformers as an attention implementation; it builds no mask of its own."""
    from transformers import AttentionInterface
    AttentionInterface.register(PACKED, packed)


def packed(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
           attention_mask: torch.Tensor | None, dropout: float = 0.0, scaling: float | None = None,
           is_causal: bool | None = None, sliding_window: int | None = None,
           **kwargs: Any) -> tuple[torch.Tensor, None]:
    """Attend within each sequence of a flattened batch; tensors are (1, heads, tokens, head size).

    Raises ValueError for what it cannot do (soft caps, sinks), so that nothing is silently left out.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None or attention_mask is not None:
        raise ValueError("packed attention knows neither masks, soft caps nor sinks")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    lengths = _lengths or [query.shape[2]]
    queries, keys, values = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    found = [_one(q, k, v, causal, scaling, dropout, sliding_window)
             for q, k, v in zip(queries, keys, values, strict=True)]
    return torch.cat(found, dim=2).transpose(1, 2).contiguous(), None


def _one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool, scaling: float | None,
         dropout: float, window: int | None) -> torch.Tensor:
    length = query.shape[2]
    narrow = window is not None and length > window
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and length <= EAGER_BF16:
        return _eager(query, key, value, _bias(length, causal, window if narrow else None, query), scaling, dropout)
    mask = _bias(length, causal, window, query) if narrow else None
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling,
                                          is_causal=causal and mask is None, enable_gqa=key.shape[1] != query.shape[1])


def _eager(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None,
           scaling: float | None, dropout: float) -> torch.Tensor:
    """Attention as three plain steps; heads that share a key are kept together as rows of one product."""
    batch, heads, length, size = query.shape
    shared = heads // key.shape[1]
    if shared > 1:
        query = query.reshape(batch, key.shape[1], shared * length, size)
        bias = bias.repeat(shared, 1) if bias is not None else None
    scores = torch.matmul(query, key.transpose(2, 3)) * (scaling if scaling is not None else size ** -0.5)
    if bias is not None:
        scores = scores + bias
    weights = F.softmax(scores, dim=-1)
    if dropout:
        weights = F.dropout(weights, dropout)
    return torch.matmul(weights, value).reshape(batch, heads, length, size)


def _bias(length: int, causal: bool, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
    """Return 0 where a token may look, a very low number elsewhere, (length, length); None when it may everywhere."""
    if not causal and window is None:
        return None
    places = torch.arange(length, device=like.device)
    gap = places[:, None] - places[None, :]
    seen = gap >= 0 if causal else torch.ones_like(gap, dtype=torch.bool)
    if window is not None:
        seen &= gap.abs() < window
    return torch.zeros(length, length, dtype=like.dtype, device=like.device).masked_fill(
        ~seen, torch.finfo(like.dtype).min)
