"""A run that several processes share, as `accelerate launch` and `torchrun` start them: two on the processor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file

from engine import tiny
from engine.events import StepsTrained
from engine.train import main

#: Clocks that differ as much as clocks can: the first process never finds anything due, the second always.
PROCESS = """
import os, sys
from pathlib import Path
from engine import loop, train
rank = int(os.environ["RANK"])
loop.REPORTS_A_SECOND, loop.CHECKPOINT_SECONDS = (1e9, 0.0) if rank else (1e-9, 1e9)
Path(sys.argv[3], f"pid{rank}").write_text(str(os.getpid()))
sys.exit(train.main(sys.argv[1:]))
"""


def document(folder: Path, **training: Any) -> Path:
    """Write the spec of a run in full precision and without dropout, whose rows do not divide by two evenly."""
    path, model = folder / "spec.json", tiny.folder("bert", folder)
    written = model / "config.json"
    known = json.loads(written.read_text())
    written.write_text(json.dumps(known | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    path.write_text(json.dumps({
        "task": "text_classification", "model": {"id": str(model)},
        "data": {"train": str(toys.texts(folder, rows=75))}, "method": {"name": "lora", "dropout": 0.0},
        "training": {"epochs": 3, "batch_size": 5, "max_length": 64, "seed": 5, "precision": "fp32"} | training}))
    return path


def launch(spec: Path, out: Path) -> subprocess.Popen[str]:
    """Start the run as two processes."""
    out.mkdir(exist_ok=True)
    script = spec.with_name("process.py")
    script.write_text(PROCESS)
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), str(spec),
         "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[2],
        start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def ended(process: subprocess.Popen[str]) -> int:
    """Return the exit code; what was printed is shown when it hangs."""
    try:
        process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"the processes wait for each other:\n{process.communicate()[0][-3000:]}")
    return process.returncode


def adapter(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter" / "adapter_model.safetensors")


@pytest.mark.usefixtures("one_thread")
def test_two_processes_learn_what_one_does_and_agree_on_what_their_clocks_say(tmp_path: Path) -> None:
    spec = document(tmp_path)
    assert main([str(spec), "--out", str(tmp_path / "one")]) == 0
    assert ended(launch(spec, tmp_path / "two")) == 0
    one, two = adapter(tmp_path / "one"), adapter(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4)
    results = [toys.result(tmp_path / name) for name in ("one", "two")]
    assert results[0]["steps"] == results[1]["steps"]
    assert results[0]["metrics"]["loss"] == pytest.approx(results[1]["metrics"]["loss"], abs=1e-4)
    told = [event.step for event in toys.events(tmp_path / "two") if isinstance(event, StepsTrained)]
    assert told == list(range(1, results[1]["steps"] + 1)), "one clock was due before every update"


def test_a_signal_that_one_of_two_processes_hears_stops_both_where_they_go_on(tmp_path: Path) -> None:
    spec, out = document(tmp_path, epochs=30, eval_every="never"), tmp_path / "two"
    process, deadline = launch(spec, out), time.monotonic() + 120
    while not any(isinstance(event, StepsTrained) and event.step > 3 for event in toys.events(out)):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)
    os.kill(int((out / "pid1").read_text()), signal.SIGTERM)
    assert ended(process) != 0
    interrupted = toys.result(out)
    assert interrupted["state"] == "interrupted" and (out / "checkpoints").is_dir()
    assert ended(launch(spec, out)) == 0
    gone_on = toys.result(out)
    assert gone_on["state"] == "succeeded" and gone_on["steps"] > interrupted["steps"] > 3
    assert ended(launch(spec, tmp_path / "whole")) == 0
    whole = adapter(tmp_path / "whole")
    assert all(torch.equal(value, whole[name]) for name, value in adapter(out).items())
