"""How much of the attention goes to a prefix, measured on a few rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from engine import attention as packed
from engine.insight.places import Places
from engine.insight.report import Lines, Section, Series, digits
from engine.insight.store import Clock
from engine.tuners import prefix as tuner


class Mass:
    """Gathers, for each wrapped attention, the share of a query's attention that its prefix gets."""

    def __init__(self, model: Any) -> None:
        self.names = {id(layer.get_base_layer()): name for name, layer in model.named_modules()
                      if isinstance(layer, tuner.PrefixLayer)}
        self.sums: dict[str, list[float]] = {}

    def add(self, module: Any, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None,
            **kwargs: Any) -> None:
        """Note one attention over one row: query and key are (1, heads, tokens, size)."""
        given = module.studio_prefix
        name = self.names.get(id(module))
        if name is None or given.key is None:
            return
        sums = self.sums.setdefault(name, [0.0, 0.0])
        told = kwargs.get("is_causal")
        causal = bool(getattr(module, "is_causal", True) if told is None else told)
        share = mass(query, key, given.key, mask, scaling=kwargs.get("scaling"),
                     causal=causal and query.shape[2] > 1, bias=kwargs.get("position_bias"))
        sums[0] += float(share.sum())
        sums[1] += share.numel()

    @property
    def shares(self) -> dict[str, float]:
        """The mean share, 0 to 1, by the attention module's name."""
        return {name: total / count for name, (total, count) in self.sums.items() if count}


def mass(query: torch.Tensor, key: torch.Tensor, front: torch.Tensor, mask: torch.Tensor | None = None, *,
         scaling: float | None = None, causal: bool = False, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return the softmax mass on the prefix `front` (n, width), (1, heads, queries), of query and key (1, heads, t, d).

    Fewer key heads than query heads are shared by groups of these.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    ahead = front.view(len(front), key.shape[1], key.shape[3]).transpose(0, 1)[None]
    groups = query.shape[1] // key.shape[1]
    ahead, key = (part.repeat_interleave(groups, dim=1).float() for part in (ahead, key))
    query = query.float() * scale
    own = query @ key.transpose(2, 3)
    if bias is not None:
        own = own + bias[..., -own.shape[-1]:]
    if mask is not None:
        allowed = mask[..., :own.shape[-1]]
        own = own.masked_fill(~allowed, float("-inf")) if allowed.dtype == torch.bool else own + allowed.float()
    elif causal:
        places = torch.ones(own.shape[-2:], dtype=torch.bool, device=own.device).tril(own.shape[-1] - own.shape[-2])
        own = own.masked_fill(~places, float("-inf"))
    first = torch.logsumexp(query @ ahead.transpose(2, 3), dim=-1)
    return torch.sigmoid(first - torch.logsumexp(own, dim=-1))


@contextmanager
def _measured(found: Mass) -> Iterator[None]:
    """Have every wrapped attention noted while it computes as ever."""
    usual = ALL_ATTENTION_FUNCTIONS[tuner.PREFIXED]

    def noted(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
              attention_mask: torch.Tensor | None, **kwargs: Any) -> Any:
        found.add(module, query, key, attention_mask, **kwargs)
        return usual(module, query, key, value, attention_mask, **kwargs)

    ALL_ATTENTION_FUNCTIONS[tuner.PREFIXED] = noted
    try:
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS[tuner.PREFIXED] = usual


def sections(model: Any, rows: Iterable[Mapping[str, Any]], places: Places, clock: Clock) -> list[Section]:
    """Return the attention on the prefix in each layer, over rows of model inputs (1, tokens); nothing without one."""
    found = Mass(model)
    if not found.names:
        return []
    measured = 0
    packed.set_layout(None)
    with torch.inference_mode(), _measured(found):
        for row in rows:
            if clock.over:
                break
            model(**row)
            measured += 1
    kinds: dict[str, list[tuple[int, float]]] = {}
    for number, (name, share) in enumerate(found.shares.items()):
        layer = places.of(name)[1]
        kind = "cross-attention" if "cross" in name.lower() or "encdec" in name.lower() else "attention"
        kinds.setdefault(kind, []).append((number if layer is None else layer, share))
    if not kinds:
        return []
    series = [Series(name=kind, x=[layer + 1 for layer, _ in sorted(points)],
                     y=[digits(share, 4) for _, share in sorted(points)]) for kind, points in kinds.items()]
    tokens = next(module.settings[name].num_tokens for module in model.modules()
                  if isinstance(module, tuner.PrefixLayer) for name in module.settings)
    return [Section(
        name="attention_on_prefix", title="How much attention the prefix gets",
        how="The share of each layer's attention that goes to the prefix, averaged over heads, tokens and rows: near 0 "
            "the layer ignores it, near 1 it hardly looks at the text.",
        parts=[Lines(title="Attention on the prefix", series=series, x_title="layer", y_title="share")],
        facts={"rows measured": measured, "virtual tokens": tokens})]
