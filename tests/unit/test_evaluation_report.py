"""Intervals hold what they should, slices find what is worse, and tasks need nothing but `summarise` for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import tasks
from engine.evaluation import resampling, slices
from engine.evaluation.describe import describe
from engine.tasks.base import Task
from engine.tasks.terms import Encoded, Outputs
from studio import evaluation_charts, evaluation_view, measures


def records(rights: Sequence[bool], **more: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"row": i, "input": f"text {i}", "expected": "a", "predicted": "a" if right else "b", "loss": 0.5,
             "confidence": 0.9, "correct": right} | {name: values[i] for name, values in more.items()}
            for i, right in enumerate(rights)]


def test_the_interval_of_accuracy_is_that_of_the_binomial() -> None:
    task, rights = tasks.get("text_classification")(), [True] * 80 + [False] * 20
    low, high = resampling.intervals(task.gauge(records(rights)), 100)["accuracy"]
    assert low == pytest.approx(0.8 - 1.96 * 0.04, abs=0.02) and high == pytest.approx(0.8 + 1.96 * 0.04, abs=0.02)
    assert resampling.intervals(task.gauge(records(rights)), 100)["accuracy"] == (low, high)


def test_one_row_has_no_interval() -> None:
    assert resampling.intervals(tasks.get("text_classification")().gauge(records([True])), 1) == {}


@pytest.mark.parametrize(("rows", "low"), [(50, 0.9287), (6, 0.6097)])
def test_rows_that_are_all_right_leave_room_for_others_that_are_not(rows: int, low: float) -> None:
    task, good = tasks.get("text_classification")(), records([True] * rows)
    found = resampling.intervals(task.gauge(good), rows, shares=task.shares(good))
    assert found["accuracy"] == (pytest.approx(low, abs=1e-4), 1.0)
    none = records([False] * rows)
    wrong = resampling.intervals(task.gauge(none), rows, shares=task.shares(none))["accuracy"]
    assert wrong == (0.0, pytest.approx(1 - low, abs=1e-4))


def test_a_metric_that_every_draw_gives_alike_and_is_no_share_has_no_interval() -> None:
    task, good = tasks.get("text_classification")(), records([True] * 6)
    found = resampling.intervals(task.gauge(good), 6, shares=task.shares(good))
    assert {"loss", "ece"} <= set(task.gauge(good)(np.ones(6))) and set(found) == {"accuracy"}
    assert measures.interval("loss", None, None) == ""
    assert slices.resampled(task, good)[1]["accuracy"][0] < 0.7


@pytest.mark.parametrize(("name", "counts", "shares"), [
    ("causal_lm", {"answers": 1, "exact_match": 1}, {"exact_match": 3, "pattern_match": 0}),
    ("seq2seq", {"answers": 1, "patterns": 1}, {"exact_match": 3, "pattern_match": 3}),
    ("question_answering", {"answerable": 1}, {"exact_match": 3, "has_answer_exact_match": 3, "no_answer_accuracy": 0}),
    ("token_classification", {}, {}),
    ("image_classification", {}, {"accuracy": 3, "f1_micro": 3, "top_5": 3})])
def test_each_task_tells_which_of_its_metrics_are_shares(name: str, counts: dict[str, int],
                                                         shares: dict[str, int]) -> None:
    assert tasks.get(name)().shares([{"counts": counts, "correct": True}] * 3) == shares


def counting(calls: list[int], rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Score as a task would whose records carry counts, nested ones too."""
    calls.append(len(rows))
    found, wanted = (sum(row["counts"]["LOC"][i] for row in rows) for i in range(2))
    return {"recall": found / wanted, "words": sum(row["counts"]["words"] for row in rows)}


def test_counts_are_added_up_without_looking_at_each_record_again() -> None:
    calls: list[int] = []
    rows = [{"counts": {"LOC": [i % 2, 1], "words": 3}} for i in range(200)]
    gauge = resampling.gauge(lambda given: counting(calls, given), rows)
    weights = np.random.default_rng(0).integers(0, 3, 200).astype(float)
    slow = counting([], [rows[i] for i in np.repeat(np.arange(200), weights.astype(int))])
    calls.clear()
    assert gauge(weights) == pytest.approx(slow)
    assert calls == [1]


def test_what_is_no_sum_is_found_from_the_records_themselves() -> None:
    def middle(given: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        return {"median": float(np.median([row["counts"]["n"] for row in given])),
                "sum": float(sum(row["counts"]["n"] for row in given))}

    rows = [{"counts": {"n": n}} for n in (1, 2, 3, 4, 100)]
    gauge = resampling.gauge(middle, rows)
    assert gauge(np.array([1.0, 1, 0, 0, 2])) == {"median": 51.0, "sum": 203.0}


def test_records_without_counts_are_summarised_one_by_one() -> None:
    task = tasks.get("text_classification")()
    rows = [{"correct": True, "loss": 1.0, "expected": "x", "predicted": "x"},
            {"correct": False, "loss": 3.0, "expected": "x", "predicted": "y"}]
    found = resampling.gauge(lambda given: Task.summarise(task, given), rows)(np.array([3.0, 1.0]))
    assert found == {"accuracy": 0.75, "loss": 1.5}


def sliced(rights: Sequence[bool], table: pa.Table, **more: Sequence[Any]) -> Any:
    task = tasks.get("text_classification")()
    return slices.of(task, records(rights, **more), table, {"text": "t", "label": "y"}, ["a", "b"],
                     [len(text) for text in table.column("t").to_pylist()], "letters")


def test_the_worst_slice_comes_first_with_its_interval() -> None:
    rows = 80
    table = pa.table({"t": ["x" * (1 + i) for i in range(rows)], "y": ["a", "b"] * 40,
                      "source": ["web"] * 20 + ["mail"] * 60, "id": list(range(rows))})
    names = ["a", "b"] * 40
    said = [name if i >= 20 else {"a": "b", "b": "a"}[name] for i, name in enumerate(names)]
    found = sliced([i >= 20 for i in range(rows)], table, expected=names, predicted=said)
    assert found.metric == "accuracy" and found.greater_is_better
    by = {(one.by, one.value): one for one in found.items}
    worst = by["source", "web"]
    assert worst.rows == 20 and worst.metrics["accuracy"] == 0
    assert (worst.low, worst.high) == (0, pytest.approx(0.161, abs=1e-3))
    assert by["source", "mail"].metrics["accuracy"] == 1
    assert {one.by for one in found.items} == {"label", "length", "source"}
    assert next(one.value for one in found.items if one.by == "length") == "1–20 letters"
    assert [one.metrics["accuracy"] for one in found.items] == sorted(one.metrics["accuracy"] for one in found.items)
    assert sum(one.rows for one in found.items if one.by == "length") == rows


def test_a_column_called_length_is_told_from_the_length_of_the_rows() -> None:
    table = pa.table({"t": ["x" * (1 + i) for i in range(40)], "y": ["a", "b"] * 20,
                      "length": ["short"] * 20 + ["long"] * 20})
    found = sliced([i % 3 > 0 for i in range(40)], table)
    titles = {one.title for one in found.items if one.by == "length"}
    assert titles == {"length", "column 'length'"}
    assert {one.value for one in found.items if one.title == "column 'length'"} == {"short", "long"}


def test_a_row_with_two_labels_is_in_both_slices() -> None:
    task = tasks.get("text_classification")(problem="multi_label")
    rows = [{"row": i, "expected": ["a", "b"] if i % 2 else ["a"], "predicted": ["a"], "loss": 0.1,
             "correct": not i % 2, "input": ""} for i in range(20)]
    table = pa.table({"t": ["x"] * 20, "y": ["a"] * 20})
    found = slices.of(task, rows, table, {"text": "t", "label": "y"}, ["a", "b"], [], "")
    assert {(one.value, one.rows) for one in found.items} == {("a", 20), ("b", 10)}


def report(**more: Any) -> Any:
    task, rights = tasks.get("text_classification")(), [i % 4 > 0 for i in range(40)]
    table = pa.table({"t": [f"text number {i}" for i in range(40)], "y": ["a", "b"] * 20})
    made = records(rights, expected=["a", "b"] * 20, predicted=["a"] * 40)
    outputs = Outputs(metrics={"accuracy": 0.75, "odd": float("nan")}, examples=made, charts={
        "confusion": {"labels": ["a", "b"], "counts": [[15, 5], [5, 15]]},
        "by_type": {"LOC": {"f1": 0.5, "support": 3}}, "strange": [1, 2]}, settled={"threshold": 0.3})
    encoded = Encoded(rows=[{"input_ids": [1] * (i + 2)} for i in range(40)], labels=["a", "b"])
    return describe(task, outputs, encoded, table, {"text": "t", "label": "y"}, **more)


def test_a_report_names_rows_as_the_file_counts_them_and_survives_json() -> None:
    told = report(numbers=range(101, 141), step=7)
    assert told.metrics["odd"].value is None and told.metrics["accuracy"].low is not None
    assert told.suspects[0].row == 0 and told.suspects[0].number == 101 and len(told.suspects) == 10
    assert type(told).model_validate_json(told.model_dump_json()) == told


def test_a_report_is_shown_with_every_chart_that_can_be_drawn() -> None:
    value = evaluation_view.shown(report())
    assert [one["name"] for one in value["sections"]] == ["metrics", "slices", "confusion", "by_type"]
    text = str(value)
    assert "0.75" in text and "Threshold 0.3 was found on these rows" in text
    figure = value["sections"][2]["parts"][0]["figure"]
    assert figure["data"][0]["z"] == [[0.75, 0.25], [0.25, 0.75]]
    assert {note["text"] for note in figure["layout"]["annotations"]} == {"15", "5"}


def test_many_labels_are_drawn_down_to_those_mixed_up_most() -> None:
    labels = [f"label {i}" for i in range(60)]
    counts = [[10 if i == j else 0 for j in range(60)] for i in range(60)]
    counts[50][59] = 7
    made = evaluation_charts.sections({"confusion": {"labels": labels, "counts": counts}})[0]
    assert len(made["parts"][0]["figure"]["data"][0]["y"]) == evaluation_charts.DRAWN
    assert {"label 50", "label 59"} <= set(made["parts"][0]["figure"]["data"][0]["y"])
    assert "label 59" in made["parts"][1]["html"]


def test_labels_are_escaped_where_they_are_shown() -> None:
    made = evaluation_charts.sections({"by_type": {"<b>x</b>": {"f1": 0.5}}})[0]
    assert "<b>x</b>" not in made["parts"][0]["html"]


def test_intervals_stand_beside_their_metric() -> None:
    from engine.evaluation.report import Measured

    assert measures.measured("f1", Measured(value=0.94, low=0.921, high=0.9604)) == "0.940 [0.921, 0.960]"
    assert measures.measured("accuracy", Measured(value=1)) == "1.000"
    assert measures.measured("loss", Measured(value=0.00012, low=0.0001, high=0.0002)) == "0.00012 [0.0001, 0.0002]"
    assert measures.measured("bleu", Measured(value=31.256, low=30, high=32)) == "31.26 [30, 32]"
    assert measures.measured("f1", Measured(value=None)) == measures.scored("accuracy", None) == "–"
    assert measures.scored("f1_micro", 0.5) == "Micro F1 0.500"


@pytest.mark.parametrize(("name", "low", "high", "shown"), [
    ("accuracy", 0.92, 1.0, "[0.920, 1.000]"), ("loss", 0.1234, 2.5, "[0.123, 2.5]"),
    ("mae", 6983.2, 14123.9, "[6,983 – 14,124]")])
def test_an_interval_is_told_without_powers_of_ten(name: str, low: float, high: float, shown: str) -> None:
    assert measures.interval(name, low, high) == shown
