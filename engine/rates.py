"""The learning-rate range test in numbers (Smith, 2017): which rates are tried, and what their losses say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from engine.spec import RateTest

#: The test ends once the smoothed loss is above its start and so many times its lowest.
BLOWN_UP = 4.0
#: Width of the smoothing, as a share of the updates.
SMOOTHING = 0.04
#: Updates over which the loss's steepest fall is measured, as a share of all.
SLOPE = 0.08
#: Per cent of the updates, at the lowest rates, whose mean loss is where the others start from.
BEGINNING = 12
#: The loss must fall by so many times what chance does to the smoothed loss before any rate is suggested.
CERTAIN = 6.0
#: Rates reach from the run's own divided by this to it times this, but to no more than MOST.
REACH, MOST = 100.0, 10.0


class Suggestion(BaseModel):
    """What a range test found. Rates are peak learning rates; each is None where the losses do not show it.

    `steepest`: where the loss fell fastest. `lowest`: where it was lowest. `blow_up`: where all that was learned was
    lost again, or the loss was no number any more. `suggested`: the one to use, two digits.
    """

    model_config = ConfigDict(frozen=True)

    suggested: float | None
    steepest: float | None
    lowest: float | None
    blow_up: float | None
    why: str


def ladder(test: RateTest, own: float) -> list[float]:
    """Return the rate of each update: equal factors from the lowest to the highest, by default around the `own` one."""
    lowest, highest = test.lowest or own / REACH, test.highest or min(own * REACH, MOST)
    if lowest >= highest:
        lowest, highest = (lowest, min(lowest * REACH, MOST)) if test.highest is None else (highest / REACH, highest)
    step = math.log(highest / lowest) / (test.updates - 1)
    return [lowest * math.exp(step * number) for number in range(test.updates)]


def smooth(losses: Sequence[float], updates: int | None = None) -> list[float]:
    """Return the losses smoothed by a Gaussian over the neighbours on both sides, so that nothing is shifted.

    `updates` is the length of the whole test, which the width goes by.
    """
    values = np.asarray(losses, dtype=float)
    if not len(values):
        return []
    width = max(1.0, SMOOTHING * (updates or len(values)))
    apart = np.arange(len(values))[:, None] - np.arange(len(values))[None, :]
    weights = np.exp(-0.5 * (apart / width) ** 2)
    return [float(value) for value in weights @ values / weights.sum(1)]


def blown_up(losses: Sequence[float], updates: int) -> bool:
    """Whether the newest loss is no number, or the smoothed one is far above both its lowest and its start."""
    if not math.isfinite(losses[-1]):
        return True
    smoothed = smooth(losses, updates)
    return len(smoothed) > 5 and smoothed[-1] > max(BLOWN_UP * min(smoothed), smoothed[0])


def suggest(rates: Sequence[float], losses: Sequence[float], updates: int) -> Suggestion:
    """Return what the losses at these rates say.

    The rate of the steepest fall is suggested, but none nearer than a factor of ten to where the loss blows up, and
    none beyond the lowest loss.
    """
    count = next((place for place, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    values = np.array(smooth(losses[:count], updates))
    half = max(1, round(SLOPE * updates / 2))
    bottom = int(values.argmin()) if count else 0
    start = float(np.mean(losses[:min(count, BEGINNING * updates // 100)])) if count else 0.0
    lost = [place for place in range(bottom + 1, count) if values[place] >= start]
    blow_up = rates[lost[0]] if lost else rates[count] if count < len(losses) else None
    if bottom < 2 * half or start - values[bottom] <= CERTAIN * _chance(losses, values, bottom, updates):
        return Suggestion(suggested=None, steepest=None, lowest=None, blow_up=blow_up, why=_nothing(blow_up))
    slopes = (values[2 * half:bottom + 1] - values[:bottom + 1 - 2 * half]) / (2 * half)
    steepest, lowest = rates[int(slopes.argmin()) + half], rates[bottom]
    most = blow_up / 10 if blow_up else math.inf
    chosen = min(steepest, most)
    why = (f"The loss fell fastest at {steepest:.2g}." if chosen == steepest else
           f"The loss fell fastest at {steepest:.2g}, but that is too near {blow_up:.2g}, where it blew up.")
    return Suggestion(suggested=float(f"{chosen:.1e}"), steepest=steepest, lowest=lowest, blow_up=blow_up, why=why)


def _chance(losses: Sequence[float], values: np.ndarray, bottom: int, updates: int) -> float:
    """Return how far the smoothed loss is off by chance: the spread around it, over as many losses as it averages."""
    spread = float(np.std(np.asarray(losses[:bottom + 1]) - values[:bottom + 1]))
    averaged = 2 * math.sqrt(math.pi) * max(1.0, SMOOTHING * updates)
    return max(spread / math.sqrt(averaged), 1e-3 * abs(float(values[0])))


def _nothing(blow_up: float | None) -> str:
    return ("The loss only rose: try a lower range." if blow_up is not None
            else "The loss hardly fell at any rate: try more updates or a higher range.")
