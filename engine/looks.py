"""How large an image model's images are, and how many numbers its layers make of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import roles

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

#: Width of the images of a model whose configuration does not say, as most are trained.
USUAL = 224


def of(configuration: PreTrainedConfig, model: PreTrainedModel, family: str) -> dict[str, Any]:
    """Return `picture` and `traces` of a ModelShape; nothing for models that see no images.

    `model` lies on the meta device: an image passes through it without being computed.
    """
    if family != "vision":
        return {}
    size: Any = getattr(configuration, "image_size", None) or USUAL
    width = int(size[-1] if isinstance(size, list | tuple) else size)
    return {"picture": width, "traces": traces(model, int(getattr(configuration, "num_channels", 3) or 3), width)}


def traces(model: PreTrainedModel, channels: int, width: int) -> list[int]:
    """Return how many numbers layers give out for one image: those outside the blocks, then those of each block.

    Empty for a model that cannot be run without its weights.
    """
    import torch

    lists = roles.blocks(model)
    found = [0] * (1 + sum(block.layers for block in lists))

    def counting(place: int) -> Any:
        def count(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                found[place] += output.numel()

        return count

    hooks = []
    for name, module in model.named_modules():
        if not any(True for _ in module.children()):
            layer = roles.layer_of(name, lists)
            hooks.append(module.register_forward_hook(counting(0 if layer is None else 1 + layer)))
    try:
        with torch.no_grad():
            model.eval()(pixel_values=torch.empty(1, channels, width, width, device="meta"))
    except Exception:
        # Whatever a model does with the numbers themselves has no meaning here; nothing else depends on it.
        return []
    finally:
        for hook in hooks:
            hook.remove()
    return found
