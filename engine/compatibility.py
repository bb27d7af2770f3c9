"""What was really tried: every method on every architecture, task and storage, and what came of it.

The record, compatibility.json, is written by `make matrix`, which runs each cell; nothing in it is assumed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from engine.methods.base import Method
from engine.shape import ModelShape

State = Literal["works", "refused", "fails"]
RECORD = Path(__file__).with_name("compatibility.json")
#: How the record calls a base that is not quantized.
PLAIN = "plain"


class Tried(NamedTuple):
    """What came of a cell; `reason` says why it is refused or what failed."""

    state: State
    reason: str = ""


@cache
def record() -> dict[str, dict[str, dict[str, dict[str, Tried]]]]:
    """Return what was tried by method, model type, task and storage ("plain", "int8", "nf4")."""
    if not RECORD.exists():
        return {}
    stored = json.loads(RECORD.read_text(encoding="utf-8"))
    reasons: list[str] = stored["reasons"]

    def cell(value: str | list[object]) -> Tried:
        if isinstance(value, str):
            return Tried("works")
        state, number = value
        return Tried("fails" if state == "fails" else "refused", reasons[int(str(number))])

    return {method: {kind: {task: {storage: cell(value) for storage, value in storages.items()}
                            for task, storages in by_task.items()} for kind, by_task in by_type.items()}
            for method, by_type in stored["cells"].items()}


def tried(method: str, model_type: str, task: str, quantization: str | None) -> Tried | None:
    """Return what came of this combination when it was tried; None where nobody has."""
    storages = record().get(method, {}).get(model_type, {}).get(task, {})
    return storages.get(quantization or PLAIN)


def obstacles(method: Method, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
    """Return why a method cannot train this model for this task: what it says itself, else how it was seen to fail."""
    reasons = method.obstacles(shape.for_task(task), task, quantization)
    found = tried(method.name, shape.model_type, task, quantization)
    if not reasons and found is not None and found.state == "fails":
        reasons = [f"Tried on {shape.model_type} models, it failed: {found.reason}"]
    return reasons


def write(cells: dict[str, dict[str, dict[str, dict[str, Tried]]]], path: Path = RECORD) -> None:
    """Write the record; reasons that repeat are written once."""
    numbers: dict[str, int] = {}

    def value(cell: Tried) -> str | list[object]:
        return "works" if cell.state == "works" else [cell.state, numbers.setdefault(cell.reason, len(numbers))]

    made = {method: {kind: {task: {storage: value(cell) for storage, cell in storages.items()}
                            for task, storages in by_task.items()} for kind, by_task in by_type.items()}
            for method, by_type in cells.items()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(content, ensure_ascii=False)}"
                       for name, content in made.items())
    reasons = json.dumps(list(numbers), ensure_ascii=False, indent=1)
    path.write_text(f'{{"reasons": {reasons},\n"cells": {{\n{lines}\n}}}}\n', encoding="utf-8")
