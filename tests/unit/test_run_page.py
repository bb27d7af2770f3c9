"""What a run's page says first: no empty charts of what never was, and a loss that one batch does not decide."""

from __future__ import annotations

from typing import Any

import pytest

from db.metrics import Curve
from db.tables import Run
from studio import run_view


def run(**values: Any) -> Run:
    return Run(**{"id": "run_1", "name": "a", "state": "failed", "step": 0, "epoch": 0.0, "loss": 9.0, "error": {},
                  "spec": {}, "latest": {}, "result": None, "metric_name": "accuracy"} | values)


def curve(values: list[float | None]) -> Curve:
    steps, nothing = list(range(1, len(values) + 1)), [None] * len(values)
    return Curve("run_1", "train/loss", steps, nothing, [0.0] * len(values), values, values, values, values)


def test_the_loss_is_that_of_the_last_tenth_of_updates() -> None:
    values: list[float | None] = [5.0] * 36 + [1.0, None, 2.0, 3.0]
    _, shown, remark = run_view.loss(run(state="succeeded", step=40, epoch=2.0), curve(values))
    assert shown == "2" and remark == "mean of the last tenth of updates; update 40, epoch 2.00"
    assert run_view.loss(run(step=1), curve([4.0]))[1] == "4"
    assert run_view.loss(run(step=1), None)[1] == "9"


def test_a_run_that_failed_before_it_learned_has_no_figures_of_the_moment() -> None:
    assert run_view.live(run()) == ""
    assert "Training loss" in run_view.live(run(step=3))


@pytest.mark.parametrize(("values", "offered"), [
    ({"state": "cancelled"}, True), ({"state": "succeeded"}, False), ({"error": {"kind": "label_missing"}}, False),
    ({"error": {"kind": "child_killed"}}, True), ({"error": {"kind": "not_finite"}, "checkpoint_step": 4}, True)])
def test_going_on_is_offered_where_it_can_help(values: dict[str, Any], offered: bool) -> None:
    assert run_view.resumable(run(**values)) is offered
