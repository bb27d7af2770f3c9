"""Rows after the steps of preparation, as files that are there while they are counted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def files(parquet: Path, evaluation: Path | None, steps: Sequence[dict[str, Any]], *,
          evaluates: bool = False) -> Iterator[tuple[Path, Path | None]]:
    """Yield files of the rows to learn from and to evaluate on after `steps`; the given ones where there are none.

    `evaluates` tells that the rows are to evaluate on: they go through some of the steps only. The seed is the usual
    one of a run. Raises DataError.
    """
    if not steps:
        yield parquet, evaluation
        return
    import pyarrow.parquet as pq

    from engine import preparation
    from engine.spec import Training

    known = preparation.parse(list(steps))
    held = pq.read_table(evaluation) if evaluation is not None else None
    made = preparation.apply(pq.read_table(parquet), preparation.for_evaluation(known) if evaluates else known,
                             Training().seed, held=held)
    with tempfile.TemporaryDirectory(dir=parquet.parent, prefix="prepared-") as folder:
        train, other = Path(folder) / "rows.parquet", Path(folder) / "evaluation.parquet"
        pq.write_table(made.train, train)
        if made.eval is not None:
            pq.write_table(made.eval, other)
        yield train, other if made.eval is not None else None
