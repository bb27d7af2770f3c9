"""Kills and freezes what trains, and expects the same adapter as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rig import Rig, studio, until

from db import adapters, journal, leases, runs
from db.errors import LeaseLost
from engine.events import StepsTrained
from worker import client

pytestmark = [pytest.mark.shared, pytest.mark.slow]

#: Long enough to be killed in the middle, short enough to wait for.
LONG = {"epochs": 14, "checkpoint_every": 10, "eval_every": "never"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    with studio(tmp_path_factory.mktemp("studio"), shared) as made:
        made.work()
        yield made


@pytest.fixture(scope="module")
def undisturbed(rig: Rig) -> bytes:
    """The adapter of the same run when nothing happens to it."""
    run_id = rig.train(**LONG)
    assert rig.ended(run_id).state == "succeeded"
    return rig.weights(run_id)


def test_killed_child_resumes_and_ends_with_the_same_adapter(rig: Rig, undisturbed: bytes) -> None:
    run_id = rig.train(**LONG)
    rig.checkpointed(run_id)
    rig.child_of(run_id).kill()
    row = rig.ended(run_id)
    assert row.state == "succeeded" and row.attempts == 2
    assert rig.weights(run_id) == undisturbed
    assert any("SIGKILL" in line.text and "memory" in line.text for line in runs.log(rig.user, run_id))
    steps = [point.step for point in runs.metrics(rig.user, run_id, names=["train/loss"])]
    assert steps == sorted(set(steps)) and steps[-1] == row.total_steps


def test_killed_worker_is_followed_by_one_that_goes_on(rig: Rig, undisturbed: bytes) -> None:
    run_id = rig.train(**LONG)
    rig.checkpointed(run_id)
    child = rig.child_of(run_id)
    rig.workers[-1].kill()
    rig.workers[-1].wait()
    rig.work()
    row = rig.ended(run_id)
    assert row.state == "succeeded"
    assert rig.weights(run_id) == undisturbed
    assert not psutil.pid_exists(child.pid)


def test_worker_that_is_told_to_stop_interrupts_and_the_next_one_goes_on(rig: Rig, undisturbed: bytes) -> None:
    run_id = rig.train(**LONG)
    rig.checkpointed(run_id)
    child = rig.child_of(run_id)
    worker = rig.workers[-1]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    row = runs.get(rig.user, run_id)
    assert row.state == "interrupted" and row.lease_until is None and not psutil.pid_exists(child.pid)
    rig.work()
    assert rig.ended(run_id).state == "succeeded"
    assert rig.weights(run_id) == undisturbed


def test_child_of_a_frozen_worker_stops_itself_before_the_lease_ends(rig: Rig, undisturbed: bytes) -> None:
    run_id = rig.train(epochs=2000, checkpoint_every=10, eval_every="never")
    rig.checkpointed(run_id)
    child, worker = rig.child_of(run_id), rig.workers[-1]
    frozen = time.monotonic()
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 20, "the orphan trains on")
        assert 1 < time.monotonic() - frozen < 5, "orphan_seconds is 3, lease_seconds is 5"
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    until(lambda: runs.get(rig.user, run_id).state == "running" and runs.get(rig.user, run_id).token > 1, 30)
    runs.ask_stop(rig.user, run_id, "discard")
    client.stop(run_id)
    assert rig.ended(run_id).state == "cancelled"


def test_run_whose_child_keeps_dying_fails_after_three_attempts(rig: Rig) -> None:
    run_id = rig.train(epochs=2000, eval_every="never")
    for attempt in (1, 2, 3):
        until(lambda attempt=attempt: runs.get(rig.user, run_id).attempts == attempt and rig.state(run_id) == "running")
        rig.child_of(run_id).kill()
        until(lambda: rig.state(run_id) != "running")
    row = rig.ended(run_id)
    assert row.state == "failed" and row.error is not None and "SIGKILL" in row.error["what"]


def test_stale_lease_cannot_write_nor_publish(rig: Rig) -> None:
    run_id = rig.train(epochs=2000, checkpoint_every=10, eval_every="never")
    stale = rig.checkpointed(run_id).token
    rig.child_of(run_id).kill()
    until(lambda: runs.get(rig.user, run_id).token > stale and rig.state(run_id) == "running")
    event = StepsTrained(step=99_999, epoch=1.0, metrics={"loss": 0.0}, seq=10_000_000, at=time.time())
    with pytest.raises(LeaseLost):
        journal.ingest(run_id, stale, [event])
    assert leases.renew(run_id, stale) is None and leases.release(run_id, stale) is False
    assert not [point for point in runs.metrics(rig.user, run_id) if point.step == 99_999]
    runs.ask_stop(rig.user, run_id, "discard")
    rig.ended(run_id)
    assert adapters.of_run(rig.user, run_id) is None


def test_broker_that_goes_away_and_comes_back_loses_no_run(rig: Rig) -> None:
    from db.settings import settings
    from worker import broker

    rig.stop_broker()
    run_id = rig.train(epochs=1)
    assert client.submit(run_id) is False and client.broker_ok() is False
    assert rig.ended(run_id).state == "succeeded"
    rig.broker = broker.start(settings(), rig.folder / "logs" / "broker.log")
    assert client.broker_ok()
    assert rig.ended(rig.train()).state == "succeeded"


def test_database_that_is_away_for_a_while_loses_nothing(rig: Rig) -> None:
    import sqlite3

    from db.settings import settings

    run_id = rig.train(epochs=50, checkpoint_every=25, eval_every="never")
    rig.checkpointed(run_id)
    child = rig.child_of(run_id)
    outage = sqlite3.connect(settings().database_url.removeprefix("sqlite:///"), isolation_level=None, timeout=10)
    outage.execute("BEGIN IMMEDIATE")
    try:
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 30)
    finally:
        outage.execute("ROLLBACK")
        outage.close()
    row = rig.ended(run_id)
    assert row.state == "succeeded" and rig.weights(run_id)
    assert any("Interrupted at step" in line.text for line in runs.log(rig.user, run_id)), "orphan_seconds is 3"
    steps = [point.step for point in runs.metrics(rig.user, run_id, names=["train/loss"])]
    assert steps == sorted(set(steps)) and steps[-1] == row.total_steps


def test_two_slots_train_two_runs_at_once_and_a_third_waits(rig: Rig) -> None:
    rig.workers[-1].send_signal(signal.SIGTERM)
    assert rig.workers[-1].wait(30) == 0
    rig.work(slots="2", threads="1")
    going = [rig.train(name=f"run {n}", epochs=2000, eval_every="never") for n in range(3)]
    until(lambda: [rig.state(one) for one in going] == ["running", "running", "queued"], 60, rig.tail)
    runs.ask_stop(rig.user, going[0], "discard")
    until(lambda: rig.state(going[2]) == "running", 30, rig.tail)
    for one in going[1:]:
        runs.ask_stop(rig.user, one, "discard")
    assert {rig.ended(one).state for one in going} == {"cancelled"}
