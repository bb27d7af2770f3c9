"""`peft-studio demo` on an empty data folder: broker, worker, training and all, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.starter import STARTERS, installed

ROOT = Path(__file__).resolve().parents[2]


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")} | {
        "STUDIO_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1",
        # Other tests may run beside this one: threads that wait for each other on busy cores wait long.
        "STUDIO_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "studio", "demo", *arguments], env=environment, cwd=folder.parent,
                          capture_output=True, text=True, timeout=280)


@pytest.mark.slow
@pytest.mark.skipif(not installed(STARTERS["starter/minilm-l6"]), reason="needs the starter model's package")
def test_the_demo_trains_the_sample_and_leaves_an_adapter_and_no_process(data_dir: Path):
    done = demo(data_dir, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["state"] == "succeeded" and facts["accuracy"] == facts["metrics"]["accuracy"]
    assert facts["accuracy"] > 3 / 8, "eight labels, so chance is one in eight"
    parameters = facts["parameters"]
    assert 0 < parameters["trained"] < parameters["total"] / 20
    adapter = Path(facts["adapter"]["path"])
    assert (adapter / "adapter_config.json").is_file()
    weights = (adapter / "adapter_model.safetensors").stat().st_size
    assert weights > 10_000 and facts["adapter"]["bytes"] == weights, "as the list of adapters shows"
    assert 0 < facts["seconds"]["train"] < facts["seconds"]["total"]
    left = [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get(
        "STUDIO_DATA_DIR") == str(data_dir) and one.pid != os.getpid()]
    assert left == []


def test_a_demo_that_cannot_run_says_why_and_fails(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    blocked = data_dir / "blocked"
    blocked.write_text("a file where the data folder should be")
    done = demo(blocked, "--json")
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert json.loads(done.stderr.strip().splitlines()[-1])["kind"] == "data_folder_invalid"
