"""Sides taken in turn (A B A B …), each in a fresh process; medians of ratios; floors and MFU."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.environment import cpu_features
from engine.shape import ModelShape

ROOT = Path(__file__).resolve().parents[1]


def measure(spec: dict[str, Any], sides: Sequence[str], rounds: int, threads: int) -> dict[str, list[dict[str, Any]]]:
    """Return `rounds` measurements of each side, taken in turn."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"spec": spec}), encoding="utf-8")
        for turn in range(rounds):
            for side in sides:
                found[side].append(once(side, job, threads))
                last = found[side][-1]
                print(f"round {turn + 1}  {side:<8} cpu {last['cpu_seconds']:7.2f} s  "
                      f"wall {last['wall_seconds']:7.2f} s  "
                      f"padding {last['padding_fraction']:.2f}  load {last['load']:.1f}", flush=True)
    return found


def once(side: str, job: Path, threads: int) -> dict[str, Any]:
    """Return one measurement of one side."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1",
                                "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([sys.executable, "-m", "bench.peers", side, str(job)], cwd=ROOT, env=environment,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def ratios(found: dict[str, list[dict[str, Any]]], clock: str) -> dict[str, float]:
    """Return, for each peer, the median over rounds of its time over ours."""
    return {side: statistics.median(theirs[clock] / ours[clock]
                                    for theirs, ours in zip(runs, found["ours"], strict=True))
            for side, runs in found.items() if side != "ours"}


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    return {"cpu_features": [name for name, there in cpu_features().items() if there], "cores": os.cpu_count(),
            "load_average": [round(value, 2) for value in os.getloadavg()], "date": time.strftime("%Y-%m-%d")}


def flops(shape: ModelShape, lengths: Sequence[int], adapter: int, *, causal: bool, scored: int | None = None) -> float:
    """Return the FLOPs of one epoch: 4PT + 6PaT + 3·attention; P counts matrix weights inside the blocks.

    Every block has trained parameters, so the backward pass through the frozen weights goes all the way down.
    `scored` tokens also pass the output layer of a language model, forwards and backwards.
    """
    tokens = sum(lengths)
    inside = sum(m.d_in * m.d_out for m in shape.modules if m.kind == "linear" and m.layer is not None)
    attention = 4 * shape.hidden * sum(n * n for n in lengths) * shape.layers * (0.5 if causal else 1)
    output = 4 * shape.hidden * shape.vocab * scored if scored else 0
    return 4 * inside * tokens + 6 * adapter * tokens + 3 * attention + output


def best_rate(shape: ModelShape, dtype: str, threads: int, tokens: int = 1024) -> float:
    """Return the best FLOP/s of F.linear at the model's own shapes, in this dtype on this many threads."""
    import torch

    torch.set_num_threads(threads)
    kind = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    sizes = {(m.d_in, m.d_out) for m in shape.modules if m.kind == "linear" and m.layer is not None}
    best = 0.0
    for d_in, d_out in sizes:
        x, w = torch.randn(tokens, d_in, dtype=kind), torch.randn(d_out, d_in, dtype=kind)
        for _ in range(3):
            torch.nn.functional.linear(x, w)
        times = []
        for _ in range(10):
            started = time.perf_counter()
            torch.nn.functional.linear(x, w)
            times.append(time.perf_counter() - started)
        best = max(best, 2 * tokens * d_in * d_out / min(times))
    return best


def report(title: str, found: dict[str, list[dict[str, Any]]], work: float, rows: int, metric: str,
           rate: dict[str, float]) -> dict[str, Any]:
    """Print and return the table of one comparison. `work` in FLOPs, `rate` in FLOP/s by number format."""
    table: dict[str, Any] = {"title": title, "machine": machine(), "ratios_cpu": ratios(found, "cpu_seconds"),
                             "ratios_wall": ratios(found, "wall_seconds"), "sides": {}}
    for side, runs in found.items():
        cpu = statistics.median(run["cpu_seconds"] for run in runs)
        wall = statistics.median(run["wall_seconds"] for run in runs)
        table["sides"][side] = {
            "rows_per_second": rows / wall, "cpu_seconds": cpu, "wall_seconds": wall,
            "padding_fraction": statistics.median(run["padding_fraction"] for run in runs),
            "mfu": work / (rate[runs[0]["precision"]] * wall),
            "of_best": work / (max(rate.values()) * wall),
            metric: statistics.mean(run["metrics"][metric] for run in runs)}
    print(json.dumps(table, indent=1))
    return table
