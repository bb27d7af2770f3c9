"""What the methods with a prefix share: which attention modules get one, how wide it is, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine import adapter
from engine.errors import SpecError
from engine.methods import _own
from engine.methods.base import Piece
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: Words are drawn from the first of the vocabulary, which are the most common ones.
COMMON = 5000
Sides = Literal["both", "encoder", "decoder"]


class PrefixMismatch(SpecError):
    """The adapter to start from has no prefix of {tokens} tokens, {width} wide, for each attention of this model."""

    kind = "prefix_mismatch"
    try_this = "Choose an adapter of the same method, base model and length."


def attentions(shape: ModelShape, sides: Sides = "both") -> list[Module]:
    """Return the attention modules that make keys and values of their own; `d_out` is the width of their keys.

    Of an encoder-decoder, `encoder` means the encoder's, `decoder` the decoder's own and those that look at the
    encoder. The decoder's are told by their blocks, which hold two attention modules.
    """
    parts: dict[str, dict[str, Module]] = {}
    for module in shape.modules:
        if module.kind == "linear" and module.role in ("key", "value", "qkv") and module.layer is not None:
            parts.setdefault(module.name.rpartition(".")[0], {})[module.role] = module
    found = [_attention(name, own, shape) for name, own in parts.items() if "qkv" in own or len(own) == 2]
    if shape.family != "encoder-decoder" or sides == "both":
        return found
    blocks = [module.layer for module in found]
    return [m for m in found if (blocks.count(m.layer) > 1) == (sides == "decoder")]


def _attention(name: str, own: dict[str, Module], shape: ModelShape) -> Module:
    if "qkv" in own:
        qkv = own["qkv"]
        return Module(name=name, kind="other", layer=qkv.layer, d_in=qkv.d_in,
                      d_out=(qkv.d_out - shape.heads * shape.head_dim) // 2)
    key, value = own["key"], own["value"]
    return Module(name=name, kind="other", layer=key.layer, d_in=key.d_in,
                  d_out=key.d_out if key.d_out == value.d_out else 0)


def pieces(shape: ModelShape, sides: Sides, tokens: int, hidden: int) -> list[Piece]:
    """Return n·d_kv for the keys and the values of each module, or what of the MLP gives them.

    The MLP trains n·d + (d·h + h) + Σ (2·d_kv·h + 2·d_kv), of which nothing is stored but its result.
    """
    found: list[Piece] = []
    for module in attentions(shape, sides):
        stored = tokens * module.d_out
        trained = module.d_out * (hidden + 1) if hidden else stored
        found += [Piece(f"{module.name}.key", "other", "key", module.layer, trained, stored),
                  Piece(f"{module.name}.value", "other", "value", module.layer, trained, stored)]
    if hidden:
        shared = tokens * shape.hidden + shape.hidden * hidden + hidden
        found.append(Piece("prefix", "other", "other", None, shared, 0))
    return found


def obstacles(shape: ModelShape, sides: Sides) -> list[str]:
    """Return why nothing can be put in front of the keys of this model."""
    found = attentions(shape, sides)
    if not shape.open_attention:
        return [f"The attention of models of type {shape.model_type} cannot be exchanged in transformers, so nothing "
                "can be put in front of its keys."]
    if not found:
        return ["No attention with keys and values of its own was recognised in this model."]
    if len({m.d_out for m in found}) != 1 or not found[0].d_out:
        return ["The attention layers of this model have keys and values of different widths."]
    return []


def attach(model: PreTrainedModel, shape: ModelShape, heads: Sequence[str], sides: Sides, tokens: int,
           hidden: int, infix: bool = False) -> torch.nn.Module:
    """Return `model` wrapped by peft, with `tokens` more keys and values at each attention of these sides."""
    from engine.tuners.prefix import PrefixConfig

    found = attentions(shape, sides)
    return _own.attach(model, PrefixConfig, found, heads, num_tokens=tokens, width=found[0].d_out, hidden=hidden,
                       infix=infix, embedding=shape.hidden if hidden else 0)


def check(folder: Path, tokens: int, width: int) -> None:
    """Refuse an adapter without keys (tokens, width) of a prefix at some attention; raises PrefixMismatch."""
    path = folder / "adapter_model.safetensors"
    saved = adapter.tensors(folder) if path.is_file() else {}
    if (tokens, width) not in [shape for name, shape in saved.items() if name.endswith("prefix_key")]:
        raise PrefixMismatch("method.start_from", tokens=tokens, width=width)


def start_from(model: Any, folder: Path) -> None:
    """Set the prefixes to those saved in an adapter's folder, heads excluded; raises PrefixMismatch."""
    import torch
    from safetensors.torch import load_file

    path, found = folder / "adapter_model.safetensors", 0
    saved = load_file(path) if path.is_file() else {}
    with torch.no_grad():
        for name, layer in model.named_modules():
            if not hasattr(layer, "prefix_key"):
                continue
            key, value = (saved.get(f"{name}.{kind}") for kind in ("prefix_key", "prefix_value"))
            own = layer.prefix_key["default"]
            if key is None or value is None or key.shape != own.shape:
                raise PrefixMismatch("method.start_from", tokens=own.shape[0], width=own.shape[1])
            layer.keep("default", key, value)
            found += 1
    if not found:
        raise PrefixMismatch("method.start_from", tokens=0, width=0)


def start_from_words(model: Any, special: Sequence[int]) -> None:
    """Set the prefixes to the keys and values that common words drawn at random have in each attention.

    Where a decoder looks at its encoder, they are those of the encoder's words.
    """
    import torch

    base = model.get_base_model()
    size = min(base.get_input_embeddings().weight.shape[0], COMMON)
    known = torch.tensor([i for i in range(size) if i not in set(special)])
    layers = model.base_model.layers()
    count = model.peft_config["default"].num_tokens
    drawn = known[torch.randint(len(known), (1, count))].to(base.device)
    given = {"input_ids": drawn} | ({"decoder_input_ids": drawn} if hasattr(base.base_model, "decoder") and
                                    base.config.is_encoder_decoder else {})
    with torch.no_grad(), model.base_model.recording():
        base.base_model.eval()(**given)
        for layer in layers:
            key, value = (states[0].transpose(0, 1).flatten(1) for states in layer.recorded)
            layer.keep("default", key, value)


def flatten(model: Any) -> None:
    """Replace the MLP of each adapter, where it has one, by the keys and values it gives."""
    for name in list(model.peft_config):
        model.base_model.flatten(name)
