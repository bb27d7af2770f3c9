"""Metrics in words: their names, and their values with intervals."""

from __future__ import annotations

from engine.evaluation.report import Measured
from studio.text import metric

#: Metrics whose names say too little.
TITLES = {"f1": "F1", "f1_micro": "Micro F1", "matthews_correlation": "Matthews' correlation", "roc_auc": "ROC-AUC",
          "ece": "Calibration error (ECE)", "mse": "Mean squared error", "mae": "Mean absolute error",
          "pearson": "Pearson's r", "spearman": "Spearman's ρ", "bleu": "BLEU", "rougeL": "ROUGE-L",
          "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "chrf": "chrF", "masked_loss": "Loss of hidden words"}


def title(name: str) -> str:
    """Return a metric's name for people."""
    plain = name.replace("_", " ")
    return TITLES.get(name, plain[:1].upper() + plain[1:])


def measured(one: Measured | None) -> str:
    """Return a metric with its interval: 0.94 [0.92, 0.96]."""
    if one is None or one.value is None:
        return "–"
    return f"{metric(one.value)} {interval(one.low, one.high)}".strip()


def interval(low: float | None, high: float | None) -> str:
    """Return an interval as [0.92, 0.96], "" when it is not known."""
    return f"[{low:.3g}, {high:.3g}]" if low is not None and high is not None else ""
