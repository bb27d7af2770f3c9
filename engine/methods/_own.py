"""What the methods on our own tuners share: which modules are wrapped, and how they are attached."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def everywhere(shape: ModelShape, kinds: Sequence[str] = ("linear", "norm")) -> list[Module]:
    """Return every module of the given kinds that takes part in computing the hidden states, heads excluded."""
    return [m for m in shape.modules if m.kind in kinds and m.role != "head"]


def token_tables(shape: ModelShape) -> list[Module]:
    """Return the table of token embeddings: the first whose height is the vocabulary; none where there is none."""
    return [m for m in shape.modules if m.kind == "embedding" and shape.vocab and m.d_in == shape.vocab][:1]


def top(shape: ModelShape, modules: Sequence[Module], layers: int | None) -> list[Module]:
    """Return those of `modules` that lie in the `layers` blocks at the top; all inside blocks for None."""
    first = 0 if layers is None else shape.layers - layers
    return [m for m in modules if m.layer is not None and m.layer >= first]


def feed_forward(shape: ModelShape, layers: int | None) -> list[tuple[Module, Module]]:
    """Return the first and the last layer of each feed-forward part in the top blocks.

    Where a block has several that give out its width, they belong together when they are parts of one module.
    """
    linear = top(shape, [m for m in shape.modules if m.kind == "linear"], layers)
    found: list[tuple[Module, Module]] = []
    for first in linear:
        last = [m for m in linear if m.role == "down" and m.layer == first.layer]
        if len(last) > 1:
            last = [m for m in last if m.name.rpartition(".")[0] == first.name.rpartition(".")[0]]
        if first.role in ("up", "gate_up") and len(last) == 1 and last[0].d_out == first.d_in:
            found.append((first, last[0]))
    return found


def too_many(shape: ModelShape, layers: int | None) -> list[str]:
    """Return the reason why there are not that many blocks, if there are not."""
    few = layers is not None and layers > shape.layers
    return [f"This model has {shape.layers} {'block' if shape.layers == 1 else 'blocks'}, not {layers}."] if few else []


def bottleneck(width: int, size: int | None, reduction: int) -> int:
    """Return the parameters of a bottleneck beside or after a layer of this width: 2·d·r + r + d."""
    narrow = size or max(1, width // reduction)
    return 2 * width * narrow + narrow + width


def attach(model: PreTrainedModel, config: type[Any], modules: Sequence[Module], heads: Sequence[str],
           **settings: Any) -> torch.nn.Module:
    """Return `model` wrapped by peft with the tuner of `config` around exactly `modules`, and `heads` trained whole."""
    from peft import get_peft_model

    from engine.skeleton import names_in

    names = list(names_in(model, [m.name for m in modules]).values())
    made = config(target_modules=names, modules_to_save=list(heads) or None, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model, made)
