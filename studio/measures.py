"""Metrics in words: their names, and their values with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.evaluation.report import Measured
from studio.text import metric

#: Metrics whose names say too little.
TITLES = {"f1": "F1", "f1_micro": "Micro F1", "matthews_correlation": "Matthews' correlation", "roc_auc": "ROC-AUC",
          "ece": "Calibration error (ECE)", "mse": "Mean squared error", "mae": "Mean absolute error",
          "pearson": "Pearson's r", "spearman": "Spearman's ρ", "bleu": "BLEU", "rougeL": "ROUGE-L",
          "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "chrf": "chrF", "masked_loss": "Loss of hidden words"}


#: Metrics with a scale of their own, which three decimals would not suit.
SCALED = ("loss", "perplexity", "mse", "mae", "bleu", "chrf", "masked_loss", "threshold", "forgetting")


def title(name: str) -> str:
    """Return a metric's name for people."""
    plain = name.replace("_", " ")
    return TITLES.get(name, plain[:1].upper() + plain[1:])


def score(name: str, value: float | None) -> str:
    """Return a metric's value: a share or correlation with three decimals (1.000), others with four digits."""
    shares = value is not None and name not in SCALED and abs(value) <= 1
    return f"{value:.3f}" if shares else metric(value)


def axis(names: Sequence[str], values: Iterable[float | None]) -> dict[str, Any]:
    """Return what keeps an axis of metrics to what they can be: a share within 0 and 1, a loss from 0 on."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=-1), max(known, default=-1)
    if low < 0:
        return {}
    if high > 1 or any(name in SCALED for name in names):
        return {"rangemode": "nonnegative"}
    room = 0.15 * (high - low) or 0.1
    # A mark at 1 is not cut in half by the edge.
    return {"range": [max(0.0, low - room), min(1.02, high + room)]}


def scored(name: str, value: float | None) -> str:
    """Return a metric with its name, "Accuracy 0.940"; a dash where it is not known."""
    return "–" if value is None or not name else f"{title(name)} {score(name, value)}"


def measured(name: str, one: Measured | None) -> str:
    """Return a metric with its interval: 0.940 [0.920, 0.960]."""
    if one is None or one.value is None:
        return "–"
    return f"{score(name, one.value)} {interval(name, one.low, one.high)}".strip()


def interval(name: str, low: float | None, high: float | None) -> str:
    """Return a metric's interval as [0.920, 0.960], "" when it is not known."""
    if low is None or high is None:
        return ""
    if name not in SCALED and abs(high) <= 1:
        return f"[{low:.3f}, {high:.3f}]"
    # Commas within the numbers leave none to stand between them.
    return f"[{metric(low)} – {metric(high)}]" if max(abs(low), abs(high)) >= 1000 else f"[{low:.3g}, {high:.3g}]"
