"""Curves are cut to size by the database, the same on every storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stories import make_spec, take

from db import metrics, runs
from db.errors import NotFound
from db.users import User
from engine.events import Evaluated, Event, RunStarted, StepsTrained

Tell = Callable[..., Any]


@pytest.fixture
def long_run(ada: User, tell: Tell) -> str:
    """A run of 1,000 steps, evaluated every 250."""
    run = runs.create(ada, make_spec())
    events: list[Event] = [RunStarted(seq=0)]
    for step in range(1, 1001):
        values = {"loss": float(step), "grad_norm": 1.0}
        events.append(StepsTrained(step, step / 100, values, seq=len(events), at=step * 2.0))
        if step % 250 == 0:
            events.append(Evaluated(step, step / 100, {"accuracy": step / 1000}, seq=len(events), at=step * 2.0))
    tell(take(run_id=run.id), events)
    return run.id


def test_a_long_curve_is_cut_into_equal_ranges_that_hide_no_extreme(ada: User, long_run: str):
    (curve,) = runs.curves(ada, [long_run], ["train/loss"], points=100)
    assert len(curve.steps) == 100
    assert curve.steps[:3] == [10, 20, 30] and curve.steps[-1] == 1000
    assert (curve.mean[0], curve.low[0], curve.high[0], curve.last[0]) == (5.5, 1.0, 10.0, 10.0)
    assert (curve.epochs[0], curve.times[0]) == (0.1, 20.0)
    assert all(low is not None and high is not None and low <= mean <= high  # pyright: ignore[reportOperatorIssue]
               for low, mean, high in zip(curve.low, curve.mean, curve.high, strict=True))


@pytest.mark.parametrize("points", [1, 3, 7, 499, 999, 1000, 5000])
def test_a_curve_has_no_more_points_than_asked_for_and_ends_where_the_run_does(ada: User, long_run: str, points: int):
    (curve,) = runs.curves(ada, [long_run], ["train/loss"], points=points)
    assert len(curve.steps) == min(points, 1000)
    assert curve.last[-1] == 1000.0 and curve.steps == sorted(set(curve.steps))


def test_a_short_curve_comes_as_it_is(ada: User, long_run: str):
    (curve,) = runs.curves(ada, [long_run], ["eval/accuracy"], points=100)
    assert curve.steps == [250, 500, 750, 1000]
    assert curve.mean == curve.low == curve.high == curve.last == [0.25, 0.5, 0.75, 1.0]


def test_curves_come_in_the_order_asked_for(ada: User, long_run: str, tell: Tell):
    other = runs.create(ada, make_spec("head"))
    tell(take(run_id=other.id), [RunStarted(seq=0), StepsTrained(1, 0.1, {"loss": 3.0}, seq=1)])
    found = runs.curves(ada, [other.id, long_run], ["train/loss", "eval/accuracy"], points=5)
    assert [(c.run_id, c.name) for c in found] == [
        (other.id, "train/loss"), (long_run, "train/loss"), (long_run, "eval/accuracy")]
    every = runs.curves(ada, [long_run], points=5)
    assert [c.name for c in every] == ["eval/accuracy", "train/grad_norm", "train/loss"]
    assert runs.curves(ada, []) == [] and runs.curves(ada, [long_run], []) == []


def test_one_run_of_somebody_else_refuses_the_whole_comparison(ada: User, bob: User, long_run: str):
    mine = runs.create(bob, make_spec())
    with pytest.raises(NotFound):
        runs.curves(bob, [mine.id, long_run])


def test_reading_by_cursor_misses_no_metric_that_comes_later_at_the_same_step(ada: User, tell: Tell):
    run = runs.create(ada, make_spec())
    held = take()
    tell(held, [RunStarted(seq=0), StepsTrained(5, 0.5, {"loss": 1.0}, seq=1)])
    first = runs.metrics(ada, run.id)
    seen = metrics.cursor(first)
    assert seen == {"train/loss": 5}
    assert runs.metrics(ada, run.id, after=seen) == []
    tell(held, [Evaluated(5, 0.5, {"accuracy": 0.5}, seq=2), StepsTrained(6, 0.6, {"loss": 0.9}, seq=3)])
    fresh = runs.metrics(ada, run.id, after=seen)
    assert [(p.name, p.step) for p in fresh] == [("eval/accuracy", 5), ("train/loss", 6)]
    assert runs.metrics(ada, run.id, after=metrics.cursor(fresh, seen)) == []
    assert [(p.name, p.step) for p in runs.metrics(ada, run.id, after=5)] == [("train/loss", 6)]
    assert [p.name for p in runs.metrics(ada, run.id, ["eval/accuracy"])] == ["eval/accuracy"]
    assert runs.metrics(ada, run.id, []) == []
