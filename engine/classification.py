"""What an evaluation of classes, of several labels or of numbers comes to: metrics, records and what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine import scores
from engine.scores import Floats, Gauge, Integers
from engine.tasks.terms import Outputs

Problem = Literal["single_label", "multi_label", "regression"]
Record = Mapping[str, Any]

#: Classes up to which a record holds the probability of each, and curves are drawn.
SHOWN, CURVES = 20, 10
#: Points of a curve, and of a cloud of points.
POINTS, CLOUD = 100, 500
#: Classes up to which a confusion matrix is kept.
LARGEST = 200
#: Characters of an input that a record keeps.
INPUT = 2000


def one_label(logits: Floats, targets: Integers, losses: Floats, inputs: Sequence[str], expected: Sequence[str | None],
              labels: Sequence[str]) -> Outputs:
    """Return what is known of one class a row: `logits` (rows, classes), `targets` class numbers, below 0 if unknown.

    The loss is the mean over the rows whose class is known.
    """
    chances = np.nan_to_num(softmax(logits))
    best = chances.argmax(1)
    confidence, known = chances.max(1, initial=0.0), targets >= 0
    targets = np.where(known, targets, -1)
    keep = len(labels) <= SHOWN
    records = [{"row": i, "input": text[:INPUT], "loss": round(float(losses[i]), 6), "expected": expected[i],
                "predicted": labels[best[i]], "confidence": round(float(confidence[i]), 6),
                "correct": bool(best[i] == targets[i])}
               | ({"scores": _named(labels, chances[i])} if keep else {}) for i, text in enumerate(inputs)]
    every = np.ones(len(records))
    counts = scores.confusion(np.where(known, targets, len(labels)), best, len(labels) + 1)
    metrics = scores.agreement(counts) | scores.one_label(targets, best, chances, confidence)(every)
    metrics["loss"] = scores.share(losses, known.astype(np.float64))
    charts: dict[str, Any] = {"calibration": scores.Calibration(confidence, (best == targets) * 1.0).chart()}
    if len(labels) <= LARGEST:
        charts["confusion"] = {"labels": list(labels), "counts": counts[:-1, :-1].astype(int).tolist()}
    charts["curves"] = curves(chances[known], np.eye(len(labels))[targets[known]], labels)
    return Outputs(metrics=metrics, examples=_worst_first(records), charts=charts)


def among_best(logits: Floats, targets: Integers, most: int) -> NDArray[np.bool_]:
    """Return for each row of `logits` (rows, classes) whether its class is among the `most` likely ones."""
    best = np.argsort(-np.nan_to_num(logits), axis=1, kind="stable")[:, :most]
    return (best == targets[:, None]).any(1)


def several_labels(logits: Floats, targets: Floats, losses: Floats, inputs: Sequence[str], labels: Sequence[str],
                   threshold: float | None) -> Outputs:
    """Return what is known of any number of labels a row: `logits` and `targets` (rows, labels).

    Without a `threshold` the one with the best micro F1 on these rows is found, and settled.
    """
    chances = np.nan_to_num(1 / (1 + np.exp(-logits)))
    chosen = threshold if threshold is not None else round(scores.best_threshold(chances, targets), 6)
    given = (chances >= chosen).astype(np.float64)
    keep = len(labels) <= SHOWN
    records = [{"row": i, "input": text[:INPUT], "loss": round(float(losses[i]), 6),
                "expected": _chosen(labels, targets[i]), "predicted": _chosen(labels, given[i]),
                "correct": bool((given[i] == targets[i]).all())}
               | ({"scores": _named(labels, chances[i])} if keep else {}) for i, text in enumerate(inputs)]
    every = np.ones(len(records))
    metrics = scores.several_labels(targets, given, chances)(every)
    metrics |= {"threshold": chosen, "loss": scores.share(losses, every)}
    calibration = scores.Calibration(chances.reshape(-1), targets.reshape(-1)).chart()
    charts = {"curves": curves(chances, targets, labels), "calibration": calibration,
              "by_label": by_label(targets, given, labels)}
    return Outputs(metrics=metrics, examples=_worst_first(records), charts=charts, settled={"threshold": chosen})


def numbers(predicted: Floats, targets: Floats, losses: Floats, inputs: Sequence[str]) -> Outputs:
    """Return what is known of a number a row; all arrays (rows,)."""
    records = [{"row": i, "input": text[:INPUT], "loss": round(float(losses[i]), 6), "expected": float(targets[i]),
                "predicted": round(float(predicted[i]), 6), "correct": None} for i, text in enumerate(inputs)]
    every = np.ones(len(records))
    metrics = scores.numbers(targets, predicted)(every) | {"loss": scores.share(losses, every)}
    some = np.linspace(0, len(records) - 1, min(CLOUD, len(records))).round().astype(int)
    cloud = {"x_title": "expected", "y_title": "predicted", "x": [round(float(targets[i]), 4) for i in some],
             "y": [round(float(predicted[i]), 4) for i in some]}
    return Outputs(metrics=metrics, examples=_worst_first(records), charts={"scatter": cloud})


def gauge(records: Sequence[Record], problem: Problem) -> Gauge:
    """Return the function from how often each record counts to the metrics; those without a number are left out."""
    losses = np.asarray([record["loss"] for record in records], dtype=np.float64)
    counted = np.ones(len(records))
    if problem == "regression":
        inner = scores.numbers(*(np.asarray([r[name] for r in records], dtype=np.float64)
                                 for name in ("expected", "predicted")))
    elif problem == "multi_label":
        names = sorted({label for r in records for label in (*r["expected"], *r["predicted"], *r.get("scores", ()))})
        expected, predicted = (_table(names, [r[name] for r in records]) for name in ("expected", "predicted"))
        inner = scores.several_labels(expected, predicted, _chances(records, names))
    else:
        names = sorted({*(r["predicted"] for r in records), *(n for r in records for n in r.get("scores", ()))})
        places = {name: i for i, name in enumerate(names)}
        # A class that is never predicted is known all the same: its rows have a loss.
        strange = sorted({str(r["expected"]) for r in records if r["expected"] not in places and r["loss"] > 0})
        places |= {name: len(names) + i for i, name in enumerate(strange)}
        classes = scores.codes([r["expected"] for r in records], places)
        counted = (classes >= 0).astype(np.float64)
        inner = scores.one_label(classes, scores.codes([r["predicted"] for r in records], places),
                                 _chances(records, names),
                                 np.asarray([r["confidence"] for r in records], dtype=np.float64))

    def measured(weights: Floats) -> dict[str, float]:
        return scores.finite(inner(weights) | {"loss": scores.share(losses, weights * counted)})

    return measured


def softmax(logits: Floats) -> Floats:
    """Return probabilities, (rows, classes)."""
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def curves(chances: Floats, targets: Floats, labels: Sequence[str]) -> dict[str, Any]:
    """Return precision over recall for the classes with most rows, few points each; both arrays (rows, classes).

    Of two classes that exclude each other, both are drawn. The area is the average precision.
    """
    import sklearn.metrics

    library: Any = sklearn.metrics
    rows = targets.sum(0)
    drawn = [i for i in np.argsort(-rows, kind="stable")[:CURVES] if rows[i]]
    series = []
    for i in sorted(drawn):
        precision, recall, _ = library.precision_recall_curve(targets[:, i], chances[:, i])
        some = np.unique(np.linspace(0, len(recall) - 1, min(POINTS, len(recall))).round().astype(int))[::-1]
        series.append({"name": labels[i], "x": [round(float(recall[k]), 4) for k in some],
                       "y": [round(float(precision[k]), 4) for k in some],
                       "area": round(float(library.average_precision_score(targets[:, i], chances[:, i])), 4)})
    return {"x_title": "recall", "y_title": "precision", "series": series,
            "left_out": int((rows > 0).sum()) - len(series)}


def by_label(targets: Floats, given: Floats, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and `support`, the number of rows, of each label; both arrays (rows, labels)."""
    hits, wanted, said = (targets * given).sum(0), targets.sum(0), given.sum(0)
    return {label: {"precision": float(hits[i] / said[i]) if said[i] else 0.0,
                    "recall": float(hits[i] / wanted[i]) if wanted[i] else 0.0,
                    "f1": float(2 * hits[i] / (wanted[i] + said[i])) if wanted[i] + said[i] else 0.0,
                    "support": int(wanted[i])} for i, label in enumerate(labels)}


def _named(labels: Sequence[str], chances: Floats) -> dict[str, float]:
    return {label: round(float(chance), 6) for label, chance in zip(labels, chances, strict=True)}


def _chosen(labels: Sequence[str], values: Floats) -> list[str]:
    return [label for label, value in zip(labels, values, strict=True) if value > 0]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Floats:
    """Return where each name is among a row's, (rows, names), as 0 and 1."""
    places = {name: i for i, name in enumerate(names)}
    found: NDArray[np.float64] = np.zeros((len(rows), len(names)))
    for i, row in enumerate(rows):
        found[i, [places[name] for name in row]] = 1.0
    return found


def _chances(records: Sequence[Record], names: Sequence[str]) -> Floats | None:
    """Return the probabilities that the records hold, (records, names), or None."""
    if not records or any(set(record.get("scores", ())) != set(names) for record in records):
        return None
    return np.asarray([[record["scores"][name] for name in names] for record in records], dtype=np.float64)


def _worst_first(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: -record["loss"])
