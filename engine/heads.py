"""The loss of a language model straight from its hidden states: scores are made a few rows at a time and never kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from engine.memory import CHUNK_BYTES


class ScoreLoss(torch.autograd.Function):
    """Σ cross entropy of softmax(hidden·Wᵀ + b) against targets; gradients are found in the same pass.

    Scores of all target tokens would take (targets · vocabulary) floats three times over.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
                targets: torch.Tensor) -> torch.Tensor:
        """Return the summed loss; `hidden` (targets, width), `weight` (vocabulary, width), `targets` (targets,)."""
        kind, given = hidden.device.type, hidden.dtype
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else given
        hidden, matrix = hidden.to(dtype), weight.to(dtype)
        grad = torch.empty_like(hidden, dtype=given) if ctx.needs_input_grad[0] else None
        grad_weight, grad_bias = (torch.zeros_like(item, dtype=torch.float32) if item is not None and wanted else None
                                  for item, wanted in zip((weight, bias), ctx.needs_input_grad[1:3], strict=True))
        total = hidden.new_zeros((), dtype=torch.float32)
        size = max(1, CHUNK_BYTES // (4 * weight.shape[0]))
        for start in range(0, len(targets), size):
            part, wanted = hidden[start:start + size], targets[start:start + size, None]
            scores = F.linear(part, matrix, None if bias is None else bias.to(hidden.dtype)).float()
            highest = torch.logsumexp(scores, dim=-1, keepdim=True)
            total += (highest - scores.gather(1, wanted)).sum()
            chances = scores.sub_(highest).exp_()
            chances.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=chances.dtype))
            if grad_bias is not None:
                grad_bias += chances.sum(0)
            chances = chances.to(hidden.dtype)
            if grad is not None:
                grad[start:start + size] = (chances @ matrix).to(given)
            if grad_weight is not None:
                grad_weight += chances.t() @ part
        ctx.save_for_backward(*(item for item in (grad, grad_weight, grad_bias) if item is not None))
        ctx.there = [item is not None for item in (grad, grad_weight, grad_bias)]
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients found in the forward pass, scaled."""
        saved = iter(ctx.saved_tensors)
        found = [next(saved) * grads[0].to(torch.float32) if there else None for there in ctx.there]
        if found[0] is not None:
            found[0] = found[0].to(ctx.saved_tensors[0].dtype)
        return (*found, None)


def parts_of(model: Any) -> tuple[Any, nn.Linear] | None:
    """Return the part of a language model below its output layer, and that layer, when they can be run apart."""
    config = getattr(model, "active_peft_config", None)
    if config is not None and config.is_prompt_learning:
        return None
    inner = model.get_base_model() if config is not None else model
    below, head = getattr(inner, "base_model", None), inner.get_output_embeddings()
    return (below, head) if below is not None and below is not inner and type(head) is nn.Linear else None


def losses(parts: tuple[Any, nn.Linear], inputs: dict[str, torch.Tensor], places: torch.Tensor,
           targets: torch.Tensor) -> torch.Tensor:
    """Return the loss of each token at `places` of the flattened batch, (targets,), without gradients."""
    below, head = parts
    return chunked(head, below(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)[places], targets)


def chunked(head: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the loss of each token, (targets,), from what the output layer is given, (targets, width)."""
    size = max(1, CHUNK_BYTES // (4 * head.weight.shape[0]))
    found = [F.cross_entropy(head(part).float(), wanted, reduction="none")
             for part, wanted in zip(hidden.split(size), targets.split(size), strict=True)]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)


def given(head: nn.Module, run: Callable[[], Any]) -> torch.Tensor:
    """Return what the output layer `head` is given while the model runs, (batch, tokens, width); no scores are made."""
    seen: list[torch.Tensor] = []

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(hidden)
        return hidden.new_zeros(1, 1, 1)

    head.forward = forward
    try:
        run()
    finally:
        del head.forward
    return seen[0]


def summed_loss(parts: tuple[Any, nn.Linear], inputs: dict[str, torch.Tensor], places: torch.Tensor,
                targets: torch.Tensor) -> torch.Tensor:
    """Return the summed loss of the tokens at `places` of the flattened batch, which are to predict `targets`."""
    below, head = parts
    hidden = below(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)[places]
    return ScoreLoss.apply(hidden, head.weight, head.bias, targets)
