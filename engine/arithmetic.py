"""The arithmetic of combining low-rank updates: peft's own formulas on the factors, layer by layer, in fp32.

peft's `add_weighted_adapter` itself refuses adapters that carry a task head, counts a rank-stabilised scale twice and
overflows where a rank pattern exceeds r; its formulas (peft.utils.merge_utils) have none of these limits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft.utils import merge_utils

from engine.recipe import Recipe


@dataclass
class Update:
    """One adapter's update of one layer: scale · up · down.

    `down` (rank, inputs...) and `up` (outputs, rank, ...) may have the further dimensions of a convolution.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float = 1.0

    @property
    def rank(self) -> int:
        """The number of directions."""
        return self.down.shape[0]

    def dense(self) -> torch.Tensor:
        """Return the update as one matrix, (outputs, inputs)."""
        return self.scale * (self.up.flatten(1) @ self.down.flatten(1))


def combine(updates: Sequence[Update], weights: Sequence[float], recipe: Recipe, rank: int) -> Update:
    """Return the combination of the updates that a layer has, as factors whose scale is 1.

    `rank` is that of the result where the recipe's way has one. Random ways draw from torch's generator.
    """
    if recipe.how == "cat":
        return side_by_side(updates, weights)
    if recipe.how == "svd":
        return strongest(side_by_side(updates, weights), rank)
    if recipe.how == "ties_svd":
        kept = merge_utils.ties([update.dense() for update in updates], torch.tensor(weights), recipe.density,
                                recipe.majority)
        return cut(kept, rank, like=updates[0])
    if recipe.how == "lorahub":
        return hub(updates, weights)
    return factors_apart(updates, weights, recipe)


def side_by_side(updates: Sequence[Update], weights: Sequence[float]) -> Update:
    """Return Σ wᵢ·sᵢ·Bᵢ·Aᵢ exactly, with the rank Σ rᵢ."""
    downs = [update.down * (weight * update.scale) for update, weight in zip(updates, weights, strict=True)]
    return Update(torch.cat(downs), torch.cat([update.up for update in updates], dim=1))


def strongest(update: Update, rank: int) -> Update:
    """Return the best approximation of an update by one of at most `rank` (Eckart and Young, 1936).

    The singular value decomposition is that of the small core between the factors: no dense matrix is made.
    """
    left, upper = torch.linalg.qr(update.up.flatten(1).double())
    right, lower = torch.linalg.qr(update.down.flatten(1).double().T)
    core = torch.linalg.svd(update.scale * upper @ lower.T, full_matrices=False)
    return _shaped(left @ core.U[:, :rank] * core.S[:rank], core.Vh[:rank] @ right.T, like=update)


def cut(dense: torch.Tensor, rank: int, like: Update) -> Update:
    """Return the best factors of at most `rank` for a dense update (outputs, inputs), shaped like those of `like`."""
    found = torch.linalg.svd(dense.double(), full_matrices=False)
    return _shaped(found.U[:, :rank] * found.S[:rank], found.Vh[:rank], like)


def _shaped(up: torch.Tensor, down: torch.Tensor, like: Update) -> Update:
    """Give factors (outputs, rank) and (rank, inputs) the further dimensions of `like`, in fp32."""
    return Update(down.float().reshape(-1, *like.down.shape[1:]).contiguous(),
                  up.float().reshape(*up.shape, *like.up.shape[2:]).contiguous())


def factors_apart(updates: Sequence[Update], weights: Sequence[float], recipe: Recipe) -> Update:
    """Return the A matrices and the B matrices combined apart, each with the root of its weight and scale, as in peft.

    The sign of a negative weight goes to A alone: on both it would cancel out.
    """
    total = [weight * update.scale for update, weight in zip(updates, weights, strict=True)]
    roots = [math.sqrt(abs(value)) for value in total]
    signed = [root if value >= 0 else -root for root, value in zip(roots, total, strict=True)]
    down = _mixed([update.down for update in updates], signed, recipe)
    return Update(down, _mixed([update.up for update in updates], roots, recipe))


def _mixed(tensors: list[torch.Tensor], weights: Sequence[float], recipe: Recipe) -> torch.Tensor:
    given = torch.tensor(weights)
    if recipe.how == "linear":
        return merge_utils.task_arithmetic(tensors, given)
    if recipe.how == "magnitude_prune":
        return merge_utils.magnitude_prune(tensors, given, recipe.density)
    if recipe.how == "dare_linear":
        return merge_utils.dare_linear(tensors, given, recipe.density)
    if recipe.how == "dare_ties":
        return merge_utils.dare_ties(tensors, given, recipe.density, recipe.majority)
    return merge_utils.ties(tensors, given, recipe.density, recipe.majority)


def hub(updates: Sequence[Update], weights: Sequence[float]) -> Update:
    """Return (Σ wᵢBᵢ)(Σ wᵢAᵢ) (Huang et al., 2023); each update's own scale is shared evenly between its factors."""
    roots = [weight * math.sqrt(abs(update.scale)) for update, weight in zip(updates, weights, strict=True)]
    signs = [math.copysign(1.0, update.scale) for update in updates]
    down = sum(update.down * root for update, root in zip(updates, roots, strict=True))
    up = sum(update.up * (root * sign) for update, root, sign in zip(updates, roots, signs, strict=True))
    return Update(torch.as_tensor(down), torch.as_tensor(up))


def weighted(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Return the weighted sum of equal-shaped tensors, in fp32."""
    return merge_utils.task_arithmetic([tensor.float() for tensor in tensors], torch.tensor(weights))


def mean(tensors: Sequence[torch.Tensor], weights: Sequence[float] | None = None) -> torch.Tensor:
    """Return the mean of equal-shaped tensors, weighted if asked."""
    shares = weights or [1.0] * len(tensors)
    return weighted(tensors, [share / sum(shares) for share in shares])
