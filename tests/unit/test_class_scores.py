"""Scores of classes, several labels and numbers are those of scikit-learn and scipy, also for rows that count twice."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics

from engine import balance, classification, scores

ROWS = 60


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def repeated(weights: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    return [np.repeat(array, weights.astype(int), axis=0) for array in arrays]


@pytest.mark.parametrize("classes", [2, 4])
def test_one_label_is_scored_as_scikit_learn_does(classes: int, random: np.random.Generator) -> None:
    expected = random.integers(0, classes, ROWS)
    chances = classification.softmax(random.normal(size=(ROWS, classes)) + 1.5 * np.eye(classes)[expected])
    predicted, confidence = chances.argmax(1), chances.max(1)
    gauge = scores.one_label(expected, predicted, chances, confidence)
    for weights in (np.ones(ROWS), random.integers(0, 3, ROWS).astype(float)):
        real, said, sure = repeated(weights, expected, predicted, chances)
        found = gauge(weights)
        assert found["accuracy"] == pytest.approx(metrics.accuracy_score(real, said))
        assert found["f1"] == pytest.approx(metrics.f1_score(real, said, average="macro"))
        assert found["f1_micro"] == pytest.approx(metrics.f1_score(real, said, average="micro"))
        assert found["matthews_correlation"] == pytest.approx(metrics.matthews_corrcoef(real, said))
        area = metrics.roc_auc_score(real, sure[:, 1]) if classes == 2 else \
            metrics.roc_auc_score(real, sure, multi_class="ovr", average="macro")
        assert found["roc_auc"] == pytest.approx(area)


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    confidence, right = np.array([0.95, 0.95, 0.65, 0.65]), np.array([1.0, 0.0, 1.0, 1.0])
    calibration = scores.Calibration(confidence, right)
    assert calibration.of(np.ones(4)) == pytest.approx(0.5 * 0.45 + 0.5 * 0.35)
    assert calibration.of(np.array([2.0, 0, 1, 1])) == pytest.approx(0.5 * 0.05 + 0.5 * 0.35)
    assert calibration.chart()["bins"] == [{"predicted": 0.65, "observed": 1.0, "rows": 2},
                                           {"predicted": 0.95, "observed": 0.5, "rows": 2}]


def test_several_labels_are_scored_as_scikit_learn_does(random: np.random.Generator) -> None:
    expected = (random.random((ROWS, 3)) < 0.4).astype(float)
    chances = np.clip(0.3 + 0.4 * expected + random.normal(0, 0.25, (ROWS, 3)), 0.01, 0.99)
    predicted = (chances >= 0.5).astype(float)
    gauge = scores.several_labels(expected, predicted, chances)
    for weights in (np.ones(ROWS), random.integers(0, 3, ROWS).astype(float)):
        real, said, sure = repeated(weights, expected, predicted, chances)
        found = gauge(weights)
        assert found["accuracy"] == pytest.approx(metrics.accuracy_score(real, said))
        assert found["f1"] == pytest.approx(metrics.f1_score(real, said, average="macro"))
        assert found["f1_micro"] == pytest.approx(metrics.f1_score(real, said, average="micro"))
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(real, sure, average="macro"))


def test_numbers_are_scored_as_scipy_does_with_ties(random: np.random.Generator) -> None:
    expected = random.integers(1, 6, ROWS).astype(float)
    predicted = np.round(expected + random.normal(0, 1, ROWS), 1)
    gauge = scores.numbers(expected, predicted)
    for weights in (np.ones(ROWS), random.integers(0, 3, ROWS).astype(float)):
        real, said = repeated(weights, expected, predicted)
        found = gauge(weights)
        assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(real, said).statistic)
        assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(real, said).statistic)
        assert found["mse"] == pytest.approx(metrics.mean_squared_error(real, said))
        assert found["mae"] == pytest.approx(metrics.mean_absolute_error(real, said))


def test_a_constant_prediction_has_no_correlation() -> None:
    found = scores.numbers(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]))(np.ones(3))
    assert math.isnan(found["pearson"]) and math.isnan(found["spearman"]) and found["mae"] == pytest.approx(2 / 3)


def test_the_best_threshold_is_better_than_any_other(random: np.random.Generator) -> None:
    expected = (random.random((ROWS, 3)) < 0.3).astype(float)
    chances = np.round(np.clip(0.2 + 0.2 * expected + random.normal(0, 0.1, (ROWS, 3)), 0.01, 0.99), 2)
    best = scores.best_threshold(chances, expected)

    def f1(threshold: float) -> float:
        return metrics.f1_score(expected, chances >= threshold, average="micro")

    assert best < 0.5 and f1(best) > f1(0.5)
    assert f1(best) == pytest.approx(max(f1(threshold) for threshold in np.unique(chances)))


def test_without_any_label_the_threshold_is_one_half() -> None:
    assert scores.best_threshold(np.full((3, 2), 0.3), np.zeros((3, 2))) == 0.5


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    targets = [0, 0, 0, 1, -100, 2, 2]
    found = balance.row_weights(targets, ["a", "b", "c"], "balanced")
    known = np.array([t for t in targets if t >= 0])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=known)
    assert found == pytest.approx([0.0 if t < 0 else expected[t] for t in targets])


def test_weights_by_name_leave_the_others_alone() -> None:
    assert balance.row_weights([0, 1, 1], ["ham", "spam"], {"spam": 3}) == [1.0, 3.0, 3.0]
    assert balance.row_weights([[1.0, 0.0], [0.0, 1.0]], ["ham", "spam"], {"spam": 3}) == [[1, 3], [1, 3]]


def test_balanced_weights_of_several_labels_weigh_presence_and_absence_alike() -> None:
    targets = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = np.array(balance.row_weights(targets.tolist(), ["rare", "even"], "balanced"))
    assert (found * targets).sum(0) == pytest.approx([2.0, 2.0])
    assert (found * (1 - targets)).sum(0) == pytest.approx([2.0, 2.0])


def test_records_tell_the_same_as_the_whole_evaluation(random: np.random.Generator) -> None:
    labels, texts = ["a", "b", "c"], [f"text {i}" for i in range(ROWS)]
    targets = random.integers(0, 3, ROWS)
    logits, wanted = random.normal(size=(ROWS, 3)) + np.eye(3)[targets], np.eye(3)[targets]
    targets[0] = -100
    names = ["strange" if t < 0 else labels[t] for t in targets]
    losses = np.where(targets < 0, 0.0, random.random(ROWS) + 0.1)
    made = classification.one_label(logits, targets, losses, texts, names, labels)
    again = classification.gauge(made.examples, "single_label")(np.ones(ROWS))
    assert again == pytest.approx(made.metrics, abs=1e-5)
    assert made.examples[0]["loss"] == max(record["loss"] for record in made.examples)
    counts = np.array(made.charts["confusion"]["counts"])
    assert counts.sum() == ROWS - 1
    assert (counts == metrics.confusion_matrix(targets[1:], logits.argmax(1)[1:], labels=[0, 1, 2])).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        several = classification.several_labels(logits, wanted, losses, texts, labels, None)
    again = classification.gauge(several.examples, "multi_label")(np.ones(ROWS))
    assert {"threshold": several.metrics["threshold"]} == several.settled
    assert again == pytest.approx({k: v for k, v in several.metrics.items() if k != "threshold"}, abs=1e-5)


def test_curves_keep_few_points_and_the_average_precision(random: np.random.Generator) -> None:
    targets = np.eye(2)[random.integers(0, 2, 1000)]
    chances = np.clip(targets * 0.3 + random.random((1000, 2)) * 0.7, 0, 1)
    made = classification.curves(chances, targets, ["no", "yes"])
    assert [one["name"] for one in made["series"]] == ["no", "yes"] and made["left_out"] == 0
    for i, one in enumerate(made["series"]):
        assert len(one["x"]) <= classification.POINTS and one["x"] == sorted(one["x"])
        assert one["area"] == pytest.approx(metrics.average_precision_score(targets[:, i], chances[:, i]), abs=1e-4)
