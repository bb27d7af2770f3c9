"""LoftQ: a LoRA that starts as what storing the base in 4 bits took away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import weights
from engine.errors import ModelError

if TYPE_CHECKING:
    import torch


class OriginalMissing(ModelError):
    """The original weights of '{layer}' were not found in the base model's folder, so LoftQ has nothing to restore."""

    kind = "loftq_original_missing"
    try_this = "Start LoRA from default, or use a base model whose files name its layers as transformers does."


def start(model: torch.nn.Module) -> None:
    """Set B·A of every LoRA on a 4-bit layer to the best low-rank picture of W - Q (Li et al., 2023, one iteration).

    W is read layer by layer from the model's folder, so the base is never whole in memory. Raises OriginalMissing.
    """
    import torch
    from peft.tuners.lora.bnb import Linear4bit

    base: Any = model
    originals = Originals(Path(base.config._name_or_path))
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, Linear4bit):
                _restore(module, originals.weight(name.removeprefix("base_model.model.")))


def lost(layer: Any, original: torch.Tensor) -> torch.Tensor:
    """Return W - Q of a 4-bit layer, in float32 (d_out, d_in)."""
    from bitsandbytes.functional import dequantize_4bit

    kept: torch.Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    return original.to(kept) - kept


class Originals:
    """The tensors of a model directory, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.places = {name: path for path in weights.shards(folder) for name in weights.header(path)}

    def weight(self, layer: str) -> torch.Tensor:
        """Return the weight of the layer of this full name; a leading part may be in one of the two names only."""
        from safetensors import safe_open

        wanted = f"{layer}.weight"
        found = [name for name in self.places if name == wanted] or \
            [name for name in self.places if wanted.endswith(f".{name}") or name.endswith(f".{wanted}")]
        if len(found) != 1:
            raise OriginalMissing("method.init", layer=layer)
        opened: Any = safe_open(str(self.places[found[0]]), framework="pt")
        with opened as file:
            return file.get_tensor(found[0])


def _restore(module: Any, original: torch.Tensor) -> None:
    """Split the r largest directions of W - Q evenly between A (r, d_in) and B (d_out, r), less LoRA's own scale."""
    import torch

    residual = lost(module.get_base_layer(), original)
    for adapter in module.lora_A:
        down, up, scale = module.lora_A[adapter].weight, module.lora_B[adapter].weight, module.scaling[adapter]
        left, sizes, right = torch.linalg.svd(residual, full_matrices=False)
        rank = min(len(down), len(sizes))
        root = (sizes[:rank] / scale).sqrt()
        down.zero_()
        up.zero_()
        down[:rank] = root[:, None] * right[:rank]
        up[:, :rank] = left[:, :rank] * root
