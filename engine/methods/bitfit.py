"""Training nothing but biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import model_validator

from engine.knobs import knob
from engine.methods import _own, _places
from engine.methods.base import Card, Method, Piece, full_learning_rate
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Which = Literal["all", "query", "intermediate", "query+intermediate"]
Control = Literal["none", "random_uniform", "random_rows"]
#: The wide side of a gated feed-forward layer has two matrices, which both count.
ROLES: dict[str, tuple[str, ...]] = {"query": ("query", "qkv"), "intermediate": ("up", "gate", "gate_up"),
                                     "query+intermediate": ("query", "qkv", "up", "gate", "gate_up")}
#: How models with one matrix for query, key and value lay these out: one after the other, or head by head.
BLOCKED = ("gpt2", "openai-gpt", "modernbert", "modernbert-decoder", "phi3", "mpt")
BY_HEAD = ("gpt_neox", "gpt_neox_japanese", "bloom", "falcon", "gpt_bigcode", "persimmon", "deberta")


class BitFit(Method):
    """Learns a change of every bias (or of two kinds of them); layers without a bias are given one."""

    name: Literal["bitfit"] = "bitfit"
    biases: Which = knob("all", title="Which biases", words={"query+intermediate": "Query and intermediate"}, help=(
        "All, those of the attention queries, those of the feed-forward layer's wide side, or both of these: the two "
        "kinds carry most of the effect."))
    control: Control = knob("none", advanced=True, title="Control", shown_if={"biases": "all"}, help=(
        "For comparison: train as many numbers as there are biases, drawn at random: one by one from the whole model, "
        "or as whole rows and columns of the linear layers' matrices. The paper found both 3 to 4 points worse."))
    seed: int = knob(0, ge=0, advanced=True, title="Seed of the control", shown_if={"biases": "all"},
                     help="Another seed draws other weights.")

    card: ClassVar[Card] = Card(
        title="BitFit", family="selective", order=50,
        summary="Trains only the biases: a thousandth of the weights, nothing added, merged without a trace.",
        paper="Ben Zaken et al., 2022", url="https://arxiv.org/abs/2106.10199",
        use_when="Small to medium data, and many tasks that should share one model.",
        avoid_when="Much data, where full fine-tuning and LoRA pull ahead; decoders without biases must be given some.",
        settings="All biases, a learning rate of 1e-4 to 1e-2, more epochs than full fine-tuning.",
        formula="y = W·x + b + Δb, only Δb is trained", mergeable=True)

    @model_validator(mode="after")
    def _control_of_all(self) -> BitFit:
        if self.control != "none" and self.biases != "all":
            raise ValueError("a control is drawn in the number of all biases: set biases to all")
        return self

    def chosen(self, shape: ModelShape) -> list[Module]:
        """Return the modules whose bias changes; a control trains as many numbers as these have."""
        found = _own.everywhere(shape)
        return found if self.biases == "all" else [m for m in found if m.role in ROLES[self.biases]]

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return d_out for each module, of a joint query, key and value the query's; a control stores places too."""
        chosen = self.chosen(shape)
        if self.control == "none":
            counts = {m.name: self._width(m, shape) for m in chosen}
            return [Piece(m.name, m.kind, m.role, m.layer, counts[m.name], counts[m.name]) for m in chosen]
        pool = self._pool(shape)
        drawn = _places.counts(pool, sum(m.d_out for m in chosen), self.control, self.seed)
        return [Piece(m.name, m.kind, m.role, m.layer, drawn[m.name], 2 * drawn[m.name]) for m in pool
                if m.name in drawn]

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why there is no bias to change, or no weight to draw."""
        chosen = self.chosen(shape)
        reasons = [] if chosen else ["No layer of this model was recognised as one that carries these biases."]
        if self.control != "none" and quantization:
            reasons.append("The control trains single weights, which a base in 4 or 8 bits does not allow.")
        if any(m.role == "qkv" for m in chosen) and self.biases != "all" and not query_ranges(chosen, shape):
            reasons.append(f"Models of type {shape.model_type} keep query, key and value in one matrix, and it is not "
                           "known which part of it is the query's.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return twenty times the rate of full fine-tuning; the paper searched 1e-4 to 1e-2."""
        return float(f"{min(20 * full_learning_rate(shape), 5e-3):.1e}")

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with a change of bias at exactly the chosen modules."""
        from engine.tuners.bitfit import BitFitConfig

        chosen = self.chosen(shape)
        if self.control != "none":
            return self._attach_control(model, shape, heads)
        settings: dict[str, Any] = {}
        fused = [m.name for m in chosen if m.role == "qkv" and self.biases != "all"]
        if fused:
            settings = {"fused": fused, "query": query_ranges(chosen, shape)}
        return _own.attach(model, BitFitConfig, chosen, heads, **settings)

    def _pool(self, shape: ModelShape) -> list[Module]:
        """Return what a control draws from: all layers and the table of tokens, or for rows the linear layers.

        A table that is the output layer too is left out: a change of it would be one in two places.
        """
        found = self.chosen(shape)
        if self.control == "random_rows":
            return [m for m in found if m.kind == "linear"]
        tables = [] if shape.tied_embeddings else _own.token_tables(shape)
        return [*tables, *(m for m in found if m.parameters and not m.tied)]

    def _attach_control(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        import torch

        from engine.skeleton import names_in
        from engine.tuners.sparse import SparseConfig, SparseLayer

        pool, wanted = self._pool(shape), sum(m.d_out for m in self.chosen(shape))
        drawn = _places.places(pool, wanted, self.control, self.seed)  # type: ignore[arg-type]
        full = names_in(model, drawn)
        wrapped = _own.attach(model, SparseConfig, [m for m in pool if m.name in drawn], heads)
        for name, index in drawn.items():
            layer = cast("SparseLayer", model.get_submodule(full[name]))
            layer.put("default", torch.from_numpy(index).to(layer.weight.device))
        return wrapped

    def _width(self, module: Module, shape: ModelShape) -> int:
        if module.role != "qkv" or self.biases == "all":
            return module.d_out
        return sum(stop - start for start, stop in query_ranges([module], shape))


def query_ranges(modules: Sequence[Module], shape: ModelShape) -> list[list[int]]:
    """Return which outputs of a joint query, key and value matrix are the query's, as [start, stop); empty if unknown.

    The matrices of all blocks must be alike. With fewer key heads than query heads, a group of queries shares one.
    """
    widths = {m.d_out for m in modules if m.role == "qkv"}
    size, heads = shape.head_dim, shape.heads
    if len(widths) != 1 or not size or not heads:
        return []
    pairs, rest = divmod(next(iter(widths)) // size - heads, 2)
    if rest or pairs < 1 or heads % pairs or next(iter(widths)) % size:
        return []
    if shape.model_type in BLOCKED:
        return [[0, heads * size]]
    if shape.model_type in BY_HEAD:
        group = heads // pairs
        return [[start, start + group * size] for start in range(0, (heads + 2 * pairs) * size, (group + 2) * size)]
    return []
