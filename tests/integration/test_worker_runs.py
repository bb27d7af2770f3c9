"""Queued runs become adapters, by real Valkey, a real worker process and forked children."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rig import Rig, studio, until

from db import adapters, runs, workers
from worker import client

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    with studio(tmp_path_factory.mktemp("studio"), shared) as made:
        made.work()
        until(lambda: any(row.device.get("warm") for row in workers.find(made.user)), 90, "the nursery is cold")
        yield made


def test_queued_run_becomes_a_published_adapter(rig: Rig) -> None:
    row = rig.ended(rig.train(name="first"))
    assert row.state == "succeeded", row.error
    assert row.step == row.total_steps and row.metric_value is not None and row.attempts == 1
    steps = runs.metrics(rig.user, row.id)
    assert {point.step for point in steps if point.name == "train/loss"} >= {1, row.total_steps}
    adapter = adapters.of_run(rig.user, row.id)
    assert adapter is not None and adapter.key == f"runs/{row.id}/attempt-{row.token}/adapter"
    assert (rig.folder / adapter.key / "adapter_config.json").is_file()
    assert json.loads((rig.folder / adapter.key).parent.joinpath("spec.json").read_text()) == row.spec


def test_worker_process_never_loads_torch(rig: Rig) -> None:
    rig.ended(rig.train())
    maps = Path(f"/proc/{rig.workers[0].pid}/maps").read_text()
    assert "libtorch" not in maps and "valkey" not in maps


def test_child_has_its_own_process_group_and_writes_its_own_log(rig: Rig) -> None:
    run_id = rig.train(epochs=40)
    child = rig.child_of(run_id)
    until(lambda: runs.get(rig.user, run_id).step > 0)
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[2]) == child.pid, "the child does not lead its group"
    runs.ask_stop(rig.user, run_id, "discard")
    client.stop(run_id)
    row = rig.ended(run_id)
    assert row.state == "cancelled"
    assert (rig.folder / f"runs/{run_id}/attempt-{row.token}/log.txt").is_file()


def test_stopping_with_save_publishes_what_was_learned_so_far(rig: Rig) -> None:
    run_id = rig.train(epochs=400, eval_every="never")
    until(lambda: runs.get(rig.user, run_id).step > 3)
    runs.ask_stop(rig.user, run_id, "save")
    client.stop(run_id)
    row = rig.ended(run_id)
    assert row.state == "cancelled" and 3 < row.step < row.total_steps
    assert rig.weights(run_id)


def test_stopping_with_discard_publishes_nothing(rig: Rig) -> None:
    run_id = rig.train(epochs=400, eval_every="never")
    until(lambda: runs.get(rig.user, run_id).step > 3)
    runs.ask_stop(rig.user, run_id, "discard")
    assert rig.ended(run_id).state == "cancelled"
    assert adapters.of_run(rig.user, run_id) is None


def test_run_that_ignores_being_stopped_is_ended_with_its_whole_group(rig: Rig) -> None:
    run_id = rig.train(epochs=400, eval_every="never")
    until(lambda: runs.get(rig.user, run_id).step > 3)
    child = rig.child_of(run_id)
    child.send_signal(signal.SIGSTOP)
    runs.ask_stop(rig.user, run_id, "discard")
    client.stop(run_id)
    assert rig.ended(run_id).state == "cancelled"
    assert not psutil.pid_exists(child.pid)


def test_missing_column_fails_the_run_with_the_engines_own_words(rig: Rig) -> None:
    dataset = rig.store("odd", {"label": ["a", "b"] * 4, "body": ["one", "two"] * 4})
    row = rig.ended(rig.train(dataset=dataset))
    assert row.state == "failed" and row.error is not None
    assert "text" in row.error["what"] and row.error["try_this"]


def test_dataset_that_is_not_read_yet_fails_the_run_by_name(rig: Rig) -> None:
    from db import datasets

    unread = datasets.create(rig.user, name="unread")
    row = rig.ended(rig.train(dataset=unread.id))
    assert row.state == "failed" and row.error is not None and row.error["kind"] == "dataset_unready"


def test_run_nobody_rang_for_is_found_all_the_same(rig: Rig) -> None:
    row = rig.ended(rig.train(ring=False))
    assert row.state == "succeeded", row.error


def test_ringing_many_times_trains_once(rig: Rig) -> None:
    run_id = rig.train()
    for _ in range(10):
        client.submit(run_id)
    row = rig.ended(run_id)
    assert row.state == "succeeded" and row.attempts == 1
    assert len(adapters.find(rig.user, runs=[run_id])) == 1


def test_queue_state_counts_workers_slots_and_the_broker(rig: Rig) -> None:
    state = client.queue_state()
    assert state["workers"] == 1 and state["slots"] == 1 and state["broker"] is True


def test_cancelled_run_resumes_where_it_stopped(rig: Rig) -> None:
    run_id = rig.train(epochs=12, checkpoint_every=5)
    rig.checkpointed(run_id)
    runs.ask_stop(rig.user, run_id, "discard")
    assert rig.ended(run_id).state == "cancelled"
    runs.resume(rig.user, run_id)
    client.submit(run_id)
    until(lambda: rig.state(run_id) in ("succeeded", "failed"), 60)
    row = runs.get(rig.user, run_id)
    assert row.state == "succeeded"
    assert any("went on from" in line.text or "Going on from" in line.text for line in runs.log(rig.user, run_id))
