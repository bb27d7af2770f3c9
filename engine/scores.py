"""Scores of classes and numbers as scikit-learn and scipy define them, for rows that count several times or not at all.

`weights` says how often each row counts, (rows,); a bootstrap sample is a set of weights, a slice is weights of 0 and
1. What does not depend on the weights is worked out once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: Scores of rows by how often each of them counts.
Gauge = Callable[[Floats], dict[str, float]]

#: Bins of equal width that confidence is compared with accuracy in (Guo et al., 2017).
BINS = 15


def share(hits: Floats, weights: Floats) -> float:
    """Return the weighted mean of `hits`; not a number without weight."""
    total = float(weights.sum())
    return float(hits @ weights) / total if total else math.nan


class Ranks:
    """Mean ranks of values among others, ties sharing theirs; sorted once, (values,)."""

    def __init__(self, values: Floats) -> None:
        kinds, places = np.unique(values, return_inverse=True)
        self._kinds, self._places = len(kinds), places.reshape(-1)

    def of(self, weights: Floats) -> Floats:
        """Return each value's rank, from 1, where it occurs as often as its weight says."""
        counts = np.bincount(self._places, weights, self._kinds)
        return (np.cumsum(counts) - (counts - 1) / 2)[self._places]


class Auc:
    """The area under the ROC curve: how often a row of the class gets a higher score than one that is not of it."""

    def __init__(self, scores: Floats, of_the_class: NDArray[np.bool_]) -> None:
        self._ranks, self._inside = Ranks(scores), of_the_class.astype(np.float64)

    def of(self, weights: Floats) -> float:
        """Return the area; not a number where all rows are alike."""
        inside = float(self._inside @ weights)
        outside = float(weights.sum()) - inside
        if not inside or not outside:
            return math.nan
        ranks = float((self._ranks.of(weights) * self._inside) @ weights)
        return (ranks - inside * (inside + 1) / 2) / (inside * outside)


class Calibration:
    """The expected calibration error: by how much confidence differs from the share that was right, bin by bin."""

    def __init__(self, confidence: Floats, right: Floats) -> None:
        """`confidence` is 0 to 1, `right` 0 or 1; both (rows,)."""
        self.bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self._gap, self._confidence, self._right = confidence - right, confidence, right

    def of(self, weights: Floats) -> float:
        """Return the error."""
        total = float(weights.sum())
        return float(np.abs(np.bincount(self.bins, self._gap * weights, BINS)).sum()) / total if total else math.nan

    def chart(self) -> dict[str, Any]:
        """Return the bins that hold rows: their mean confidence, the share that was right and the number of rows."""
        rows = np.bincount(self.bins, minlength=BINS)
        sums = [np.bincount(self.bins, values, BINS) for values in (self._confidence, self._right)]
        return {"bins": [{"predicted": round(float(sums[0][i] / rows[i]), 4),
                          "observed": round(float(sums[1][i] / rows[i]), 4), "rows": int(rows[i])}
                         for i in range(BINS) if rows[i]]}


def confusion(expected: Integers, predicted: Integers, size: int, weights: Floats | None = None) -> Floats:
    """Return how often class `i` was taken for class `j`, (size, size)."""
    return np.bincount(expected * size + predicted, weights, size * size).reshape(size, size).astype(np.float64)


def agreement(counts: Floats) -> dict[str, float]:
    """Return accuracy, macro and micro F1 and Matthews' correlation of a confusion matrix.

    Macro F1 is the mean over the classes that occur, as in scikit-learn.
    """
    total, right = float(counts.sum()), np.diag(counts)
    wanted, given = counts.sum(1), counts.sum(0)
    both = wanted + given
    met = both > 0
    if not total:
        return dict.fromkeys(("accuracy", "f1", "f1_micro", "matthews_correlation"), math.nan)
    spread = math.sqrt(max(0.0, (total ** 2 - float(given @ given)) * (total ** 2 - float(wanted @ wanted))))
    found = float(right.sum())
    return {"accuracy": found / total, "f1": float((2 * right[met] / both[met]).mean()), "f1_micro": found / total,
            "matthews_correlation": (found * total - float(given @ wanted)) / spread if spread else 0.0}


def one_label(expected: Integers, predicted: Integers, probabilities: Floats | None, confidence: Floats) -> Gauge:
    """Return the gauge of one class a row; -1 is an expected class that the model does not know.

    `probabilities` (rows, classes), or None where they were not kept, `confidence` that of the class predicted.
    ROC-AUC is that of the second of two classes, else the mean over the classes that occur, each against the rest.
    """
    size = int(max(expected.max(initial=0), predicted.max(initial=0))) + 2
    known, inside = expected >= 0, np.where(expected < 0, size - 1, expected)
    calibration = Calibration(confidence, (expected == predicted).astype(np.float64))
    curves: list[Auc] = []
    if probabilities is not None:
        classes = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
        curves = [Auc(probabilities[known, i], expected[known] == i) for i in classes]

    def gauge(weights: Floats) -> dict[str, float]:
        counts = confusion(inside, predicted, size, weights)
        found = agreement(counts)
        if int((counts.sum(1) > 0).sum()) < 2:
            # Rows of a single class: what else is there says nothing.
            found = {"accuracy": found["accuracy"]}
        else:
            found |= _mean_area(curves, weights[known])
        return found | {"ece": calibration.of(weights)}

    return gauge


def _mean_area(curves: Sequence[Auc], weights: Floats) -> dict[str, float]:
    areas = [area for curve in curves if not math.isnan(area := curve.of(weights))]
    return {"roc_auc": sum(areas) / len(areas)} if areas else {}


def several_labels(expected: Floats, predicted: Floats, probabilities: Floats | None) -> Gauge:
    """Return the gauge of any number of labels a row; all arrays (rows, labels), of 0 and 1 or of probabilities.

    Accuracy is the share of rows with exactly the right labels; macro F1 and ROC-AUC are means over the labels that
    occur.
    """
    exact = (expected == predicted).all(1).astype(np.float64)
    right, curves, labels = expected * predicted, list[Auc](), expected.shape[1]
    calibration = None
    if probabilities is not None:
        curves = [Auc(probabilities[:, i], expected[:, i] > 0) for i in range(labels)]
        calibration = Calibration(probabilities.reshape(-1), expected.reshape(-1))

    def gauge(weights: Floats) -> dict[str, float]:
        hits, both = weights @ right, weights @ expected + weights @ predicted
        met = both > 0
        found = {"accuracy": share(exact, weights),
                 "f1": float((2 * hits[met] / both[met]).mean()) if met.any() else 0.0,
                 "f1_micro": float(2 * hits.sum() / both.sum()) if both.sum() else 0.0}
        found |= _mean_area(curves, weights)
        return found | ({"ece": calibration.of(np.repeat(weights, labels))} if calibration else {})

    return gauge


def numbers(expected: Floats, predicted: Floats) -> Gauge:
    """Return the gauge of numbers: mean squared and absolute error, Pearson's and Spearman's correlation."""
    difference = expected - predicted
    squares, sizes = difference ** 2, np.abs(difference)
    first, second = Ranks(expected), Ranks(predicted)

    def gauge(weights: Floats) -> dict[str, float]:
        return {"mse": share(squares, weights), "mae": share(sizes, weights),
                "pearson": correlation(expected, predicted, weights),
                "spearman": correlation(first.of(weights), second.of(weights), weights)}

    return gauge


def correlation(first: Floats, second: Floats, weights: Floats) -> float:
    """Return Pearson's correlation; not a number where one side is constant."""
    a, b = first - share(first, weights), second - share(second, weights)
    spread = math.sqrt(float((a * a) @ weights) * float((b * b) @ weights))
    return max(-1.0, min(1.0, float((a * b) @ weights) / spread)) if spread > 1e-12 else math.nan


def best_threshold(probabilities: Floats, expected: Floats) -> float:
    """Return the probability from which on labels are given so that micro F1 is highest; both (rows, labels).

    It lies in the middle between two probabilities that occur; 0.5 where no label was expected at all.
    """
    flat, wanted = probabilities.reshape(-1), expected.reshape(-1)
    if not wanted.sum():
        return 0.5
    order = np.argsort(-flat, kind="stable")
    sizes = flat[order]
    scores = 2 * np.cumsum(wanted[order]) / (np.arange(1, len(order) + 1) + wanted.sum())
    # Equal probabilities are all above the threshold, or all below it.
    scores[:-1][sizes[:-1] == sizes[1:]] = -1.0
    best = int(scores.argmax())
    below = float(sizes[best + 1]) if best + 1 < len(sizes) else 0.0
    return min(max((float(sizes[best]) + below) / 2, 1e-6), 1 - 1e-6)


def codes(values: Sequence[Any], kinds: Mapping[Any, int]) -> Integers:
    """Return the number of each value, -1 for those that have none."""
    return np.asarray([kinds.get(value, -1) for value in values], dtype=np.int64)


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that are numbers."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
