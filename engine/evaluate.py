"""Scoring the eval rows: batches of like length, no gradients, the task's own metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.batches import split
from engine.control import Control
from engine.journal import finite
from engine.memory import LARGER
from engine.tasks.terms import Encoded, Outputs

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.parts import Parts

#: Examples shown from each end.
SHOWN = 20


@dataclass(frozen=True)
class Held:
    """Rows to score: encoded, as a table, the column of each role, and the name their hidden states are kept under."""

    encoded: Encoded
    table: pa.Table
    columns: dict[str, str]
    name: str = "eval"


def to_device(batch: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the batch with its tensors on `device`."""
    if device == "cpu":
        return batch
    return {name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()}


def score(parts: Parts, held: Held | None = None) -> Outputs:
    """Return metrics and records over the eval rows, or others; the model is left in evaluation mode."""
    if held is None:
        assert parts.eval is not None
        held = Held(parts.eval, parts.eval_table, parts.columns)
    parts.model.eval()
    with torch.inference_mode(), parts.formats.context(parts.device):
        return parts.task.evaluate(parts.model, held.encoded, held.table, held.columns,  # type: ignore[arg-type]
                                   held.encoded.labels, _batches(parts, held))


def sample(parts: Parts) -> list[dict[str, Any]]:
    """Return what the model writes now to a few of the eval rows; no random number is drawn. Raises Stopped."""
    assert parts.eval is not None
    if parts.hidden is not None:
        parts.hidden.absent()
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), parts.formats.context(parts.device):
        return parts.task.sample(parts.model.eval(), parts.eval, parts.eval_table, parts.columns)  # type: ignore[arg-type]


def _batches(parts: Parts, held: Held) -> Iterator[tuple[list[int], dict[str, Any]]]:
    rows = held.encoded.rows
    lengths = [parts.task.length(row) for row in rows]
    for chosen in split(range(len(rows)), lengths, parts.plan.budget * LARGER, parts.packed):
        if Control.urgent():
            Control.check()
        batch = parts.task.collate([rows[i] for i in chosen], parts.pad_id, packed=parts.packed)
        batch = to_device(batch, parts.device)
        yield chosen, batch if parts.hidden is None else parts.hidden.present(held.name, chosen, batch)
    if parts.hidden is not None:
        parts.hidden.absent()


def write_examples(outputs: Outputs, path: Path, ask: Callable[[int], dict[str, Any]] = lambda row: {},
                   numbers: Sequence[int] = ()) -> int:
    """Write the best and worst predictions to examples.json, each row once; return how many.

    `ask(row)` tells what was asked in a row, role by role; `numbers` are the rows' numbers in the dataset's file, from
    1, written beside where they are known.
    """
    half = min(SHOWN, (len(outputs.examples) + 1) // 2)
    worst = outputs.examples[:half]
    best = outputs.examples[half:][::-1][:SHOWN]
    shown = {name: [record | {"asked": ask(record["row"])}
                    | ({"number": numbers[record["row"]]} if numbers else {}) for record in records]
             for name, records in (("best", best), ("worst", worst))}
    path.write_text(json.dumps(finite(shown), ensure_ascii=False, indent=1), encoding="utf-8")
    return len(worst) + len(best)
