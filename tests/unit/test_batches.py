"""Updates are random samples of equal size, laid out with little padding, and the same every time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine.batches import Plan, flatten, homogeneous, pad, padded_tokens, positions, split
from engine.share import Share

LENGTHS = [int(n) for n in np.random.default_rng(0).integers(3, 90, size=101)]


@pytest.mark.parametrize("window", [1, 8])
def test_an_epoch_holds_every_row_once_in_updates_of_equal_size(window: int) -> None:
    updates = Plan(size=16, budget=512, window=window).epoch(LENGTHS, seed=7, epoch=0)
    assert sorted(row for update in updates for row in update.rows) == list(range(101))
    assert sorted(len(update.rows) for update in updates) == [5, *[16] * 6]


def test_the_same_seed_gives_the_same_epoch_and_another_epoch_another_order() -> None:
    plan = Plan(size=16, budget=512)
    assert plan.epoch(LENGTHS, 7, 3) == plan.epoch(LENGTHS, 7, 3)
    assert plan.epoch(LENGTHS, 7, 3) != plan.epoch(LENGTHS, 7, 4)
    assert plan.epoch(LENGTHS, 7, 3) != plan.epoch(LENGTHS, 8, 3)


def test_updates_do_not_sort_by_length_unless_asked() -> None:
    def spread(plan: Plan) -> float:
        return float(np.mean([np.ptp([LENGTHS[i] for i in update.rows]) for update in plan.epoch(LENGTHS, 1, 0)]))

    assert spread(Plan(16, 512, window=8)) < spread(Plan(16, 512)) / 3


def test_micro_batches_stay_within_the_budget_unless_one_row_alone_is_longer() -> None:
    batches = split(range(101), LENGTHS, budget=80)
    assert all(padded_tokens([batch], LENGTHS) <= 80 or len(batch) == 1 for batch in batches)
    assert sorted(itertools.chain(*batches)) == list(range(101))


def test_packed_micro_batches_count_real_tokens_only() -> None:
    batches = split([0, 1, 2, 3], [50, 10, 10, 10], budget=80, packed=True)
    assert batches == [[0, 1, 2, 3]]
    assert len(split([0, 1, 2, 3], [50, 10, 10, 10], budget=80)) == 2


def test_blocks_cost_as_little_as_any_way_to_cut_the_sorted_rows() -> None:
    lengths = [9, 30, 31, 8, 30, 12, 64]

    def cost(blocks: list[list[int]]) -> int:
        return padded_tokens(blocks, lengths) + 5 * len(blocks)

    order = sorted(range(7), key=lambda i: (-lengths[i], i))
    every = [[order[a:b] for a, b in itertools.pairwise([0, *cuts, 7])]
             for size in range(7) for cuts in itertools.combinations(range(1, 7), size)]
    assert cost(homogeneous(lengths, 5)) == min(cost(blocks) for blocks in every)


def test_flattened_rows_are_found_again_by_the_index_of_the_layout() -> None:
    rows = [{"input_ids": np.arange(1, n + 1) + 100 * i} for i, n in enumerate((5, 40, 7, 5))]
    batch = flatten(rows, {"input_ids": 0})
    for i, row in enumerate(rows):
        places = batch["layout"].index[i, :len(row["input_ids"])]
        assert batch["input_ids"][0, places].tolist() == row["input_ids"].tolist()
        assert batch["position_ids"][0, places].tolist() == list(range(len(row["input_ids"])))
    assert batch["layout"].tokens == batch["input_ids"].size < 4 * 40


def test_padding_fills_on_the_right_or_left_and_the_mask_shows_where() -> None:
    rows = [{"input_ids": [1, 2, 3]}, {"input_ids": [4]}]
    assert pad(rows, {"input_ids": 0})["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0]]
    left = pad(rows, {"input_ids": 0}, left=True)
    assert left["input_ids"].tolist() == [[1, 2, 3], [0, 0, 4]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_processes_share_every_update_without_overlap() -> None:
    update = Plan(16, 512).epoch(LENGTHS, 7, 0)[0]
    parts = [[row for batch in Share(rank, 3).of(update) for row in batch] for rank in range(3)]
    assert sorted(itertools.chain(*parts)) == sorted(update.rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= len(update.micro)


@pytest.mark.parametrize(("epochs", "limit", "total"), [(3, None, 30), (0.25, None, 3), (3, 7, 7), (0.01, None, 1)])
def test_a_run_makes_whole_updates_up_to_its_limit(epochs: float, limit: int | None, total: int) -> None:
    assert positions(epochs, 10, limit) == total
