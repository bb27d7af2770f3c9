"""Encoders without padding: the blocks see one long row of tokens, the head sees separate rows again.

Nothing is assumed about a model: before it is trained this way, its outputs are compared with those of padded rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from engine import attention
from engine.roles import blocks
from engine.tasks.base import Task

#: Largest difference of outputs, relative to their size, that rounding may make: fp32, and bf16.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.06}


class Unflatten:
    """Turns what the last block gives out, (1, tokens, hidden), into (batch, width, hidden) while a layout is set."""

    def __init__(self, first_only: bool = False, cut: bool = False) -> None:
        """`first_only` hands out each row's first token alone, which is all that many heads look at.

        With `cut`, the last block went on with those alone since its attention: it gives out (1, batch, hidden).
        """
        self.first_only, self.cut = first_only, cut

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """Be the forward hook of the last block."""
        layout = attention.layout()
        if layout is None:
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        if self.cut:
            rows = hidden[0].unsqueeze(1)
            return (rows, *output[1:]) if isinstance(output, tuple) else rows
        index = torch.as_tensor(layout.index[:, :1] if self.first_only else layout.index, device=hidden.device)
        rows = nn.functional.embedding(index, hidden[0])
        return (rows, *output[1:]) if isinstance(output, tuple) else rows


def only_first_tokens(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    """Be the forward hook behind which a block needs each row's first token alone: (1, tokens, n) to (1, batch, n)."""
    layout = attention.layout()
    return output if layout is None else output[:, torch.as_tensor(layout.index[:, 0], device=output.device)]


@dataclass(frozen=True)
class Flat:
    """A model that takes packed batches: the transformers model `inner` and its `blocks`.

    `first_only` when its head is given each row's first token alone.
    """

    inner: Any
    blocks: nn.ModuleList
    first_only: bool


def make_flat(model: nn.Module, inner: Any, task: Task, rows: Sequence[dict[str, Any]], pad_id: int) -> Flat | None:
    """Let `model` take packed batches, if that gives the same outputs for `rows` as padded ones.

    `inner` is the transformers model inside. When it cannot, everything is left as it was and None is returned.
    """
    lists = blocks(inner)
    wanted = getattr(task, "packing", True) and getattr(inner, "_supports_attention_backend", False)
    if not wanted or len(lists) != 1:
        return None
    before = inner.config._attn_implementation
    stack: Any = inner.get_submodule(lists[0].name)
    compare = _comparison(model, task, rows, pad_id)
    attention.register()
    for first_only, cut in _ways(stack[-1]) if task.rows_for_the_head else [(False, None)]:
        hooks = _hooks(stack[-1], first_only, cut) if task.rows_for_the_head else []
        try:
            inner.set_attn_implementation(attention.PACKED)
            if compare():
                return Flat(inner, stack, first_only)
        except Exception:  # noqa: S110  # any failure means the same: this model needs padded rows
            pass
        finally:
            attention.set_layout(None)
        for hook in hooks:
            hook.remove()
        inner.set_attn_implementation(before)
    return None


def _ways(block: nn.Module) -> list[tuple[bool, nn.Module | None]]:
    """Return what to try, the fastest first: whether first tokens are enough, and after which part of the last block.

    Where the norm of the attention's sum begins a block's second half, as in BERT, that half can do with them alone.
    """
    norms = [module for module in block.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
    return [*((True, norm) for norm in norms[:-1]), (True, None), (False, None)]


def _hooks(block: nn.Module, first_only: bool, cut: nn.Module | None) -> list[RemovableHandle]:
    made = [] if cut is None else [cut.register_forward_hook(only_first_tokens)]
    return [*made, block.register_forward_hook(Unflatten(first_only, cut is not None))]


def _comparison(model: nn.Module, task: Task, rows: Sequence[dict[str, Any]], pad_id: int) -> Callable[[], bool]:
    """Return a test of packed against padded outputs; the latter are computed now."""
    device = next(model.parameters()).device

    def outputs(packed: bool) -> torch.Tensor:
        batch = task.collate(rows, pad_id, packed=packed)
        moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        model.eval()
        with torch.inference_mode():
            return task.probe(model, moved).float()

    padded = outputs(False)

    def same() -> bool:
        found = outputs(True)
        dtype = next((p.dtype for p in model.parameters() if not p.requires_grad), torch.float32)
        limit = TOLERANCE.get(dtype, 0.06) * max(float(padded.abs().max()), 1e-3)
        return found.shape == padded.shape and float((found - padded).abs().max()) <= limit

    return same
