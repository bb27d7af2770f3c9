"""The record of what goes with what is true: a sample of its cells, run again, comes to the same."""

from __future__ import annotations

import random
from pathlib import Path

import matrix
import pytest

from engine import compatibility, methods, tiny
from engine.compatibility import PLAIN

#: Cells run again; each takes about a second.
SAMPLE = 30
ARCHITECTURES = tiny.SMALL | tiny.CONVOLUTIONAL


def test_the_record_knows_every_method_and_every_architecture() -> None:
    record = compatibility.record()
    assert list(record) == list(methods.every()), "run `make matrix` for the methods that are missing"
    kinds = {tiny.configuration(name).model_type for name in ARCHITECTURES}
    assert {name: set(by_type) for name, by_type in record.items()} == dict.fromkeys(record, kinds)


def test_nothing_in_the_record_fails() -> None:
    """A combination that fails when it is tried must be mended, or refused by the method itself with a reason."""
    failing = [(method, kind, task, storage, what.reason) for method, by_type in compatibility.record().items()
               for kind, by_task in by_type.items() for task, storages in by_task.items()
               for storage, what in storages.items() if what.state == "fails"]
    assert failing == []


@pytest.mark.slow
def test_a_sample_of_the_matrix_comes_to_what_is_recorded(tmp_path: Path) -> None:
    shapes, folders = matrix.prepared(ARCHITECTURES, tmp_path)
    every = list(matrix.cells(compatibility.record(), ARCHITECTURES, shapes))
    chosen = random.Random(20).sample(every, SAMPLE)
    found = matrix.run(chosen, shapes, folders, tmp_path / "cells")
    recorded = {cell: compatibility.tried(cell.method, shapes[cell.architecture].model_type, cell.task,
                                          None if cell.storage == PLAIN else cell.storage) for cell in chosen}
    assert {cell: what.state for cell, what in found.items()} == {
        cell: what.state if what else None for cell, what in recorded.items()}
