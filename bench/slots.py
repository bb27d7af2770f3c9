"""Two runs at once on two slots, a share of the cores each, beside the same two one after the other on one slot."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from bench import server, start
from bench.report import Row

ROUNDS, EPOCHS = 3, 6


def measure(quick: bool) -> list[Row]:
    """Return the row, in seconds from the first submission until both runs are over."""
    rounds, epochs = (1, 1) if quick else (ROUNDS, EPOCHS)
    with ExitStack() as stack:
        # Both studios stand ready throughout, so that the two ways can be taken in turn; the one not asked is idle.
        one, two = _studio(stack, 1), _studio(stack, 2)
        apart: list[float] = []
        together: list[float] = []
        for turn in range(rounds):
            apart.append(_both(*one, seed=turn, epochs=epochs))
            together.append(_both(*two, seed=turn, epochs=epochs))
    note = f"median of {rounds}, interleaved; MiniLM LoRA, {epochs} epochs of the sample tickets each"
    return [Row("Two runs at once on two slots, both over", statistics.median(together), "s", statistics.median(apart),
                "peer", note=note + "; peer: one after the other on one slot")]


def _studio(stack: ExitStack, slots: int) -> tuple[httpx.Client, str]:
    """Start a studio; returns a client of its API and the id of the sample dataset there."""
    folder: Path = stack.enter_context(server.data_folder())
    process = stack.enter_context(server.everything(folder, STUDIO_SLOTS=str(slots)))
    process.answered("/readyz")
    client = stack.enter_context(httpx.Client(base_url=f"{process.address}/api/v1", timeout=60))
    return client, start.prepared(client, folder)


def _both(client: httpx.Client, dataset: str, **training: Any) -> float:
    began = time.time()
    runs = []
    for _ in range(2):
        answer = client.post("/runs", json=start.document(dataset, **training))
        answer.raise_for_status()
        runs.append(answer.json()["id"])
    return max(_moment(start.ended(client, run)["finished_at"]) for run in runs) - began


def _moment(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    import datetime

    return datetime.datetime.fromisoformat(str(value)).timestamp()
