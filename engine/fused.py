"""LoRA layers as one differentiable step, in the number format of the frozen weight beside them.

peft computes the update of a bf16 layer in fp32: two casts of the activations and eight thin fp32 products, which on a
CPU cost more than the layer itself. Here the thin products are bf16 too (as under autocast) and added in place.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class LoraStep(torch.autograd.Function):
    """y = x·Wᵀ + b + scale·(z·Aᵀ)·Bᵀ, where z is x or x after dropout; gradients for x, z, A and B."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, z: torch.Tensor | None, weight: torch.Tensor, bias: torch.Tensor | None,
                down: torch.Tensor, up: torch.Tensor, scale: float) -> torch.Tensor:
        """Return y; `x` and `z` are (…, in), `down` is A (r, in), `up` is B (out, r)."""
        narrow, wide = down.to(weight.dtype), (up * scale).to(weight.dtype)
        flat = x.reshape(-1, x.shape[-1])
        seen = flat if z is None else z.reshape(-1, x.shape[-1])
        inner = torch.mm(seen, narrow.t())
        result = F.linear(flat, weight, bias)
        result.addmm_(inner, wide.t())
        ctx.save_for_backward(seen, inner, weight, narrow, wide)
        ctx.scale, ctx.shape, ctx.dropped = scale, x.shape, z is not None
        return result.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, z, nothing for the frozen layer, A and B in fp32."""
        seen, inner, weight, narrow, wide = ctx.saved_tensors
        grad = grads[0].reshape(-1, weight.shape[0])
        thin = torch.mm(grad, wide)
        down = torch.mm(thin.t(), seen).float() if ctx.needs_input_grad[4] else None
        up = torch.mm(grad.t(), inner).float().mul_(ctx.scale) if ctx.needs_input_grad[5] else None
        x = z = None
        if ctx.needs_input_grad[0]:
            x = torch.mm(grad, weight)
            if not ctx.dropped:
                x.addmm_(thin, narrow)
            x = x.view(ctx.shape)
        if ctx.dropped and ctx.needs_input_grad[1]:
            z = torch.mm(thin, narrow).view(ctx.shape)
        return x, z, None, None, down, up, None


def fuse(model: nn.Module) -> int:
    """Let every plain LoRA layer on a frozen nn.Linear compute its forward in one step; return how many there are.

    The layers stay peft's own: what is saved, merged or disabled does not change.
    """
    from peft.tuners.lora import Linear

    found = [module for module in model.modules() if isinstance(module, Linear) and _is_plain(module)]
    for module in found:
        module.forward = MethodType(_forward, module)
    return len(found)


def _is_plain(module: Any) -> bool:
    base: Any = module.base_layer
    return (type(base) is nn.Linear and not base.weight.requires_grad and len(module.lora_A) == 1
            and not module.lora_variant and not any(module.lora_bias.values()) and not module.fan_in_fan_out
            and not getattr(base.bias, "requires_grad", False))


def _forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    base = self.base_layer
    name = next(iter(self.lora_A))
    if args or kwargs or self.disable_adapters or self.merged or x.dtype != base.weight.dtype \
            or name not in self.active_adapters or torch.is_autocast_enabled(x.device.type):
        return type(self).forward(self, x, *args, **kwargs)
    dropout = self.lora_dropout[name]
    dropped = dropout(x) if dropout.training and getattr(dropout, "p", 0.0) else None
    return LoraStep.apply(x, dropped, base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight,
                          self.scaling[name])
