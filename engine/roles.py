"""What each module of a model is for: found from where it sits and what it is called there, not from model names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.shape import Kind, Module, Role

if TYPE_CHECKING:
    import torch

#: Last part of a linear layer's name -> what it does, wherever it stands in its block.
WORDS: dict[str, Role] = {
    **dict.fromkeys(("query", "q", "q_proj", "q_lin", "query_proj", "q_attn", "wq", "to_q"), "query"),
    **dict.fromkeys(("key", "k", "k_proj", "k_lin", "key_proj", "wk", "to_k"), "key"),
    **dict.fromkeys(("value", "v", "v_proj", "v_lin", "value_proj", "wv", "to_v"), "value"),
    **dict.fromkeys(("qkv", "qkv_proj", "query_key_value", "c_attn", "wqkv", "in_proj", "kqv"), "qkv"),
    **dict.fromkeys(("o_proj", "out_proj", "out_lin", "to_out"), "output"),
    **dict.fromkeys(("up_proj", "fc1", "fc_in", "c_fc", "lin1", "linear1", "dense_h_to_4h", "wi", "wi_1", "w3"), "up"),
    **dict.fromkeys(("gate_proj", "wi_0", "w1"), "gate"),
    **dict.fromkeys(("gate_up_proj",), "gate_up"),
    **dict.fromkeys(("down_proj", "fc2", "fc_out", "lin2", "linear2", "dense_4h_to_h", "w2"), "down"),
}
ATTENTION = re.compile(r"att(entio)?n|attention", re.IGNORECASE)
#: What turns an image's patches into vectors, and holds their class token and positions.
EMBEDDING = re.compile(r"(^|\.)embed|patch_embed|embeddings$", re.IGNORECASE)
#: Attention layers that carry positions or other side inputs rather than a part of the usual four.
SIDE = re.compile(r"pos|rel|gate|score|bias", re.IGNORECASE)
#: Projections in two steps: q_a_proj, q_b_proj, kv_a_proj ...
SPLIT = re.compile(r"(q|k|v|kv|qkv)_[ab]_")
SPLITS: dict[str, Role] = {"q": "query", "k": "key", "v": "value", "kv": "key", "qkv": "qkv"}


class Block(NamedTuple):
    """A list of layers: its dotted name and how many it holds; `first` is the number of its first layer."""

    name: str
    layers: int
    first: int


def blocks(model: torch.nn.Module) -> list[Block]:
    """Return the lists of layers of a model: of the outermost module lists, those that hold most parameters.

    An encoder-decoder has two of them; layers are numbered through. Stages, as Swin has them, are opened: what counts
    are the blocks within.
    """
    import torch

    found: list[tuple[str, int, int]] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(outer + ".") for outer, _, _ in found)
        if isinstance(module, torch.nn.ModuleList) and len(module) and not inside:
            size = sum(p.numel() for p in module.parameters())
            if all(any(True for _ in child.parameters()) for child in module):
                found.append((name, len(module), size))
    largest = max((size for _, _, size in found), default=0)
    kept, first = [], 0
    for name, _, size in found:
        if size * 4 >= largest:
            for inner, count in _opened(name, model.get_submodule(name)):
                kept.append(Block(inner, count, first))
                first += count
    return kept


def _opened(name: str, outer: torch.nn.Module) -> list[tuple[str, int]]:
    """Return a list of layers as (name, length), or the lists of blocks in it when each of its modules is a stage.

    A stage holds one list of modules of one kind, each with attention of its own; lists of a layer's parts (T5) and of
    experts hold none.
    """
    import torch

    stages: list[tuple[str, int]] = []
    for number, stage in outer.named_children():
        lists = [(inner, module) for inner, module in stage.named_children() if isinstance(module, torch.nn.ModuleList)]
        if len(lists) != 1 or len({type(block) for block in lists[0][1]}) != 1 or not all(
                any(ATTENTION.search(part) for part, _ in block.named_modules()) for block in lists[0][1]):
            return [(name, len(list(outer.children())))]
        stages.append((f"{name}.{number}.{lists[0][0]}", len(lists[0][1])))
    blocks = sum(count for _, count in stages)
    return stages if blocks > len(stages) else [(name, len(stages))]


def modules(model: torch.nn.Module, prefix: str) -> list[Module]:
    """Return every module of `model` that holds parameters, names without `prefix`, tied weights counted once."""
    lists = blocks(model)
    found = list(_walk(model, lists))
    named = [replaced for layer in _grouped(found) for replaced in _assign(layer)]
    return [module.model_copy(update={"name": _strip(module.name, prefix)}) for module in named]


def _strip(name: str, prefix: str) -> str:
    return name[len(prefix) + 1:] if prefix and name.startswith(prefix + ".") else name


def _walk(model: torch.nn.Module, lists: list[Block]) -> Iterator[Module]:
    seen: set[int] = set()
    for name, module in model.named_modules():
        held = [p for _, p in module.named_parameters(recurse=False, remove_duplicate=False)]
        if not held:
            continue
        new = [p for p in held if id(p) not in seen]
        seen.update(id(p) for p in new)
        kind, d_in, d_out, transposed = _measure(module)
        places, groups = _kernel(module)
        yield Module(name=name, kind=kind, layer=layer_of(name, lists), d_in=d_in, d_out=d_out, transposed=transposed,
                     bias=getattr(module, "bias", None) is not None, parameters=sum(p.numel() for p in new),
                     tied=len(new) < len(held), kernel=places, groups=groups)


def _measure(module: Any) -> tuple[Kind, int, int, bool]:
    """Return kind, input width, output width and whether the weight is stored transposed (GPT-2's Conv1D)."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return "linear", module.weight.shape[0], module.weight.shape[1], True
    if isinstance(module, torch.nn.Linear):
        return "linear", module.in_features, module.out_features, False
    if isinstance(module, torch.nn.Embedding):
        return "embedding", module.num_embeddings, module.embedding_dim, False
    if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d):
        return "conv", module.in_channels, module.out_channels, False
    if "norm" in type(module).__name__.lower() and getattr(module, "weight", None) is not None:
        width = int(module.weight.numel())
        return "norm", width, width, False
    return "other", 0, 0, False


def _kernel(module: Any) -> tuple[int, int]:
    """Return how many places a convolution sees at once, and in how many parts it keeps its channels."""
    import torch

    if not isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d):
        return 1, 1
    return math.prod(module.kernel_size), module.groups


def layer_of(name: str, lists: list[Block]) -> int | None:
    """Return the number of the block that a module lies in, by its name; None outside blocks."""
    for block in lists:
        if name.startswith(block.name + "."):
            return block.first + int(name[len(block.name) + 1:].partition(".")[0])
    return None


def _grouped(found: list[Module]) -> list[list[Module]]:
    """Return the modules in order, those of one layer together (a role may depend on its neighbours)."""
    groups: list[list[Module]] = []
    for module in found:
        if groups and module.layer is not None and groups[-1][0].layer == module.layer:
            groups[-1].append(module)
        else:
            groups.append([module])
    return groups


def _assign(group: list[Module]) -> list[Module]:
    named = [module.model_copy(update={"role": _role(module)}) for module in group]
    if group[0].layer is None:
        return named
    # A gated MLP may keep gate and up in one matrix: it is then twice as wide as what goes back down.
    down = {module.d_in for module in named if module.role == "down"}
    return [module.model_copy(update={"role": "gate_up"})
            if module.role == "up" and len(down) == 1 and module.d_out == 2 * next(iter(down)) else module
            for module in named]


def _inside(name: str) -> str:
    """Return the part of a name after the number of its layer."""
    return re.split(r"\.\d+\.", name, maxsplit=1)[-1]


def _role(module: Module) -> Role:
    if module.kind == "norm":
        return "norm"
    if module.kind == "embedding":
        return "embedding"
    if module.kind in ("conv", "other") and module.layer is None and EMBEDDING.search(module.name):
        return "embedding"
    if module.kind == "conv":
        return "depthwise" if module.groups > 1 else "spatial" if module.kernel > 1 else "pointwise"
    if module.kind != "linear":
        return "other"
    if module.layer is None:
        return "pooler" if "pooler" in module.name else "other"
    parents, _, last = _inside(module.name).rpartition(".")
    attends = bool(ATTENTION.search(parents)) or bool(ATTENTION.search(last))
    if attends and SIDE.search(last) and last.lower() not in WORDS:
        return "other"
    role = WORDS.get(last.lower())
    if role is not None and (attends or role not in ("query", "key", "value", "qkv")):
        return role
    if split := SPLIT.match(last):
        return SPLITS[split[1]]
    if attends:
        return "output"
    if last in ("gate", "router") or module.d_out == module.d_in:
        return "other"
    return "up" if module.d_out > module.d_in else "down"


