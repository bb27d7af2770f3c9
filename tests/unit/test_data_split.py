"""A share of the rows is kept aside: seeded, proportional, never empty."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.split import split


def table(labels: list[str]) -> pa.Table:
    return pa.table({"row": range(len(labels)), "label": labels})


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from("abcde"), min_size=2, max_size=120), st.floats(0.01, 0.89), st.integers(0, 99))
def test_no_row_is_lost_and_both_parts_have_rows(labels: list[str], fraction: float, seed: int) -> None:
    whole = table(labels)
    train, held = split(whole, fraction, seed, "label")
    assert sorted(train["row"].to_pylist() + held["row"].to_pylist()) == list(range(len(labels)))
    assert train.num_rows and held.num_rows
    if len(set(labels)) < len(labels):
        assert set(train["label"].to_pylist()) == set(labels)
    assert held.equals(split(whole, fraction, seed, "label")[1])


def test_classes_keep_their_share() -> None:
    train, held = split(table(["a"] * 800 + ["b"] * 190 + ["c"] * 9 + ["d"]), 0.1, 3, "label")
    assert Counter(held["label"].to_pylist()) == {"a": 80, "b": 19, "c": 1}
    assert "d" in train["label"].to_pylist()


def test_another_seed_keeps_other_rows() -> None:
    whole = table(["a", "b"] * 50)
    assert not split(whole, 0.2, 1, "label")[1].equals(split(whole, 0.2, 2, "label")[1])


def test_one_row_stays_in_train() -> None:
    train, held = split(table(["a"]), 0.5, 0, None)
    assert (train.num_rows, held.num_rows) == (1, 0)
