"""Which examples make an update, and how they are laid out as tensors with as little padding as possible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Updates whose examples are sorted by length together, when updates are made of examples of like length.
WINDOW = 16


@dataclass(frozen=True)
class Update:
    """The examples of one optimizer update, split into micro-batches of row indices."""

    micro: list[list[int]]

    @property
    def rows(self) -> list[int]:
        """All row indices of the update."""
        return [row for batch in self.micro for row in batch]


@dataclass(frozen=True)
class Plan:
    """How an epoch is cut. `size` examples an update; `budget` padded tokens a micro-batch.

    `window` updates are drawn together and sorted by length before they are cut into updates again; 1 leaves every
    update a plain random sample. `packed` means that micro-batches carry no padding, so only real tokens count.
    """

    size: int
    budget: int
    window: int = 1
    packed: bool = False

    def updates(self, rows: int) -> int:
        """Return the number of updates in one epoch over `rows` examples."""
        return math.ceil(rows / self.size)

    def epoch(self, lengths: Sequence[int], seed: int, epoch: int) -> list[Update]:
        """Return the updates of epoch number `epoch` (from 0): the same for the same arguments, always."""
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(len(lengths))
        sizes = np.asarray(lengths)
        groups: list[np.ndarray] = []
        for start in range(0, len(order), self.size * self.window):
            chosen = order[start:start + self.size * self.window]
            if self.window > 1:
                chosen = chosen[np.argsort(-sizes[chosen], kind="stable")]
            cut = [chosen[i:i + self.size] for i in range(0, len(chosen), self.size)]
            groups += [cut[i] for i in random.permutation(len(cut))] if self.window > 1 else cut
        return [Update(split([int(i) for i in group], lengths, self.budget, self.packed)) for group in groups]


def split(rows: Sequence[int], lengths: Sequence[int], budget: int, packed: bool = False) -> list[list[int]]:
    """Cut `rows` into micro-batches of like length, each of at most `budget` padded (packed: real) tokens.

    Every row has a place: one longer than the budget is a batch of its own. Longest first, so that a shortage of memory
    shows at once.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    tokens = 0
    for row in sorted(rows, key=lambda i: (-lengths[i], i)):
        added = lengths[row] if packed or not batch else lengths[batch[0]]
        if batch and tokens + added > budget:
            batches.append(batch)
            batch, tokens, added = [], 0, lengths[row]
        batch.append(row)
        tokens += added
    if batch:
        batches.append(batch)
    return batches


def homogeneous(lengths: Sequence[int], overhead: int) -> list[list[int]]:
    """Return the rows in blocks of like length, longest first, so that Σ(longest · rows + overhead) is least.

    `overhead` is what a block costs by itself, in tokens. Exact: dynamic programming over the sorted distinct lengths.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    starts = [i for i, row in enumerate(order) if i == 0 or lengths[row] != lengths[order[i - 1]]]
    edges = [*starts, len(order)]
    best, came = [0.0], [0]
    for end in range(1, len(edges)):
        costs = [best[start] + lengths[order[edges[start]]] * (edges[end] - edges[start]) + overhead
                 for start in range(end)]
        came.append(min(range(end), key=costs.__getitem__))
        best.append(costs[came[-1]])
    blocks, end = [], len(edges) - 1
    while end:
        blocks.append(order[edges[came[end]]:edges[end]])
        end = came[end]
    return blocks[::-1]


@dataclass
class Layout:
    """Rows of a batch as blocks of like length laid end to end on one axis of `tokens` places, the last of them unused.

    A block is (rows, length). `index` (batch, longest) tells where each row's tokens are, in the order of the batch;
    places beyond a row's end repeat its first. `lengths` are the rows' own, in the order of the batch.
    """

    blocks: list[tuple[int, int]]
    block_lengths: list[list[int]]
    index: Any
    lengths: list[int]
    tokens: int
    cache: dict[Any, Any]


def padded_tokens(batches: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    """Return the tokens computed, padding included, when each batch is padded to its longest row."""
    return sum(len(batch) * max(lengths[i] for i in batch) for batch in batches if batch)


def positions(total_epochs: float, per_epoch: int, max_steps: int | None) -> int:
    """Return the number of updates a run makes."""
    total = math.ceil(total_epochs * per_epoch - 1e-9)
    return max(1, min(total, max_steps) if max_steps else total)


def pad(rows: Sequence[Mapping[str, Any]], fill: Mapping[str, int], *, left: bool = False,
        multiple: int = 1) -> dict[str, Any]:
    """Return int64 arrays (batch, longest) of each column that `fill` names, filled up with it, and `attention_mask`.

    `left` pads before the tokens; lengths are rounded up to `multiple`.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    longest = -(-longest // multiple) * multiple
    arrays = {name: np.full((len(rows), longest), value, dtype=np.int64) for name, value in fill.items()
              if name in rows[0]}
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for i, row in enumerate(rows):
        count = len(row["input_ids"])
        place = slice(longest - count, longest) if left else slice(0, count)
        mask[i, place] = 1
        for name, array in arrays.items():
            array[i, place] = row[name]
    return arrays | {"attention_mask": mask}


#: What one more block costs in attention calls, in tokens' worth of work.
BLOCK_OVERHEAD = 8
#: Lengths of blocks and of batches are rounded up to multiples of these: the CPU's kernels are generated anew, and
#: kept, for every shape they meet.
LENGTH_STEP, TOKEN_STEP = 4, 64


def flatten(rows: Sequence[Mapping[str, Any]], fill: Mapping[str, int]) -> dict[str, Any]:
    """Return int64 arrays (1, tokens) of each column that `fill` names, restarting `position_ids`, and the `layout`."""
    lengths = [len(row["input_ids"]) for row in rows]
    rounded = [-(-length // LENGTH_STEP) * LENGTH_STEP for length in lengths]
    blocks = homogeneous(rounded, BLOCK_OVERHEAD)
    shapes = [(len(block), rounded[block[0]]) for block in blocks]
    tokens = -(-sum(count * length for count, length in shapes) // TOKEN_STEP) * TOKEN_STEP
    arrays = {name: np.full((1, tokens), value, dtype=np.int64) for name, value in fill.items() if name in rows[0]}
    places = np.zeros((1, tokens), dtype=np.int64)
    index = np.zeros((len(rows), max(lengths)), dtype=np.int64)
    start = 0
    for block, (_, length) in zip(blocks, shapes, strict=True):
        for row in block:
            own = lengths[row]
            places[0, start:start + length] = np.minimum(np.arange(length), own - 1)
            index[row] = start
            index[row, :own] = np.arange(start, start + own)
            for name, array in arrays.items():
                array[0, start:start + own] = rows[row][name]
            start += length
    layout = Layout(shapes, [[lengths[i] for i in block] for block in blocks], index, lengths, tokens, {})
    return arrays | {"position_ids": places, "layout": layout}


def chunks(count: int, size: int) -> Iterator[range]:
    """Yield ranges that cover 0..count in steps of `size`."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
