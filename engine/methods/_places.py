"""Which numbers of a model a random control trains: as many as asked for, the same for a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from engine.shape import Module

if TYPE_CHECKING:
    import numpy as np

Pattern = Literal["random_uniform", "random_rows"]


def counts(modules: Sequence[Module], wanted: int, pattern: Pattern, seed: int) -> dict[str, int]:
    """Return how many numbers of each module are trained; they add up to `wanted` exactly."""
    if pattern == "random_uniform":
        return {name: len(index) for name, index in _scattered(modules, wanted, seed).items()}
    return {name: sum(length for _, _, length in lines) for name, lines in _lines(modules, wanted, seed).items()}


def shared(sizes: Sequence[int], wanted: int, names: Sequence[str]) -> dict[str, int]:
    """Return `wanted` shared out in proportion to `sizes`, by the largest remainders."""
    total = sum(sizes)
    exact = [wanted * size / total for size in sizes]
    whole = [int(value) for value in exact]
    first = sorted(range(len(sizes)), key=lambda i: (whole[i] - exact[i], i))
    for i in first[:wanted - sum(whole)]:
        whole[i] += 1
    return {name: count for name, count in zip(names, whole, strict=True) if count}


def places(modules: Sequence[Module], wanted: int, pattern: Pattern, seed: int) -> dict[str, np.ndarray]:
    """Return the places of each module's trained numbers, (n,) ascending, through weight as stored, then bias."""
    if pattern == "random_uniform":
        return _scattered(modules, wanted, seed)
    lines = _lines(modules, wanted, seed)
    return {m.name: _cells(m, lines[m.name]) for m in modules if m.name in lines}


def _scattered(modules: Sequence[Module], wanted: int, seed: int) -> dict[str, np.ndarray]:
    """Draw numbers one by one, each as likely as any other of the modules' weights and biases."""
    import numpy as np

    ends = np.cumsum([m.parameters for m in modules])
    drawn = np.random.default_rng(seed).choice(int(ends[-1]), wanted, replace=False, shuffle=False)
    parts = np.split(np.sort(drawn), np.searchsorted(np.sort(drawn), ends[:-1]))
    return {m.name: part - (end - m.parameters) for m, part, end in zip(modules, parts, ends, strict=True) if len(part)}


def _lines(modules: Sequence[Module], wanted: int, seed: int) -> dict[str, list[tuple[bool, int, int]]]:
    """Draw whole rows and columns until `wanted` weights are chosen; only the last one is cut short.

    A line is (is a row, its number, how many new weights it brings): where a row crosses a chosen column, the weight
    counts once.
    """
    import numpy as np

    chance = np.random.default_rng([seed, len(modules)])
    ends = np.cumsum([m.d_in + m.d_out for m in modules])
    found: dict[str, list[tuple[bool, int, int]]] = {}
    left = wanted
    for place in chance.permutation(int(ends[-1])):
        if not left:
            break
        number = int(np.searchsorted(ends, place, side="right"))
        module = modules[number]
        line = int(place - (ends[number - 1] if number else 0))
        is_row, line = line < module.d_out, line if line < module.d_out else line - module.d_out
        own = found.setdefault(module.name, [])
        crossed = sum(row != is_row for row, _, _ in own)
        length = min(left, (module.d_in if is_row else module.d_out) - crossed)
        own.append((is_row, line, length))
        left -= length
    return {name: [line for line in lines if line[2]] for name, lines in found.items() if any(n for _, _, n in lines)}


def _cells(module: Module, lines: Sequence[tuple[bool, int, int]]) -> np.ndarray:
    """Return the places of the weights on these lines of one matrix; a row is what makes one output."""
    import numpy as np

    chosen = np.zeros((module.d_out, module.d_in), dtype=bool)
    for is_row, number, length in lines:
        line = chosen[number] if is_row else chosen[:, number]
        line[np.flatnonzero(~line)[:length]] = True
    return np.flatnonzero((chosen.T if module.transposed else chosen).reshape(-1))
