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
    return [m for m in shape.modules if m.kind in kinds and m.role not in ("head", "embedding")]


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
