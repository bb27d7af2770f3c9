"""The learning-rate range test: what losses say about rates, and a real test on a tiny model."""

from __future__ import annotations

import csv
import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from engine import rates, tiny, train
from engine.errors import SpecError
from engine.events import StepsTrained
from engine.spec import RateTest, parse

TEST = RateTest(updates=100, lowest=1e-6, highest=1.0)


def curve(falls_at: float, blows_up_at: float | None, noise: float = 0.0) -> tuple[list[float], list[float]]:
    """Return rates and losses of a fall from 2 to 1 around one rate, and of a blow-up at another, till it is plain."""
    ladder, losses = rates.ladder(TEST, 1e-3), []
    for place, rate in enumerate(ladder):
        loss = 2 - 1 / (1 + (falls_at / rate) ** 2) + noise * math.sin(7.7 * place)
        if blows_up_at is not None:
            loss += (rate / blows_up_at) ** 4
        losses.append(loss)
        if rates.blown_up(losses, TEST.updates):
            break
    return ladder[:len(losses)], losses


def test_rates_rise_by_equal_factors_from_the_lowest_to_the_highest() -> None:
    ladder = rates.ladder(TEST, 1e-3)
    factors = [after / before for before, after in itertools.pairwise(ladder)]
    assert len(ladder) == 100 and ladder[0] == pytest.approx(1e-6) and ladder[-1] == pytest.approx(1.0)
    assert max(factors) == pytest.approx(min(factors))


def test_rates_lie_around_the_runs_own_where_none_are_given() -> None:
    ladder = rates.ladder(RateTest(), 2e-4)
    assert ladder[0] == pytest.approx(2e-6) and ladder[-1] == pytest.approx(2e-2)
    beyond = rates.ladder(RateTest(lowest=0.5), 1e-3)
    assert beyond[0] < beyond[-1], "a lowest rate above the usual highest still makes a rising range"


@pytest.mark.parametrize("seed", range(20))
def test_a_small_fall_counts_when_it_is_more_than_chance(seed: int) -> None:
    ladder = rates.ladder(TEST, 1e-3)
    chance = random.Random(seed)
    jitter = [chance.gauss(0, 0.015) for _ in range(100)]
    falls = [2 - 0.06 / (1 + (1e-3 / rate) ** 2) + off for rate, off in zip(ladder, jitter, strict=True)]
    assert rates.suggest(ladder, falls, 100).suggested is not None
    assert rates.suggest(ladder, [2 + 3 * off for off in jitter], 100).suggested is None


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_rate_of_the_steepest_fall_is_suggested(noise: float) -> None:
    tried, losses = curve(1e-3, None, noise)
    found = rates.suggest(tried, losses, TEST.updates)
    assert len(losses) == 100 and found.blow_up is None
    assert found.suggested is not None and 3e-4 < found.suggested < 3e-3


def test_a_rate_near_the_blow_up_is_cut_to_a_tenth_of_it() -> None:
    tried, losses = curve(1e-3, 5e-3)
    found = rates.suggest(tried, losses, TEST.updates)
    assert len(losses) < 100, "the test goes on although the loss has blown up"
    assert found.blow_up is not None and found.steepest is not None and found.steepest > found.blow_up / 10
    assert found.suggested == pytest.approx(found.blow_up / 10, rel=0.06) and "too near" in found.why


def test_a_loss_that_is_no_number_ends_the_test_and_counts_as_blown_up() -> None:
    tried, losses = curve(1e-4, None)
    losses[60] = math.nan
    assert rates.blown_up(losses[:61], TEST.updates) and not rates.blown_up(losses[:60], TEST.updates)
    found = rates.suggest(tried[:61], losses[:61], TEST.updates)
    assert found.blow_up == tried[60] and found.suggested is not None and found.suggested < tried[60] / 5


@pytest.mark.parametrize("losses", [[2.0] * 100, [2.0 + place / 50 for place in range(100)], [math.nan], []])
def test_nothing_is_suggested_where_the_loss_falls_nowhere(losses: list[float]) -> None:
    found = rates.suggest(rates.ladder(TEST, 1e-3)[:len(losses)], losses, TEST.updates)
    assert found.suggested is None and "try" in found.why


def test_smoothing_shifts_nothing() -> None:
    assert rates.smooth([1.0] * 30) == pytest.approx([1.0] * 30)
    bump = [0.0] * 50 + [1.0] + [0.0] * 50
    smoothed = rates.smooth(bump)
    assert smoothed.index(max(smoothed)) == 50 and smoothed == pytest.approx(smoothed[::-1])


def test_a_range_upside_down_is_refused_by_name() -> None:
    with pytest.raises(SpecError) as refused:
        parse(document(Path("rows.csv"), Path("model")) | {"rate_test": {"lowest": 0.1, "highest": 0.01}})
    assert "rate_test" in str(refused.value.where)


def document(rows: Path, model: Path) -> dict[str, Any]:
    """Return a run's document."""
    return {"task": "text_classification", "model": {"id": str(model)}, "method": {"name": "lora", "r": 4},
            "data": {"train": str(rows), "columns": {"text": "text", "label": "label"}},
            "training": {"batch_size": 8, "max_length": 16, "precision": "fp32", "epochs": 1}}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run on 60 rows and a tiny encoder."""
    folder = tmp_path_factory.mktemp("rates")
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([(f"{'good' if row % 2 else 'bad'} thing number {row}", row % 2) for row in range(60)])
    return document(folder / "rows.csv", tiny.folder("bert", folder / "model"))


def test_a_document_without_a_test_reads_as_it_always_did(plan: dict[str, Any]) -> None:
    assert "rate_test" not in parse(plan).model_dump(mode="json")


def test_a_test_tries_every_rate_and_keeps_nothing_but_its_losses(plan: dict[str, Any], tmp_path: Path) -> None:
    seen: list[StepsTrained] = []
    spec = parse(plan | {"rate_test": {"updates": 30, "lowest": 1e-5, "highest": 0.3}})
    ended = train.run(spec, tmp_path, on_event=lambda event: seen.append(event) if isinstance(event, StepsTrained)
                      else None)
    found = ended["rate_test"]
    assert ended["state"] == "succeeded" and json.loads((tmp_path / "result.json").read_text())["rate_test"] == found
    assert found["rates"] == pytest.approx(rates.ladder(spec.rate_test, 1e-3)[:len(found["rates"])])  # type: ignore[arg-type]
    assert [event.metrics["learning_rate"] for event in seen] == pytest.approx(found["rates"])
    assert [event.metrics["loss"] for event in seen] == pytest.approx(found["losses"])
    assert not any((tmp_path / name).exists() for name in ("adapter", "model", "checkpoints"))
    # The batches and the first loss are those the run itself would begin with.
    real = train.run(parse(plan | {"training": plan["training"] | {"max_steps": 1, "eval_every": "never"}}),
                     tmp_path / "real", on_event=lambda event: seen.append(event) if isinstance(event, StepsTrained)
                     else None)
    assert real["state"] == "succeeded" and seen[-1].metrics["loss"] == pytest.approx(found["losses"][0], rel=1e-6)


@pytest.mark.parametrize(("mode", "keeps"), [("save", True), ("discard", False), ("interrupt", False)])
def test_a_test_can_be_stopped_with_what_it_saw(plan: dict[str, Any], tmp_path: Path, mode: Any, keeps: bool) -> None:
    def stop(event: Any) -> None:
        if isinstance(event, StepsTrained) and event.step == 5:
            train.Control.request(mode)
    ended = train.run(parse(plan | {"rate_test": {"updates": 30}}), tmp_path, on_event=stop)
    assert ended["state"] == ("interrupted" if mode == "interrupt" else "cancelled")
    assert ("rate_test" in ended) == keeps and (not keeps or len(ended["rate_test"]["losses"]) == 5)
    assert not (tmp_path / "adapter").exists() and not (tmp_path / "checkpoints").exists()
