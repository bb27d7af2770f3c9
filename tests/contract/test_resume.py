"""Interrupted anywhere and resumed, a run ends with the bytes it would have had."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toys

from engine import events as happened
from engine.events import Event
from engine.train import Control, run

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("one_thread")]


def wait_for(process: subprocess.Popen[str], out: Path, there: Callable[[Event], bool]) -> None:
    """Wait until the journal of a running child holds such an event."""
    deadline = time.monotonic() + 90
    while not any(there(event) for event in toys.events(out)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def interrupt_at(step: int, kind: type[Event] = happened.StepsTrained) -> Callable[[Event], None]:
    """Return a listener that asks for an interrupt when an event of `kind` tells of `step`."""

    def listen(event: Event) -> None:
        if isinstance(event, kind) and getattr(event, "step", -1) >= step:
            Control.request("interrupt")

    return listen


@pytest.fixture(params=["texts", "talks", "full"])
def plan(request: pytest.FixtureRequest, shared: Path, tmp_path: Path) -> Any:
    data = toys.talks(tmp_path) if request.param == "talks" else toys.texts(tmp_path)
    method = {"name": "full"} if request.param == "full" else None
    return toys.spec(shared, data, method, checkpoint_every=4, epochs=3)


def test_a_run_interrupted_twice_ends_with_the_same_bytes(plan: Any, tmp_path: Path) -> None:
    run(plan, tmp_path / "whole")
    first = run(plan, tmp_path / "parts", on_event=interrupt_at(1))
    assert first["state"] == "interrupted"
    second = run(plan, tmp_path / "parts", on_event=interrupt_at(9, happened.CheckpointSaved))
    third = run(plan, tmp_path / "parts")
    steps = [first["steps"], second["steps"], third["steps"]]
    assert third["state"] == "succeeded" and steps == sorted(set(steps)), steps
    assert toys.weights(tmp_path / "parts") == toys.weights(tmp_path / "whole")
    assert third["metrics"] == toys.result(tmp_path / "whole")["metrics"]


def test_an_interrupt_during_evaluation_does_not_lose_the_evaluation(shared: Path, tmp_path: Path) -> None:
    plan = toys.spec(shared, toys.texts(tmp_path))
    run(plan, tmp_path / "whole")
    per_epoch = next(e.step for e in toys.events(tmp_path / "whole") if isinstance(e, happened.Evaluated))
    parts = tmp_path / "parts"
    assert run(plan, parts, on_event=interrupt_at(per_epoch))["state"] == "interrupted"
    assert not [e for e in toys.events(parts) if isinstance(e, happened.Evaluated)]
    run(plan, parts)

    def evaluations(out: Path) -> list[Any]:
        return [(e.step, e.metrics, e.best) for e in toys.events(out) if isinstance(e, happened.Evaluated)]

    assert evaluations(parts) == evaluations(tmp_path / "whole")
    assert toys.weights(parts) == toys.weights(tmp_path / "whole")


def test_sigterm_and_kill_leave_a_run_that_resumes_to_the_same_bytes(shared: Path, tmp_path: Path) -> None:
    plan = toys.spec(shared, toys.texts(tmp_path), epochs=12, checkpoint_every=5)
    run(plan, tmp_path / "whole")
    parts = tmp_path / "parts"
    process = toys.child(plan, parts)
    wait_for(process, parts, lambda event: isinstance(event, happened.CheckpointSaved))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "RunInterrupted" not in (parts / "events.jsonl").read_text(encoding="utf-8")
    done = max(e.step for e in toys.events(parts) if isinstance(e, happened.CheckpointSaved))
    process = toys.child(plan, parts)
    wait_for(process, parts, lambda event: isinstance(event, happened.CheckpointSaved) and event.step > done)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 3
    told = toys.events(parts)
    assert isinstance(told[-1], happened.RunInterrupted)
    assert [event.seq for event in told] == list(range(len(told)))
    assert [e.resumed_from is None for e in told if isinstance(e, happened.RunStarted)] == [True, False]
    assert toys.result(parts)["state"] == "interrupted"
    assert run(plan, parts)["state"] == "succeeded"
    assert toys.weights(parts) == toys.weights(tmp_path / "whole")


def test_a_damaged_checkpoint_is_skipped_for_the_one_before_it(shared: Path, tmp_path: Path) -> None:
    plan = toys.spec(shared, toys.texts(tmp_path), checkpoint_every=4)
    run(plan, tmp_path / "whole")
    parts = tmp_path / "parts"
    run(plan, parts, on_event=interrupt_at(12, happened.CheckpointSaved))
    newest, older = sorted((parts / "checkpoints").glob("step-*"), reverse=True)[:2]
    weights = newest / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3] + b"\x00\x01\x02")
    last = run(plan, parts)
    told = toys.events(parts)
    assert [e.resumed_from for e in told if isinstance(e, happened.RunStarted)] == [None, int(older.name[5:])]
    assert any("was skipped" in e.text for e in told if isinstance(e, happened.Logged))
    assert last["state"] == "succeeded" and toys.weights(parts) == toys.weights(tmp_path / "whole")


def test_an_unfinished_checkpoint_is_never_taken(shared: Path, tmp_path: Path) -> None:
    plan = toys.spec(shared, toys.texts(tmp_path), checkpoint_every=4)
    parts = tmp_path / "parts"
    run(plan, parts, on_event=interrupt_at(8, happened.CheckpointSaved))
    for path in (parts / "checkpoints").glob("step-*"):
        path.rename(path.with_name(".tmp-" + path.name))
    run(plan, parts)
    assert [e.resumed_from for e in toys.events(parts) if isinstance(e, happened.RunStarted)] == [None, None]
    assert not list((parts / "checkpoints").glob(".tmp-*"))


def test_another_attempt_goes_on_from_the_folder_of_the_first(shared: Path, tmp_path: Path) -> None:
    plan = toys.spec(shared, toys.texts(tmp_path), checkpoint_every=4)
    run(plan, tmp_path / "whole")
    run(plan, tmp_path / "one", on_event=interrupt_at(8, happened.CheckpointSaved))
    second = run(plan, tmp_path / "two", checkpoint_dirs=[tmp_path / "one" / "checkpoints"])
    assert second["state"] == "succeeded"
    assert next(e.resumed_from for e in toys.events(tmp_path / "two") if isinstance(e, happened.RunStarted)) >= 8
    assert toys.weights(tmp_path / "two") == toys.weights(tmp_path / "whole")


def test_other_settings_do_not_go_on_from_this_checkpoint(shared: Path, tmp_path: Path) -> None:
    data = toys.texts(tmp_path)
    out = tmp_path / "out"
    run(toys.spec(shared, data, checkpoint_every=4), out, on_event=interrupt_at(4, happened.CheckpointSaved))
    run(toys.spec(shared, data, checkpoint_every=4, seed=6), out)
    assert [e.resumed_from for e in toys.events(out) if isinstance(e, happened.RunStarted)] == [None, None]


@pytest.mark.parametrize(("mode", "saved"), [("save", True), ("discard", False)])
def test_stopping_saves_or_discards_as_stop_json_says(mode: str, saved: bool, shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def listen(event: Event) -> None:
        if isinstance(event, happened.StepsTrained):
            (out / "stop.json").write_text(json.dumps({"mode": mode}), encoding="utf-8")
            signal.raise_signal(signal.SIGTERM)

    found = run(toys.spec(shared, toys.texts(tmp_path)), out, on_event=listen)
    last = toys.events(out)[-1]
    assert found["state"] == "cancelled" and isinstance(last, happened.RunCancelled) and last.saved is saved
    assert (out / "adapter" / "adapter_model.safetensors").exists() is saved
    assert bool(found["metrics"]) is saved


def test_early_stopping_keeps_the_best_weights(shared: Path, tmp_path: Path) -> None:
    plan = toys.spec(shared, toys.texts(tmp_path), epochs=20, eval_every=4, learning_rate=0.05,
                     early_stopping={"patience": 2})
    found = run(plan, tmp_path / "out")
    evaluations = [e for e in toys.events(tmp_path / "out") if isinstance(e, happened.Evaluated)]
    best = max(evaluations, key=lambda e: (e.metrics["accuracy"], -e.step))
    assert found["early_stopped"] and found["best"]["step"] == best.step == found["saved_step"] < found["steps"]
    assert found["metrics"]["accuracy"] == best.metrics["accuracy"]
