"""CMA-ES finds the minimum of a function of a few numbers without gradients (Hansen, The CMA Evolution Strategy, 2016).

Small on purpose: up to some tens of variables within a box, a few hundred evaluations, the same answer for the same
seed. LoraHub's authors take the same algorithm from a library of optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Search:
    """Proposes points around a mean whose spread follows what was found good; `ask` and `tell` in turn."""

    def __init__(self, start: Sequence[float], spread: float, bound: float, seed: int) -> None:
        """Begin at `start` with steps of `spread`; every point stays within ±`bound`."""
        self.mean: Vector = np.asarray(start, dtype=np.float64)
        self.spread, self.bound = spread, bound
        n = len(self.mean)
        self._random = np.random.default_rng(seed)
        self.size = 4 + int(3 * math.log(n)) if n > 1 else 4
        self._kept = self.size // 2
        raw = math.log(self._kept + 0.5) - np.log(np.arange(1, self._kept + 1))
        self._shares: Vector = raw / raw.sum()
        weight = 1 / float((self._shares**2).sum())
        self._weight = weight
        self._path_rate = (weight + 2) / (n + weight + 5)
        self._damping = 1 + 2 * max(0.0, math.sqrt((weight - 1) / (n + 1)) - 1) + self._path_rate
        self._shape_rate = (4 + weight / n) / (n + 4 + 2 * weight / n)
        self._one = 2 / ((n + 1.3) ** 2 + weight)
        self._many = min(1 - self._one, 2 * (weight - 2 + 1 / weight) / ((n + 2) ** 2 + weight))
        self._expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        self._spread_path: Vector = np.zeros(n)
        self._shape_path: Vector = np.zeros(n)
        self._covariance: Vector = np.eye(n)
        self._generation = 0

    def ask(self) -> list[Vector]:
        """Return the next points to evaluate, moved onto the box where they fell outside."""
        values, axes = self._axes()
        draws = self._random.standard_normal((self.size, len(self.mean)))
        points = self.mean + self.spread * (draws * np.sqrt(values)) @ axes.T
        return [np.clip(point, -self.bound, self.bound) for point in points]

    def tell(self, points: Sequence[Vector], losses: Sequence[float]) -> None:
        """Learn from the points' losses; infinite ones count as worst."""
        order = np.argsort(np.asarray(losses), kind="stable")[:self._kept]
        steps = np.stack([(points[i] - self.mean) / self.spread for i in order])
        step: Vector = self._shares @ steps
        self.mean = self.mean + self.spread * step
        self._generation += 1
        values, axes = self._axes()
        whitened = axes @ ((axes.T @ step) / np.sqrt(values))
        rate = self._path_rate
        self._spread_path = (1 - rate) * self._spread_path + math.sqrt(rate * (2 - rate) * self._weight) * whitened
        length = float(np.linalg.norm(self._spread_path))
        settled = length / math.sqrt(1 - (1 - rate) ** (2 * self._generation)) < (
            1.4 + 2 / (len(self.mean) + 1)) * self._expected
        rate = self._shape_rate
        self._shape_path = (1 - rate) * self._shape_path + settled * math.sqrt(rate * (2 - rate) * self._weight) * step
        lost = (1 - settled) * rate * (2 - rate)
        self._covariance = ((1 - self._one - self._many + self._one * lost) * self._covariance
                            + self._one * np.outer(self._shape_path, self._shape_path)
                            + self._many * (steps.T * self._shares) @ steps)
        self.spread = min(self.bound, self.spread * math.exp(
            (self._path_rate / self._damping) * (length / self._expected - 1)))

    def _axes(self) -> tuple[Vector, Vector]:
        """Return the variances along the main axes, and the axes as columns."""
        symmetric = (self._covariance + self._covariance.T) / 2
        values, axes = np.linalg.eigh(symmetric)
        return np.maximum(values, 1e-20), axes
