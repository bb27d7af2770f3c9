"""How numbers of rows are spread: lengths, scores."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel

BINS = 30


class Histogram(BaseModel):
    """How long rows are: `counts[i]` rows from `edges[i]` up to `edges[i + 1]`; `over` is the share over `limit`.

    `rows` were looked at; `sampled` tells whether that was only a part of them.
    """

    edges: list[float]
    counts: list[int]
    mean: float
    p50: float
    p95: float
    max: float
    rows: int
    sampled: bool = False
    limit: int | None = None
    over: float = 0.0


def histogram(values: np.ndarray, *, whole: bool = True, limit: int | None = None,
              sampled: bool = False) -> Histogram | None:
    """Return a histogram with at most BINS bins of equal width, at whole numbers when values are counts."""
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    if whole:
        width = max(1, int(np.ceil((high - low + 1) / BINS)))
        edges = np.arange(low, high + 1 + width, width)
    else:
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    counts, edges = np.histogram(values, bins=edges)
    return Histogram(
        edges=[float(edge) for edge in edges], counts=[int(count) for count in counts], mean=float(values.mean()),
        p50=float(np.percentile(values, 50)), p95=float(np.percentile(values, 95)), max=high, rows=len(values),
        sampled=sampled, limit=limit, over=float((values > limit).mean()) if limit else 0.0)


def nothing() -> Histogram:
    """Return the histogram of no rows."""
    return Histogram(edges=[], counts=[], mean=0.0, p50=0.0, p95=0.0, max=0.0, rows=0)
