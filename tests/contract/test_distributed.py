"""Two processes train one run together and learn what one process learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toys
from safetensors.torch import load_file

from engine import events as happened

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def test_two_processes_learn_what_one_learns(shared: Path, tmp_path: Path) -> None:
    plan = toys.spec(shared, toys.texts(tmp_path), {"name": "lora"}, precision="fp32", epochs=1)
    path = tmp_path / "spec.json"
    path.write_text(plan.to_json(), encoding="utf-8")
    # The classifier of the model has dropout of its own, which differs between processes: train without it.
    base = tmp_path / "bert-tiny"
    base.mkdir()
    for file in (shared / "models" / "bert-tiny").iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    config = (base / "config.json").read_text(encoding="utf-8")
    (base / "config.json").write_text(config.replace('"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.0'),
                                      encoding="utf-8")
    path.write_text(plan.to_json().replace(str(shared / "models" / "bert-tiny"), str(base)), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m"]
    commands = {"one": [sys.executable, "-m"], "two": launch}
    for name, command in commands.items():
        done = subprocess.run([*command, "engine.train", str(path), "--out", str(tmp_path / name)], cwd=toys.ROOT,
                              env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=2e-4) for name in one)
    told = toys.events(tmp_path / "two")
    assert [event.seq for event in told] == list(range(len(told)))
    assert isinstance(told[-1], happened.RunSucceeded)
    losses = [[e.metrics["loss"] for e in toys.events(tmp_path / name) if isinstance(e, happened.Evaluated)]
              for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
