"""Small runs for the storage tests to tell."""

from __future__ import annotations

from typing import Any

from db import leases
from engine.events import (
    Evaluated,
    Event,
    RunCancelled,
    RunFailed,
    RunInterrupted,
    RunPrepared,
    RunStarted,
    RunSucceeded,
    StageEntered,
    StepsTrained,
)
from engine.spec import RunSpec, parse

PARAMETERS = {"trained": 300, "stored": 300, "head": 20, "total": 10_000, "percent": 3.0}
RESULT: dict[str, Any] = {
    "state": "succeeded", "metrics": {"accuracy": 0.9, "loss": 0.4}, "parameters": PARAMETERS, "adapter_bytes": 1200,
    "steps": 2, "labels": ["ham", "spam"]}

#: A run that began, trained two steps and was evaluated.
STARTED: list[Event] = [
    RunStarted(seq=0, at=100.0),
    StageEntered("load", "Loading the model.", seq=1, at=101.0),
    RunPrepared(10, PARAMETERS, {"learning_rate": 1e-3}, 80, 20, 3, 4096, seq=2, at=102.0),
    StepsTrained(1, 0.1, {"loss": 2.0, "learning_rate": 1e-3, "grad_norm": 1.5}, eta=9.0, seq=3, at=103.0),
    StepsTrained(2, 0.2, {"loss": 1.5, "learning_rate": 9e-4, "grad_norm": 1.2}, eta=8.0, seq=4, at=104.0),
    Evaluated(2, 0.2, {"accuracy": 0.75, "loss": 0.6}, best=True, seq=5, at=105.0),
]

#: What may come after STARTED, by the state it leads to.
END: dict[str, Event] = {
    "succeeded": RunSucceeded(RESULT, seq=6, at=106.0),
    "cancelled": RunCancelled(False, {"metrics": {}, "steps": 2}, seq=6, at=106.0),
    "interrupted": RunInterrupted(2, seq=6, at=106.0),
    "failed": RunFailed({"kind": "out_of_memory", "what": "There is not enough memory.", "where": "training",
                         "try_this": "Choose smaller batches."}, seq=6, at=106.0),
}


def make_spec(method: str = "lora", model: str = "starter/minilm-l6") -> RunSpec:
    """Return the settings of a text classification run."""
    return parse({"task": "text_classification", "model": {"id": model}, "data": {"train": "ds_somewhere"},
                  "method": {"name": method}})


def take(worker: str = "worker-1", **kwargs: Any) -> leases.Claimed:
    """Claim the next run, which must be there."""
    found = leases.claim(worker, **kwargs)
    assert found is not None
    return found
