"""Learned tokens among an image's patches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from posixpath import commonpath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.knobs import knob
from engine.methods.base import Card, Method, Piece
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Vpt(Method):
    """Learns prompt tokens that stand between an image's class token and its patches."""

    name: Literal["vpt"] = "vpt"
    length: int = knob(10, ge=1, le=1000, slider=(1, 200), scale="log2", unit="tokens", title="Prompt length",
                       help="Learned tokens added to each image. The best number differs much between tasks.")
    deep: bool = knob(True, title="Deep", help=(
        "New prompts in every block. Off, prompts enter the first block only: fewer to store, and usually weaker."))
    start: Literal["random", "patches"] = knob("random", title="Start", words={
        "random": "Random numbers", "patches": "Patches of the images"}, help=(
        "Random as first published, or patches of training images as each block sees them, which Wang et al. (2024) "
        "found better above all where the model learned without labels, as DINOv2 and MAE did."))
    dropout: float = knob(0.0, ge=0, lt=1, step=0.05, slider=(0, 0.5), advanced=True, title="Dropout",
                          help="Share of the prompts' values dropped while training.")

    card: ClassVar[Card] = Card(
        title="Visual prompt tuning", family="soft prompt", order=170,
        summary="Adds learned tokens to the patches of each image; the vision model itself stays frozen.",
        paper="Jia et al., 2022", url="https://arxiv.org/abs/2203.12119",
        use_when="Images, a good vision transformer, and little data for each of many tasks.",
        avoid_when="Windowed or convolutional models (Swin, ConvNeXt), or when every image must be fast: more tokens.",
        settings="Deep, 10 to 50 tokens, a learning rate of 1e-3 to 5e-3, many epochs; try several lengths, and "
                 "patches to start from.",
        formula="[x₁, _, E₁] = B₁(x₀, P₀, E₀), …; deep: new P in every block, L·n·d numbers; shallow: n·d")

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return n·d for each block, or for the first alone."""
        count = self.length * shape.hidden
        names = _blocks(shape)
        return [Piece(name, "embedding", "embedding", layer, count, count, "prompts")
                for layer, name in names.items() if self.deep or layer == min(names)]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Refuse what is no vision transformer whose blocks take any number of tokens of one width."""
        if shape.family != "vision":
            return ["Visual prompts stand among the patches of an image; this model reads text."]
        queries = [m for m in shape.modules if m.role in ("query", "qkv") and m.layer is not None]
        if len({m.layer for m in queries}) < shape.layers or not queries:
            return ["Not every block of this model has attention, so prompts would reach nothing in some."]
        if any(m.d_in != shape.hidden for m in queries):
            return ["The blocks of this model differ in width, and one prompt cannot go through all of them."]
        if any("relative_position" in m.name or "position_bias" in m.name for m in shape.modules):
            return ["Attention in this model is tied to places on the image's grid (a bias for each pair of them), "
                    "and prompts have no place there."]
        return []

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return the usual rate of soft prompts, which start small beside a frozen model."""
        return 2e-3

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with prompts in its blocks and `heads` trained whole."""
        from peft import get_peft_model

        from engine import roles
        from engine.tuners.vpt import VptConfig

        names = [f"{block.name}.{i}" for block in roles.blocks(model) for i in range(block.layers)]
        config = VptConfig(
            target_modules=list(names), modules_to_save=list(heads) or None, num_virtual_tokens=self.length,
            hidden_size=shape.hidden, deep=self.deep, dropout=self.dropout, bound=_bound(model.config, shape.hidden),
            first_block=names[0], last_block=names[-1])
        return get_peft_model(model, config)

    @property
    def needs_data(self) -> bool:
        """Whether prompts start from what training images look like."""
        return self.start == "patches"

    def initialise(self, model: torch.nn.Module, batches: Iterable[dict[str, torch.Tensor]]) -> None:
        """Set the prompts to patches of these images."""
        from engine.tuners.vpt import start_from_patches

        start_from_patches(model, batches)


def _bound(config: Any, width: int) -> float:
    """Return √(6 / (channels · patch height · patch width + width)), the start of the authors' own code."""
    patch = config.patch_size
    height, wide = patch if isinstance(patch, (list, tuple)) else (patch, patch)
    return math.sqrt(6 / (config.num_channels * height * wide + width))


def _blocks(shape: ModelShape) -> dict[int, str]:
    """Return the name of each block by its number: what the names of its modules begin with."""
    inside: dict[int, list[Module]] = {}
    for module in shape.modules:
        if module.layer is not None:
            inside.setdefault(module.layer, []).append(module)
    return {layer: commonpath([m.name.replace(".", "/") for m in modules]).replace("/", ".")
            for layer, modules in inside.items()}
