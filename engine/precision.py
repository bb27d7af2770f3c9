"""Number formats: what the hardware does well, fp32 for whatever is trained, and which modules keep their dropout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from engine.environment import cpu_features
from engine.spec import Precision


@dataclass(frozen=True)
class Formats:
    """`name` as people say it; `base` is the dtype of frozen weights; `autocast` that of arithmetic on fp32 weights.

    `autocast` is None where the weights' own dtype decides. `why` is a sentence for the log.
    """

    name: str
    base: torch.dtype
    autocast: torch.dtype | None
    why: str

    def context(self, device: str) -> contextlib.AbstractContextManager[Any]:
        """Return the autocast context of a forward pass, or a context that does nothing."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(torch.device(device).type, dtype=self.autocast)


def choose(asked: Precision, device: str, *, whole: bool) -> Formats:
    """Return the formats for `asked` on `device`; `whole` when (nearly) all weights are trained.

    Frozen weights are stored in the short format. Trained ones stay fp32, so a model trained whole computes under
    autocast instead. "auto" takes bf16 where the processor computes in it, fp32 elsewhere.
    """
    name, why = asked, "asked for"
    if asked == "auto":
        name, why = ("bf16", "the hardware computes in bf16") if _fast_bf16(device) else (
            "fp32", "the hardware has no bf16 arithmetic")
    if name == "fp16" and not device.startswith("cuda"):
        name, why = "fp32", "fp16 gains nothing on a CPU"
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
    if dtype is torch.float32:
        return Formats("fp32", torch.float32, None, why)
    if whole or dtype is torch.float16:
        return Formats(name, torch.float32 if whole else dtype, dtype, why)
    return Formats(name, dtype, None, why)


def _fast_bf16(device: str) -> bool:
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    features = cpu_features()
    return features["avx512_bf16"] or features["amx_bf16"]


def trained_whole(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the outermost modules all of whose parameters are trained, with their names."""
    found: list[tuple[str, nn.Module]] = []

    def visit(name: str, module: nn.Module) -> None:
        parameters = list(module.parameters())
        if not parameters:
            return
        if all(p.requires_grad for p in parameters):
            found.append((name, module))
            return
        for child_name, child in module.named_children():
            visit(f"{name}.{child_name}" if name else child_name, child)

    visit("", model)
    return found


def keep_trained_in_fp32(model: nn.Module) -> None:
    """Turn every trained parameter to fp32 and let modules trained whole cast what comes in to their own dtype.

    The casts are forward hooks; they leave nothing behind in what is saved.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
    for _, module in trained_whole(model):
        if not _belongs_to_adapter(module):
            cast_inputs(module)


def cast_inputs(module: nn.Module) -> None:
    """Make `module` cast floating inputs to the dtype of its first parameter."""

    def cast(inner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        dtype = next(inner.parameters()).dtype
        return (tuple(_to(item, dtype) for item in args), {key: _to(item, dtype) for key, item in kwargs.items()})

    module.register_forward_pre_hook(cast, with_kwargs=True)


def _to(item: Any, dtype: torch.dtype) -> Any:
    if isinstance(item, torch.Tensor) and item.is_floating_point() and item.dtype != dtype:
        return item.to(dtype)
    return item


def _belongs_to_adapter(module: nn.Module) -> bool:
    """Whether the module is a piece inside an adapter layer of peft, which casts for itself."""
    return isinstance(module, (nn.ParameterDict, nn.ModuleDict))


def training_mode(model: nn.Module, base: nn.Module | None) -> None:
    """Put trained modules and the head's dropout in training mode, everything frozen in evaluation mode.

    Dropout in front of frozen weights only adds noise and costs half of an encoder step, so it is off. Means and
    variances of batch norms stay the pretrained ones, also where their weights learn: over a few images they are noise,
    and MobileNetV2's would be those of the last batch alone. `base` is the part of the model below its task head.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    model.eval()
    for _, module in trained_whole(model):
        module.train()
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            # Blocks recompute their activations only in training mode; what is inside them stays as it is.
            module.training = True
        if isinstance(module, BaseTunerLayer):
            module.training = True
            for name, child in module.named_modules():
                if name.split(".")[0] != "base_layer" and isinstance(child, nn.Dropout):
                    child.training = True
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)):
            module.training = False
    below = set(base.modules()) if base is not None else set()
    for module in _outside(model, below):
        if isinstance(module, nn.Dropout):
            module.training = True
    model.training = True


def _outside(model: nn.Module, below: set[nn.Module]) -> Iterable[nn.Module]:
    return (module for module in model.modules() if module not in below)
