"""A child's events become rows exactly once, on every storage."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from stories import END, PARAMETERS, STARTED, take

from db import adapters, datasets, journal, leases, models, runs
from db.errors import LeaseLost
from db.users import User
from engine.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Logged,
    PredictionsRecorded,
    RunCancelled,
    RunInterrupted,
    RunStarted,
    StepsTrained,
)
from engine.spec import RunSpec

Tell = Callable[..., Any]


def test_events_become_summary_points_and_lines(ada: User, claimed: leases.Claimed, tell: Tell):
    row = tell(claimed, STARTED)
    assert (row.state, row.stage, row.step, row.total_steps, row.epoch, row.eta, row.loss) == (
        "running", "load", 2, 10, 0.2, 8.0, 1.5)
    assert (row.metric_name, row.metric_value, row.metric_step) == ("accuracy", 0.75, 2)
    assert (row.parameters, row.trained_parameters, row.total_parameters) == (PARAMETERS, 300, 10_000)
    assert (row.train_rows, row.eval_rows, row.truncated, row.estimated_bytes) == (80, 20, 3, 4096)
    assert row.resolved == {"learning_rate": 1e-3} and row.started_at == 100.0
    assert row.latest == {"train/loss": 1.5, "train/learning_rate": 9e-4, "train/grad_norm": 1.2,
                          "eval/accuracy": 0.75, "eval/loss": 0.6}
    points = {(p.name, p.step): p.value for p in runs.metrics(ada, claimed.run_id)}
    assert points["train/loss", 1] == 2.0 and points["eval/accuracy", 2] == 0.75 and len(points) == 8
    assert [(line.number, line.text) for line in runs.log(ada, claimed.run_id)] == [
        (1, "The run started."), (2, "Loading the model.")]
    tell(claimed, [CheckpointSaved(2, "step-2", 9, seq=6), PredictionsRecorded(20, seq=7),
                   Logged("Careful.", "warning", seq=8)])
    row = runs.get(ada, claimed.run_id)
    assert (row.checkpoint_step, row.examples) == (2, 20)
    assert runs.log(ada, claimed.run_id, after=2)[0][2:] == ("warning", "Careful.")


def test_a_batch_sent_again_or_in_pieces_changes_nothing(ada: User, claimed: leases.Claimed, tell: Tell):
    assert journal.ingest(claimed.run_id, claimed.token, []) == -1
    assert journal.ingest(claimed.run_id, claimed.token, STARTED[:3]) == 2
    assert journal.ingest(claimed.run_id, claimed.token, STARTED[1:]) == 5
    before = (runs.metrics(ada, claimed.run_id), runs.log(ada, claimed.run_id))
    assert journal.ingest(claimed.run_id, claimed.token, STARTED) == 5
    tell(claimed, [*STARTED, END["succeeded"]])
    assert journal.ingest(claimed.run_id, claimed.token, [*STARTED, END["succeeded"]]) == 6
    assert (runs.metrics(ada, claimed.run_id), runs.log(ada, claimed.run_id)) == before
    assert len(adapters.find(ada)) == 1
    assert journal.last_seq(claimed.run_id, claimed.token) == 6


def test_two_shippers_at_once_write_each_event_once(ada: User, claimed: leases.Claimed):
    events: list[Event] = [RunStarted(seq=0), *(Logged(f"Line {n}", seq=n) for n in range(1, 101))]
    together = threading.Barrier(2)

    def ship() -> None:
        together.wait()
        for start in range(0, len(events), 7):
            journal.ingest(claimed.run_id, claimed.token, events[: start + 7])

    threads = [threading.Thread(target=ship) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.text for line in runs.log(ada, claimed.run_id)] == [
        "The run started.", *(f"Line {n}" for n in range(1, 101))]


def test_a_stale_token_writes_nothing_at_all(ada: User, claimed: leases.Claimed, tell: Tell):
    tell(claimed, STARTED[:4])
    with pytest.raises(LeaseLost):
        journal.ingest(claimed.run_id, claimed.token - 1, STARTED)
    with pytest.raises(LeaseLost):
        journal.last_seq(claimed.run_id, claimed.token - 1)
    assert runs.get(ada, claimed.run_id).step == 1


def test_success_publishes_the_adapter_with_its_lineage(ada: User, spec: RunSpec, tell: Tell):
    dataset = datasets.create(ada, name="Tickets", sha256="d" * 64)
    model = models.create(ada, ref=spec.model.id, files={"model.safetensors": "m" * 64})
    run = runs.create(ada, spec, name="Spam or ham", dataset_id=dataset.id)
    held = take()
    row = tell(held, [*STARTED, END["succeeded"]])
    assert (row.state, row.eta, row.worker_id, row.lease_until, row.error) == ("succeeded", None, None, None, None)
    assert row.finished_at is not None and row.metric_value == 0.9 and row.result["adapter_bytes"] == 1200
    (adapter,) = adapters.find(ada)
    assert (adapter.name, adapter.run_id, adapter.model, adapter.task, adapter.method, adapter.artifact) == (
        "Spam or ham", run.id, "starter/minilm-l6", "text_classification", "lora", "adapter")
    assert (adapter.dataset_id, adapter.dataset_sha256) == (dataset.id, "d" * 64)
    assert adapter.model_hash == models.hash_of(model.files) is not None
    assert (adapter.key, adapter.bytes) == (f"runs/{run.id}/attempt-1/adapter", 1200)
    assert (adapter.labels, adapter.metrics) == (["ham", "spam"], {"accuracy": 0.9, "loss": 0.4})
    assert leases.renew(run.id, held.token) is None


def test_stopping_and_keeping_publishes_what_there_is_and_discarding_nothing(
        ada: User, claimed: leases.Claimed, tell: Tell):
    tell(claimed, STARTED)
    runs.ask_stop(ada, claimed.run_id, "save")
    row = tell(claimed, [RunCancelled(True, {"metrics": {"accuracy": 0.8}, "adapter_bytes": 7, "steps": 2}, seq=6)])
    assert row.state == "cancelled" and row.metric_value == 0.8
    (adapter,) = adapters.find(ada)
    assert adapter.name == "Claimed (stopped at step 2)"
    runs.resume(ada, claimed.run_id)
    tell(take(), [STARTED[0], RunCancelled(False, {"metrics": {}}, seq=1)])
    assert len(adapters.find(ada)) == 1


def test_a_wish_to_stop_is_not_forgotten_when_the_child_only_then_says_it_started(
        ada: User, claimed: leases.Claimed, tell: Tell):
    runs.ask_stop(ada, claimed.run_id, "save")
    assert tell(claimed, STARTED).state == "stopping"
    assert tell(claimed, [RunInterrupted(2, seq=6)]).state == "cancelled"


def test_failure_keeps_the_childs_own_words(ada: User, claimed: leases.Claimed, tell: Tell):
    row = tell(claimed, [*STARTED, END["failed"]])
    assert row.state == "failed" and row.error["kind"] == "out_of_memory" and row.finished_at is not None
    assert runs.log(ada, claimed.run_id)[-1][2:] == ("error", "There is not enough memory. Choose smaller batches.")
    assert adapters.find(ada) == []


def test_an_interruption_in_good_order_waits_for_the_next_worker_and_counts_no_attempt(
        ada: User, claimed: leases.Claimed, tell: Tell):
    row = tell(claimed, [*STARTED, END["interrupted"]])
    assert (row.state, row.attempts, row.lease_until) == ("interrupted", 0, None)
    assert leases.lose(claimed.run_id, claimed.token) is None
    assert take("worker-2").attempts == 1


def test_an_attempt_that_goes_on_from_a_checkpoint_replaces_what_came_after_it(
        ada: User, claimed: leases.Claimed, tell: Tell):
    train = [StepsTrained(step, step / 10, {"loss": 10.0 - step}, seq=step) for step in range(1, 8)]
    tell(claimed, [RunStarted(seq=0), *train, Evaluated(7, 0.7, {"accuracy": 0.5}, best=True, seq=8)])
    leases.lose(claimed.run_id, claimed.token)
    again = take()
    tell(again, [RunStarted(4, seq=0), StepsTrained(5, 0.5, {"loss": 55.0}, seq=1)])
    losses = [(p.step, p.value) for p in runs.metrics(ada, claimed.run_id, ["train/loss"])]
    assert losses == [(1, 9.0), (2, 8.0), (3, 7.0), (4, 6.0), (5, 55.0)]
    assert runs.metrics(ada, claimed.run_id, ["eval/accuracy"]) == []
    assert "went on from step 4" in runs.log(ada, claimed.run_id)[-1].text
    assert runs.get(ada, claimed.run_id).started_at is not None


def test_an_attempt_that_begins_anew_forgets_the_old_curves(ada: User, claimed: leases.Claimed, tell: Tell):
    tell(claimed, STARTED)
    leases.lose(claimed.run_id, claimed.token)
    row = tell(take(), [RunStarted(seq=0, at=200.0)])
    assert runs.metrics(ada, claimed.run_id) == [] and row.latest == {}
    assert (row.step, row.loss, row.metric_value, row.started_at) == (0, None, None, 100.0)


def test_a_loss_that_is_not_a_number_is_kept_as_a_gap(ada: User, claimed: leases.Claimed, tell: Tell):
    row = tell(claimed, [RunStarted(seq=0), StepsTrained(1, 0.1, {"loss": math.nan}, seq=1),
                         StepsTrained(2, 0.2, {"loss": math.inf}, seq=2), StepsTrained(3, 0.3, {"loss": 1.0}, seq=3)])
    assert row.loss == 1.0
    assert [p.value for p in runs.metrics(ada, claimed.run_id, ["train/loss"])] == [None, None, 1.0]
    (curve,) = runs.curves(ada, [claimed.run_id], ["train/loss"])
    assert curve.mean == [None, None, 1.0]


def test_only_an_evaluation_that_says_so_is_the_best(claimed: leases.Claimed, tell: Tell):
    tell(claimed, [*STARTED, Evaluated(4, 0.4, {"accuracy": 0.6}, seq=6),
                   Evaluated(6, 0.6, {"loss": 1.0}, best=True, seq=7)])
    row = tell(claimed, [Evaluated(8, 0.8, {"accuracy": 0.8}, best=True, seq=8)])
    assert (row.metric_value, row.metric_step, row.step) == (0.8, 8, 8)


def test_an_endless_or_odd_line_does_no_harm(ada: User, claimed: leases.Claimed, tell: Tell):
    tell(claimed, [Logged("x" * 100_000, seq=0), Logged("a\x00b\ud800", seq=1)])
    first, second = runs.log(ada, claimed.run_id)
    assert len(first.text) == 8000 and first.text.endswith("…")
    assert second.text == "a\ufffdb?"
