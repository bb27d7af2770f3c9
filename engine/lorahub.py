"""LoraHub (Huang et al., 2023): finds the weights of a combination on a few examples, by trying, without gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.arithmetic import Update, hub, weighted
from engine.cma import Search
from engine.recipe import Recipe, finite

if TYPE_CHECKING:
    import torch

#: First steps around the start, in weights; the paper's bounds are ±1.5.
SPREAD = 0.5


@dataclass
class Try:
    """One set of weights: `loss` on the examples and `objective`, the loss with the penalty; None where not finite."""

    number: int
    weights: list[float]
    loss: float | None
    objective: float | None


@dataclass
class Found:
    """What a search ended with: the best set of weights, and every one tried, in order."""

    best: Try
    tries: list[Try] = field(default_factory=list[Try])


def search(loss: Callable[[list[float]], float], count: int, recipe: Recipe,
           on_try: Callable[[Try, Try], None] = lambda tried, best: None) -> Found:
    """Return the weights of `count` adapters, within ±bound, with the least loss + penalty · Σ|wᵢ|.

    Tried first: no adapter at all (where the paper starts), each alone, and their mean; CMA-ES goes on from the best of
    these, so the result's loss with penalty is never above theirs. `on_try` is told each try and the best so far; what
    it raises ends the search.
    """
    found = Found(Try(0, [0.0] * count, None, None))

    def attempt(weights: list[float]) -> float:
        value = float(loss(weights))
        objective = value + recipe.penalty * sum(map(abs, weights))
        tried = Try(len(found.tries) + 1, weights, finite(value), finite(objective))
        found.tries.append(tried)
        if tried.objective is not None and (found.best.objective is None or tried.objective < found.best.objective):
            found.best = tried
        on_try(tried, found.best)
        return objective if math.isfinite(objective) else math.inf

    alone = [[float(i == j) for j in range(count)] for i in range(count)]
    first = [[0.0] * count, [1.0 / count] * count, *alone]
    # Each starting point lies within the box, however small that is.
    limit = min(1.0, recipe.bound)
    for weights in first[:recipe.evaluations]:
        attempt([weight * limit for weight in weights])
    cma = Search(found.best.weights, min(SPREAD, recipe.bound / 3), recipe.bound, recipe.seed)
    while len(found.tries) < recipe.evaluations:
        points = cma.ask()[:recipe.evaluations - len(found.tries)]
        losses = [attempt([round(float(value), 6) for value in point]) for point in points]
        # The last generation may be cut short: nothing is asked after it.
        if len(points) == cma.size:
            cma.tell(points, losses)
    return found


class Hub:
    """A peft model whose one LoRA adapter is set to (Σ wᵢBᵢ)(Σ wᵢAᵢ) for any weights, in place.

    Its configuration must scale every layer by 1.
    """

    def __init__(self, model: Any, layers: Mapping[str, Sequence[tuple[int, Update]]],
                 heads: Mapping[str, Sequence[torch.Tensor]], name: str = "default") -> None:
        """`layers` maps a module's name in the base model to (index of the adapter, its update).

        `heads` maps the saved name of a tensor to what each adapter has there; it is set to their weighted sum.
        """
        inner = model.get_base_model()
        wrapped = {key.replace(f".modules_to_save.{name}", ""): value for key, value in model.named_parameters()
                   if f".modules_to_save.{name}." in key}
        self._heads = [(wrapped[key], values) for key, values in heads.items()]
        self._layers = [(self._factors(inner.get_submodule(module), name), updates)
                        for module, updates in layers.items()]

    def set(self, weights: Sequence[float]) -> None:
        """Give the adapter these weights."""
        for (down, up), updates in self._layers:
            mixed = hub([update for _, update in updates], [weights[i] for i, _ in updates])
            down.data.copy_(mixed.down)
            up.data.copy_(mixed.up)
        for head, values in self._heads:
            head.data.copy_(weighted(values, weights))

    @staticmethod
    def _factors(layer: Any, name: str) -> tuple[Any, Any]:
        if name in layer.lora_A:
            return layer.lora_A[name].weight, layer.lora_B[name].weight
        return layer.lora_embedding_A[name], layer.lora_embedding_B[name]
