"""result.json: how a run ended, and what it took."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.environment import peak_bytes
from engine.journal import finite

if TYPE_CHECKING:
    from engine.train import Attempt

#: What a run's time is counted under.
SECONDS = ("start", "load", "prepare", "train", "eval", "save", "total")


def write(attempt: Attempt, state: str, error: dict[str, str] | None = None) -> dict[str, Any]:
    """Write result.json from what is known so far, and return it."""
    loop, seconds = attempt.loop, attempt.seconds
    trained = loop.whole.seconds + loop.recent.seconds if loop else 0.0
    seconds |= {"train": trained, "eval": loop.seconds["eval"] if loop else 0.0,
                "total": time.monotonic() - attempt.began}
    result: dict[str, Any] = {
        "state": state, "metrics": {}, "best": loop.best if loop else None, "parameters": {},
        "seconds": {name: round(seconds.get(name, 0.0), 3) for name in SECONDS},
        "throughput": _throughput(attempt, trained), "adapter_bytes": 0,
        "steps": loop.step if loop else 0, "epochs": loop.epoch if loop else 0.0, "error": error,
        "resolved": attempt.resolved, "early_stopped": bool(
            loop and state == "succeeded" and loop.step < attempt.parts.total_steps)}
    result |= attempt.result
    result["memory"] = {"peak_rss_bytes": peak_bytes(), "peak_cuda_bytes": _cuda_bytes(attempt.device),
                        "estimated_bytes": attempt.result.get("memory", {}).get("estimated_bytes", 0)}
    result = finite(result)
    if attempt.rank == 0:
        _write(attempt.out / "result.json", result)
    return result


def _cuda_bytes(device: str) -> int:
    if not device.startswith("cuda"):
        return 0
    import torch

    return torch.cuda.max_memory_allocated()


def _throughput(attempt: Attempt, trained: float) -> dict[str, float]:
    loop = attempt.loop
    if loop is None or not loop.computed or not trained:
        return {"examples_per_second": 0.0, "tokens_per_second": 0.0, "padding_fraction": 0.0}
    examples = loop.whole.examples + loop.recent.examples
    tokens = loop.whole.tokens + loop.recent.tokens
    padding = 1 - loop.real / (loop.computed * attempt.world)
    return {"examples_per_second": round(examples / trained, 3), "tokens_per_second": round(tokens / trained, 1),
            "padding_fraction": round(max(0.0, padding), 4) if math.isfinite(padding) else 0.0}


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(f".tmp-{path.name}")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
