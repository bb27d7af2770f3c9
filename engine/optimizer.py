"""AdamW over one flat tensor a group: a few large kernels where a loop would launch hundreds of small ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch


class FlatAdamW:
    """AdamW whose parameters and gradients are views of one flat fp32 tensor a group (Loshchilov & Hutter, 2019).

    `groups` are torch parameter groups (`params`, `lr`, `weight_decay`). Values equal torch.optim.AdamW's.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8) -> None:
        """Move every parameter into its group's flat tensor; raises ValueError when there is nothing to train."""
        self.parameters = [p for group in groups for p in group["params"] if p.requires_grad]
        self.flats = [_flatten([p for p in group["params"] if p.requires_grad]) for group in groups]
        if not any(flat.numel() for flat in self.flats):
            raise ValueError("nothing to train: no parameter requires a gradient")
        self.peaks = [float(group["lr"]) for group in groups]
        self.optimizer = torch.optim.AdamW(
            [{"params": [flat], "lr": peak, "weight_decay": group.get("weight_decay", 0.0)}
             for flat, peak, group in zip(self.flats, self.peaks, groups, strict=True) if flat.numel()],
            betas=betas, eps=eps, fused=True)
        self.peaks = [peak for flat, peak in zip(self.flats, self.peaks, strict=True) if flat.numel()]
        self.flats = [flat for flat in self.flats if flat.numel()]

    def gradient_norm(self) -> torch.Tensor:
        """Return the L2 norm of all gradients, a scalar."""
        norms = [torch.linalg.vector_norm(flat.grad) for flat in self.flats if flat.grad is not None]
        return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))

    def scale_gradients(self, factor: float | torch.Tensor) -> None:
        """Multiply every gradient by `factor`."""
        for flat in self.flats:
            if flat.grad is not None:
                flat.grad.mul_(factor)

    def clip(self, limit: float) -> torch.Tensor:
        """Scale the gradients so that their norm is at most `limit`; return the norm before."""
        norm = self.gradient_norm()
        self.scale_gradients(torch.clamp(limit / (norm + 1e-6), max=1.0))
        return norm

    def step(self, share: float) -> None:
        """Update at `share` of each group's peak learning rate."""
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self.optimizer.step()

    def forget(self) -> None:
        """Set every gradient to zero."""
        for flat in self.flats:
            if flat.grad is not None:
                flat.grad.zero_()

    def gradients(self) -> list[torch.Tensor]:
        """Return the flat gradient of each group."""
        return [flat.grad for flat in self.flats if flat.grad is not None]

    def release(self) -> None:
        """Give every parameter its own memory again, as saving needs it; no more updates after this."""
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """Return the moments and step counts as flat tensors by name."""
        tensors: dict[str, torch.Tensor] = {}
        for index, flat in enumerate(self.flats):
            for name, value in self.optimizer.state.get(flat, {}).items():
                tensors[f"{index}.{name}"] = value
        return tensors

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore what `state` returned."""
        for index, flat in enumerate(self.flats):
            values = {name.partition(".")[2]: value for name, value in tensors.items()
                      if name.startswith(f"{index}.")}
            if values:
                self.optimizer.state[flat] = {
                    name: value.clone() if name == "step" else value.to(flat.device).clone()
                    for name, value in values.items()}


def _flatten(parameters: Sequence[torch.nn.Parameter]) -> torch.nn.Parameter:
    """Return one parameter holding all values; the originals and their gradients become views of it."""
    if not parameters:
        return torch.nn.Parameter(torch.empty(0))
    size = sum(p.numel() for p in parameters)
    flat = torch.nn.Parameter(torch.empty(size, dtype=torch.float32, device=parameters[0].device))
    flat.grad = torch.zeros_like(flat)
    start = 0
    with torch.no_grad():
        for parameter in parameters:
            end = start + parameter.numel()
            flat[start:end].copy_(parameter.reshape(-1))
            parameter.data = flat.data[start:end].view(parameter.shape)
            parameter.grad = flat.grad[start:end].view(parameter.shape)
            start = end
    return flat


def schedule(name: str, total: int, warmup: float) -> Callable[[int], float]:
    """Return the share of the peak learning rate that update `step` (from 0) of `total` uses.

    It rises linearly over the first `warmup` share of the updates, then falls linearly, along a half cosine, or not.
    """
    rising = math.ceil(total * warmup)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        done = (step - rising) / max(1, total - rising)
        if name == "linear":
            return max(0.0, 1.0 - done)
        if name == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        return 1.0

    return share
