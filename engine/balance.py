"""How much each label counts in training: alike, rare ones more, or as somebody says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np


def named(text: str) -> dict[str, float]:
    """Return weights written as "spam=3, ham=1"; raises ValueError. A label may hold "=": the last one counts."""
    made: dict[str, float] = {}
    for part in text.split(","):
        label, _, weight = (piece.strip() for piece in part.rpartition("="))
        try:
            made[label] = float(weight)
        except ValueError:
            label = ""
        if not label:
            raise ValueError(f"'{part.strip()}' is no label with its weight, such as spam=3")
    return made


def row_weights(targets: Sequence[Any], labels: Sequence[str],
                weights: Literal["balanced"] | Mapping[str, float]) -> list[Any]:
    """Return the weight of each row, or of each label in each row where rows have several, for these targets.

    Targets are class numbers (rows), -100 when unknown, or 0 and 1 of each label (rows, labels). Balanced weights are
    those of scikit-learn: rows / (classes · rows of the class), so that their mean is 1; of several labels each is a
    class of two. Labels that `weights` leaves out count 1.
    """
    found = np.asarray(targets)
    if found.ndim == 2:
        return _of_labels(found, labels, weights).tolist()
    known = found >= 0
    if weights == "balanced":
        counts = np.bincount(found[known], minlength=len(labels))
        each = known.sum() / (max(1, int((counts > 0).sum())) * np.maximum(counts, 1))
    else:
        each = _given(labels, weights)
    return np.where(known, each[np.where(known, found, 0)], 0.0).tolist()


def _of_labels(found: np.ndarray, labels: Sequence[str],
               weights: Literal["balanced"] | Mapping[str, float]) -> np.ndarray:
    if weights == "balanced":
        rows, there = len(found), found.sum(0)
        present, absent = rows / (2 * np.maximum(there, 1)), rows / (2 * np.maximum(rows - there, 1))
        return np.where(found > 0, present, absent)
    return np.broadcast_to(_given(labels, weights), found.shape)


def _given(labels: Sequence[str], weights: Any) -> np.ndarray:
    return np.asarray([float(weights.get(label, 1.0)) for label in labels])
