"""The bench of exactness measures what it says, on a model small enough for every day."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import exactness
from engine import attention

pytestmark = pytest.mark.shared


def test_packed_tokens_lose_what_they_lose_alone(shared: Path) -> None:
    row = exactness.measure(True, str(shared / "models" / "stories260k"))[0]
    assert row.met and 0 <= row.ours <= 1e-5


def test_rows_that_see_each_other_are_noticed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = attention.set_layout
    monkeypatch.setattr(exactness, "SPREAD", 0.5)
    calls = {"packed": 0}

    def forget(layout: attention.Layout | None, answers: object = None) -> None:
        # The first packed batch is the one that decides whether the model can be packed.
        calls["packed"] += layout is not None
        real(layout if calls["packed"] < 3 else None)

    monkeypatch.setattr(attention, "set_layout", forget)
    row = exactness.measure(True, str(shared / "models" / "stories260k"))[0]
    assert row.met is False
