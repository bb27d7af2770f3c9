"""Runs beside one another: which settings differ, whether their documents spell them out or not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from db.metrics import Curve
from db.tables import Run
from engine import spec
from studio import comparison, measures

SHORT: dict[str, Any] = {"task": "text_classification", "model": {"id": "tiny/bert"}, "data": {"train": "ds_1"},
                         "method": {"name": "lora"}}


def differing(*documents: dict[str, Any]) -> str:
    runs = [Run(id=f"run_{place}", name=f"run {place}", spec=document) for place, document in enumerate(documents)]
    return comparison.differences(runs, {})


def test_a_default_left_out_is_no_difference() -> None:
    whole = spec.parse(SHORT).model_dump(mode="json")
    whole["data"]["options"] = {"problem": "single_label"}
    assert whole["training"]["epochs"] == 3
    assert "Every setting is the same." in differing(SHORT, whole)


def test_what_differs_from_a_default_left_out_is_shown_with_it() -> None:
    shown = differing(SHORT, SHORT | {"training": {"epochs": 7}})
    assert "Training › Epochs" in shown and "<td>7" in shown and "<td>3" in shown and shown.count("<tr>") == 2


def test_a_document_that_is_no_longer_valid_is_compared_as_it_stands() -> None:
    assert "method › gone" in differing(SHORT, SHORT | {"method": {"name": "lora", "gone": 1}})


def test_settings_and_their_values_are_called_as_in_the_form() -> None:
    other = SHORT | {"method": {"name": "lora", "use_rslora": True, "rank_pattern": {"q": 16}, "targets": ["q", "v"]},
                     "training": {"learning_rate": 3e-4, "gradient_checkpointing": True, "max_steps": 50}}
    shown = differing(SHORT, other)
    for title, first, second in [("Method › Rank-stabilised (rsLoRA)", "off", "on"),
                                 ("Method › Ranks by layer", "none", "q=16"),
                                 ("Method › Layers to adapt", "All-linear", "Q, V"),
                                 ("Training › Learning rate", "Auto", "0.0003"),
                                 ("Training › Gradient checkpointing", "off", "on"),
                                 ("Training › Max updates", "No limit", "50")]:
        row = re.findall("<t[dh][^>]*>(.*?)</t[dh]>", next(row for row in shown.split("<tr") if title in row))
        assert row == [title, first, second]
    assert "rslora" not in shown and "{" not in shown and shown.count("<tr") == 7


def test_a_setting_that_only_one_of_the_methods_has_is_missing_in_the_other() -> None:
    shown = differing(SHORT, SHORT | {"method": {"name": "bitfit"}, "model": {"id": "local/my_own"}})
    assert "Method › Which biases" in shown and "<td>–" in shown and "<td>LoRA" in shown and "<td>BitFit" in shown
    assert "Base model" in shown and "local/my_own" in shown


def test_marks_of_sizes_close_together_get_the_digits_that_tell_them_apart() -> None:
    assert comparison.digits([332_800, 334_100]) >= 5
    assert comparison.digits([1_000, 1_000_000]) == comparison.digits([7_000]) == comparison.digits([]) == 3


def run(id: str, **values: Any) -> Run:
    return Run(id=id, name=id, state="succeeded", task="text_classification", method="lora", model="tiny/bert",
               metric_name="accuracy", spec=SHORT, result={"metrics": {"accuracy": 0.5, "f1_micro": 1.0}}, **values)


def test_what_auto_came_to_stands_beside_the_word() -> None:
    shown = comparison.found_out({"training.learning_rate": "auto", "training.precision": "auto", "training.epochs": 3},
                                 {"learning_rate": 0.002, "epochs": 4})
    assert shown == {"training.learning_rate": "0.002 (auto)", "training.precision": "auto", "training.epochs": 3}


def test_runs_that_were_measured_on_other_rows_are_said_to_be() -> None:
    same = [run("a", dataset_id="ds_1", eval_rows=10), run("b", dataset_id="ds_1", eval_rows=10)]
    assert "measured" not in comparison.table(same)
    others = comparison.table([same[0], run("c", dataset_id="ds_1", eval_dataset_id="ds_2", eval_rows=10)])
    assert "These runs were measured on different rows." in others


def test_metrics_have_the_names_and_digits_of_the_run_page() -> None:
    shown = comparison.table([run("a", dataset_id="ds_1")])
    assert "Micro F1" in shown and ">1.000<" in shown and ">0.500<" in shown
    assert comparison.title("eval/ece") == "Evaluation: Calibration error (ECE)"


@pytest.mark.parametrize(("values", "low", "high"), [((0.6, 0.6), 0.5, 0.7), ((1.0, 1.0), 0.9, 1.02),
                                                     ((0.0, 0.0), 0.0, 0.1), ((0.2, 0.9), 0.095, 1.005)])
def test_the_axis_of_a_share_stays_within_what_a_share_can_be(values: tuple[float, ...], low: float,
                                                              high: float) -> None:
    runs = [run(str(place), metric_value=value, trained_parameters=1000) for place, value in enumerate(values)]
    assert comparison.scatter(runs)["layout"]["yaxis"]["range"] == pytest.approx([low, high])
    found = [Curve(name="eval/accuracy", steps=[3], mean=[value], low=[value], high=[value], last=[value],
                   epochs=[1.0], times=[0.0], run_id=str(place)) for place, value in enumerate(values)]
    drawn = comparison.curves(runs, found, "eval/accuracy", "step", 0.0)
    assert drawn["layout"]["yaxis"]["range"] == pytest.approx([low, high])


def test_other_metrics_keep_their_scale() -> None:
    assert measures.axis(["loss"], [0.4, 0.4]) == measures.axis(["bleu"], [31.0]) == {"rangemode": "nonnegative"}
    assert measures.axis(["pearson"], [-0.2, 0.9]) == measures.axis(["accuracy"], []) == {}
