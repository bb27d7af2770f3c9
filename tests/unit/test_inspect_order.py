"""Reading a large file tells what it has found while it goes on counting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.data import blocks, paging, stats
from worker.orders import inspect_dataset


class Heard:
    """A line to a worker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, dict[str, Any]]] = []

    def progress(self, fraction: float, text: str = "", **facts: Any) -> None:
        self.told.append((fraction, text, dict(facts)))

    def cancelled(self) -> bool:
        return False


@pytest.mark.parametrize("large", [0, 1 << 30])
def test_rows_and_counts_are_told_as_they_come(large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 30)
    monkeypatch.setattr(paging, "SCANNED", 500)
    monkeypatch.setattr(stats, "EVERY", -1.0)
    monkeypatch.setattr(inspect_dataset, "LARGE", large)
    (tmp_path / "rows.csv").write_text("text,label,more\n" + "".join(
        f"some words {n},{'ab'[n % 2]},{n}\n" for n in range(200)))
    line: Any = Heard()
    found = inspect_dataset.carry_out({"original": str(tmp_path / "rows.csv"),
                                       "parquet": str(tmp_path / "rows.parquet"), "source": None}, line)
    fractions = [fraction for fraction, _, _ in line.told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    early = [facts for _, text, facts in line.told if text == "Counting" and facts]
    assert 30 <= early[0]["stats"]["counted"] < 100
    assert all(facts["rows"] == 200 and facts["columns"] == found["columns"] for facts in early)
    assert (found["stats"]["counted"], found["stats"]["labels"]) == (None, {"a": 100, "b": 100})
    assert not [finding for finding in found["findings"] if finding["level"] == "error"]
