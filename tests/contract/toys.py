"""Small runs on the small shared models: their data, their specs, and ways to start them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine import spec as specs
from engine.events import Event, from_line
from engine.spec import RunSpec

ROOT = Path(__file__).resolve().parents[2]
OPENINGS = ("the film was", "I thought it felt", "a really", "this was so", "what a")
WORDS = {"good": ("great", "lovely", "superb", "nice", "happy"), "bad": ("awful", "bad", "terrible", "sad", "poor")}


def texts(folder: Path, rows: int = 120) -> Path:
    """Write a csv of labelled texts of many lengths."""
    chance = random.Random(0)
    lines = ["text,label"]
    for i in range(rows):
        label = ("good", "bad")[i % 2]
        tail = "thing " * chance.randint(0, 14)
        lines.append(f"{chance.choice(OPENINGS)} {chance.choice(WORDS[label])} {tail},{label}")
    path = folder / "texts.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def talks(folder: Path, rows: int = 40) -> Path:
    """Write a jsonl of short conversations."""
    chance = random.Random(0)
    path = folder / "talks.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(rows):
            who = chance.choice(("a dog", "Tim", "the sun", "Lily"))
            answer = f"Once upon a time there was {who}. " * (1 + i % 4)
            file.write(json.dumps({"messages": [{"role": "user", "content": f"Tell me about {who}, story {i}."},
                                                {"role": "assistant", "content": answer.strip()}]}) + "\n")
    return path


def spec(shared: Path, data: Path, method: dict[str, Any] | None = None, **training: Any) -> RunSpec:
    """Return the spec of a run on `data`: bert-tiny for a csv, stories260k for conversations."""
    task, model = ("text_classification", "bert-tiny") if data.suffix == ".csv" else ("causal_lm", "stories260k")
    return specs.parse({
        "task": task, "model": {"id": str(shared / "models" / model)}, "data": {"train": str(data)},
        "method": method or {"name": "lora", "dropout": 0.05},
        "training": {"epochs": 2, "batch_size": 8, "max_length": 64, "seed": 5} | training})


def child(run: RunSpec, out: Path) -> subprocess.Popen[str]:
    """Start a run as a process of its own, on one thread."""
    out.mkdir(parents=True, exist_ok=True)
    path = out.with_suffix(".json")
    path.write_text(run.to_json(), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, "-m", "engine.train", str(path), "--out", str(out)], cwd=ROOT,
                            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def events(out: Path) -> list[Event]:
    """Return what the journal of a run holds so far, a torn last line left out."""
    path = out / "events.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [from_line(line) for line in lines if line.endswith("\n")]


def weights(out: Path) -> bytes:
    """Return the bytes of the saved adapter or model."""
    found = [*out.glob("adapter/*.safetensors"), *out.glob("model/*.safetensors")]
    assert len(found) == 1
    return found[0].read_bytes()


def result(out: Path) -> dict[str, Any]:
    """Return result.json."""
    return json.loads((out / "result.json").read_text(encoding="utf-8"))
