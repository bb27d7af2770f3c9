"""chrF: how many letters in a row two texts have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

#: Longest run of letters that is counted, and how much more recall weighs than precision.
ORDER, BETA = 6, 2


def statistics(written: str, references: Sequence[str]) -> list[int]:
    """Return (written, expected, common) counts of runs of 1 to 6 letters, 18 numbers, against the best reference.

    Blanks do not count. Source: Popović (2015), with the settings of sacrebleu 2.
    """
    own = _runs(written)
    found = [[number for one, two in zip(own, _runs(text), strict=True) for number in _counted(one, two)]
             for text in references]
    return max(found, key=score)


def score(counts: Sequence[float]) -> float:
    """Return chrF, 0 to 100, of the counts of one text or of the sums over many."""
    precision = recall = orders = 0.0
    for written, expected, common in zip(counts[::3], counts[1::3], counts[2::3], strict=True):
        if written and expected:
            precision, recall, orders = precision + common / written, recall + common / expected, orders + 1
    if not precision + recall:
        return 0.0
    precision, recall, weight = precision / orders, recall / orders, BETA ** 2
    return 100 * (1 + weight) * precision * recall / (weight * precision + recall)


def _runs(text: str) -> list[Counter[str]]:
    letters = "".join(text.split())
    return [Counter(letters[i:i + size] for i in range(len(letters) - size + 1)) for size in range(1, ORDER + 1)]


def _counted(one: Counter[str], two: Counter[str]) -> tuple[int, int, int]:
    # Runs longer than the reference itself are nobody's fault.
    return one.total() if two else 0, two.total(), (one & two).total()
