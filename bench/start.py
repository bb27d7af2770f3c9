"""Starting: a run from its submission to its first optimizer step, warm and cold, and the studio itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench import server
from bench.report import ROOT, Row, quantile

SAMPLE = ROOT / "studio" / "samples" / "support_tickets.csv"
MODEL = "starter/minilm-l6"
TRAINING = {"epochs": 5, "learning_rate": 2e-3, "batch_size": 16, "max_length": 64}
MEDIAN_LIMIT, WORST_LIMIT, COLD_RATIO, UP_LIMIT = 2.0, 3.0, 1.1, 8.0


def measure(quick: bool) -> list[Row]:
    """Return the rows, in seconds."""
    runs, colds, ups = (4, 1, 1) if quick else (12, 7, 3)
    return [*_studio(runs, ups), *_cold(colds)]


# -- warm: the whole studio --------------------------------------------------------------------------------------------

def _studio(runs: int, ups: int) -> list[Row]:
    with server.data_folder() as folder:
        answered, taken, child = list[float](), list[float](), list[float]()
        with server.everything(folder) as process:
            process.answered()
        for turn in range(ups):
            with server.everything(folder) as process:
                answered.append(process.answered())
                if turn == ups - 1:
                    taken, child = _submitted(process.address, folder, runs)
    note = f"{runs} runs, {', '.join(f'{one:.2f}' for one in sorted(taken))}"
    inside = f"of it inside the child, from its first event: median {quantile(child, 0.5):.2f} s"
    return [
        Row("Submit to first optimizer step, warm, p50", quantile(taken, 0.5), "s", MEDIAN_LIMIT, note=inside),
        Row("Submit to first optimizer step, warm, p95", quantile(taken, 0.95), "s", WORST_LIMIT, note=note),
        Row("`up` to the first page answered", quantile(answered, 0.5), "s", UP_LIMIT,
            note=f"median of {ups}, {', '.join(f'{one:.1f}' for one in sorted(answered))}")]


def _submitted(address: str, folder: Path, count: int) -> tuple[list[float], list[float]]:
    """Submit runs one after another; returns the seconds from POST to first step, and those inside the child."""
    taken, inside = [], []
    with httpx.Client(base_url=f"{address}/api/v1", timeout=60) as client:
        dataset = prepared(client, folder)
        for number in range(count):
            spec = document(dataset, seed=number, max_steps=2)
            sent = time.time()
            run = client.post("/runs", json=spec)
            run.raise_for_status()
            ended(client, run.json()["id"])
            times = _times(next(folder.glob(f"runs/{run.json()['id']}/attempt-*/events.jsonl")))
            taken.append(times["StepsTrained"] - sent)
            inside.append(times["StepsTrained"] - times["RunStarted"])
    return taken, inside


def document(dataset: str, **training: Any) -> dict[str, Any]:
    """Return the RunSpec of the sample run."""
    return {"task": "text_classification", "model": {"id": MODEL},
            "data": {"train": dataset, "columns": {"text": "text", "label": "intent"}},
            "method": {"name": "lora", "r": 8, "alpha": 16}, "training": TRAINING | training}


def prepared(client: httpx.Client, folder: Path) -> str:
    """Add the sample file and the starter model; once they and the nursery are ready, return the dataset's id."""
    from db import workers
    from db.users import User

    with SAMPLE.open("rb") as file:
        made = client.post("/datasets", files={"file": (SAMPLE.name, file)}, data={
            "task": "text_classification", "columns": json.dumps({"text": "text", "label": "intent"})})
    made.raise_for_status()
    dataset = str(made.json()["id"])
    model = client.post("/models", json={"id": MODEL})
    model.raise_for_status()
    for path in (f"/datasets/{dataset}", f"/models/{model.json()['id']}"):
        state = server.until(lambda path=path: _settled(client, path), 180)
        if state != "ready":
            raise RuntimeError(f"{path} is {state}")
    anybody = User("us_anybody", "anybody")
    server.until(lambda: any(row.device.get("warm") for row in workers.find(anybody, within=30)), 180)
    return dataset


def ended(client: httpx.Client, run: str, seconds: float = 300) -> dict[str, Any]:
    """Wait until a run is over and return it; raises RuntimeError unless it succeeded."""
    state = server.until(lambda: _settled(client, f"/runs/{run}"), seconds)
    row = dict(client.get(f"/runs/{run}").json())
    if state != "succeeded":
        raise RuntimeError(f"the run is {state}: {row.get('error')}")
    return row


def _settled(client: httpx.Client, path: str) -> str:
    state = str(client.get(path).json()["state"])
    return state if state in ("ready", "succeeded", "failed", "cancelled") else ""


def _times(journal: Path) -> dict[str, float]:
    """Return when each kind of event happened first (Unix time, seconds)."""
    found: dict[str, float] = {}
    for line in journal.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        found.setdefault(event["event"], event["at"])
    return found


# -- cold: a fresh process each ----------------------------------------------------------------------------------------

def _cold(rounds: int) -> list[Row]:
    from engine import models

    folder = models.locate(MODEL).path
    ours, plain = [], []
    for _ in range(rounds):
        ours.append(_cold_ours())
        plain.append(_cold_plain(folder))
    return [Row("Cold `python -m engine.train` to first step", quantile(ours, 0.5), "s", quantile(plain, 0.5), "peer",
                COLD_RATIO, note=f"median of {rounds}, interleaved; peer: Trainer script, bench/plain.py")]


def _cold_ours() -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spec.json").write_text(json.dumps(document(str(SAMPLE), max_steps=1)))
        began = time.time()
        subprocess.run([sys.executable, "-m", "engine.train", str(folder / "spec.json"), "--out", str(folder / "out")],
                       cwd=ROOT, check=True, capture_output=True, env=_offline())
        return _times(folder / "out" / "events.jsonl")["StepsTrained"] - began


def _cold_plain(model: Path) -> float:
    began = time.time()
    done = subprocess.run([sys.executable, str(ROOT / "bench" / "plain.py"), str(model), str(SAMPLE), "text", "intent"],
                          check=True, capture_output=True, text=True, env=_offline())
    told = next(line for line in done.stdout.splitlines() if line.startswith("first step at "))
    return float(told.rpartition(" ")[2]) - began


def _offline() -> dict[str, str]:
    """Return the environment of both; ours may not reuse the tokens of an earlier round."""
    return os.environ | {"HF_HUB_OFFLINE": "1", "STUDIO_TOKEN_CACHE_BYTES": "0"}
