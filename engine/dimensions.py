"""The sizes of a base model, from its configuration, its modules and the headers of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine import roles, weights
from engine.shape import Module
from engine.weights import Tensor

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig


def family_of(configuration: PreTrainedConfig) -> Any:
    """Return "encoder", "decoder", "encoder-decoder" or "vision"."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
    )

    kind = type(configuration)
    if getattr(configuration, "is_encoder_decoder", False):
        return "encoder-decoder"
    sees = kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING and hasattr(configuration, "num_channels")
    if sees or (not getattr(configuration, "vocab_size", 0) and hasattr(configuration, "image_size")):
        return "vision"
    decodes = kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
    return "decoder" if decodes or getattr(configuration, "is_decoder", False) else "encoder"


def of(configuration: PreTrainedConfig, model: Any, modules: list[Module]) -> dict[str, Any]:
    """Return the fields of a ModelShape that are sizes."""
    text = configuration.get_text_config()
    # MobileNet's configuration names no width: that of its last layer is what the head sees.
    hidden = _last(getattr(text, "hidden_size", 0) or getattr(text, "hidden_sizes", 0)) or next(
        (m.d_out for m in reversed(modules) if m.d_out), 0)
    # BEiT's vocabulary is that of the visual words it was trained to guess.
    vocabulary = 0 if family_of(configuration) == "vision" else int(getattr(text, "vocab_size", 0) or 0)
    heads = _last(getattr(text, "num_attention_heads", 0))
    up = next((m for m in modules if m.role in ("up", "gate_up")), None)
    wide = int(getattr(text, "intermediate_size", 0) or (up.d_out if up else 0))
    layers = sum(block.layers for block in roles.blocks(model))
    repeats = _last(getattr(text, "num_hidden_layers", 0))
    return {"layers": layers, "depth": max(layers, repeats), "hidden": hidden, "heads": heads,
            "kv_heads": _last(getattr(text, "num_key_value_heads", 0)) or heads,
            "head_dim": int(getattr(text, "head_dim", 0) or (hidden // heads if heads else 0)),
            "intermediate": wide, "vocab": vocabulary,
            "max_length": positions(text, model),
            "open_attention": model._can_set_attn_implementation(),
            "tied_embeddings": bool(getattr(model, "all_tied_weights_keys", {}))}


def _last(value: Any) -> int:
    """Return a size that some models give for each stage: that of the last, which the head sees."""
    return int((value[-1] if isinstance(value, list | tuple) else value) or 0)


def positions(text: PreTrainedConfig, model: torch.nn.Module) -> int:
    """Return the longest input; RoBERTa and its like keep the first rows of their position table for padding."""
    limit = int(getattr(text, "max_position_embeddings", 0) or 0)
    for name, module in model.named_modules():
        padding: int | None = getattr(module, "padding_idx", None)
        if padding is not None and re.search(r"(^|\.)position_embeddings$", name):
            return limit - padding - 1
    return limit


def storage(configuration: PreTrainedConfig, stored: Mapping[str, Tensor] | None,
             modules: list[Module]) -> dict[str, Any]:
    """Return the fields of a ModelShape about its files: the format of most numbers, and all bytes."""
    if stored is None:
        return {"dtype": str(configuration.dtype or "float32").removeprefix("torch."),
                "weight_bytes": 4 * sum(module.parameters for module in modules)}
    sizes: dict[str, int] = {}
    for tensor in stored.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.bytes
    most = max(sizes, key=lambda dtype: sizes[dtype], default="F32")
    return {"dtype": weights.DTYPES.get(most, most.lower()), "weight_bytes": sum(sizes.values())}
