"""Values of several sorts in one column: the few rows are named and counted, not the many."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.data import read, records
from engine.findings import Finding


def told(folder: Path, values: Sequence[Any]) -> list[Finding]:
    """Return what reading says of the sorts of values in a column."""
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": value}) for value in values))
    return [one for one in read.ingest(path, folder / "rows.parquet").findings if one.kind == "mixed_types"]


@pytest.mark.parametrize("size", [7, 20_000], ids=["in several batches", "in one"])
def test_the_few_are_named_though_they_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(records, "SIZE", size)
    (one,) = told(tmp_path, [12345 if i % 10 == 0 else f"text {i}" for i in range(120)])
    assert one.what == "'text' holds numbers in 12 of 120 rows; all are read as texts, first in row 1."
    assert (one.rows, one.count, one.where) == ([1], 12, "row 1, column text")


@pytest.mark.parametrize("size", [7, 20_000], ids=["in several batches", "in one"])
def test_rows_that_are_read_again_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(records, "SIZE", size)
    values = [*range(30), 0.5, *(f"text {i}" for i in range(10)), ["a", "b"], None]
    (one,) = told(tmp_path, values)
    assert one.what == ("'text' holds lists in 1 and texts in 10 of 42 rows; all are read as lists, first in row 32.")
    assert (one.rows, one.count) == ([32], 11)


def test_whole_numbers_and_fractions_are_of_one_sort(tmp_path: Path) -> None:
    assert not told(tmp_path, [1, 2.5, 3])
    (one,) = told(tmp_path, ["a", "b", "c", 2.5, 3])
    assert "numbers in 2 of 5 rows" in one.what and one.rows == [4]
