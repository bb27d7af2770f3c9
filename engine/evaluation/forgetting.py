"""What a model could do before it was trained, measured again afterwards: on a second dataset, or on neutral text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.data import columns as roles
from engine.data import read
from engine.digits import short
from engine.errors import DataError
from engine.evaluation.neutral import Neutral
from engine.evaluation.report import NEUTRAL, Forgetting

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.preparation import Prepared
    from engine.tasks.base import Task
    from engine.train import Attempt


class ForgettingUnfit(DataError):
    """The second dataset, on which forgetting is to be measured, does not fit: {problem}"""

    kind = "forgetting_unfit"
    try_this = "Choose a dataset of the same task with the same columns, 'neutral', or none."


@dataclass(frozen=True)
class Second:
    """The rows of the second dataset, the column of each role, and what is to be said of its preparation."""

    table: pa.Table
    columns: dict[str, str]
    note: str = ""


def second(attempt: Attempt, task: Task, columns: dict[str, str], labels: list[str],
           prepared: Prepared) -> Second | None:
    """Return the second dataset, prepared as rows to evaluate on are; None where none is asked for.

    Raises ForgettingUnfit and what reading raises.
    """
    wanted = attempt.spec.data.forgetting
    if wanted in (None, NEUTRAL) or attempt.spec.rate_test:
        return None
    table, note = _prepared(read.read(attempt.sources.forgetting or Path(str(wanted))), prepared)
    if note:
        attempt.log(note)
    if not set(columns.values()) <= set(table.column_names):
        guessed = roles.guess(table)
        lost = sorted(set(columns) - set(guessed.columns)) if guessed.task == task.name else sorted(columns)
        if lost:
            raise ForgettingUnfit("data.forgetting", problem=f"it has no column for {', '.join(lost)}.")
        columns = {role: column for role, column in guessed.columns.items() if role in columns}
    if not table.num_rows:
        raise ForgettingUnfit("data.forgetting", problem="it has no rows.")
    known = set(task.label_names(table, columns))
    if labels and known and not known & set(labels):
        raise ForgettingUnfit("data.forgetting", problem=(
            f"none of its labels ({', '.join(sorted(known)[:3])}, …) is learned here."))
    return Second(table, columns, note)


def _prepared(table: pa.Table, prepared: Prepared) -> tuple[pa.Table, str]:
    """Return the rows after the steps that fit them, and which do not; raises ForgettingUnfit."""
    rows = table.num_rows
    table, said = prepared.others(table)
    if rows and not table.num_rows:
        raise ForgettingUnfit("data.forgetting", problem="the steps of preparation leave none of its rows.")
    return table, f"In the second dataset: {' '.join(said)}" if said else ""


class Watch:
    """Takes the measure before training and after it."""

    def __init__(self, attempt: Attempt) -> None:
        """Raises NotMeasurable."""
        self._attempt = attempt
        self._on, self._measure, self._greater, self._take = _measuring(attempt)
        second = attempt.rows.second
        self._note = second.note if second is not None else ""

    def before(self) -> None:
        """Measure the model as training finds it; random numbers are left as they were."""
        from engine import checkpoint

        loop = self._attempt.loop
        assert loop is not None
        if loop.step or loop.before is not None:
            return
        states = checkpoint.rng_state()
        loop.before = self._take()
        checkpoint.restore_rng(states)
        self._attempt.log(f"Before training: {self._measure.replace('_', ' ')} {short(loop.before)} on {self._on}.")

    def after(self) -> Forgetting:
        """Return both measures and their difference."""
        loop = self._attempt.loop
        assert loop is not None
        after, before = self._take(), loop.before
        known = before is not None and math.isfinite(before) and math.isfinite(after)
        return Forgetting(on=self._on, measure=self._measure, before=before, after=after,
                          change=after - before if known and before is not None else None,
                          greater_is_better=self._greater,
                          note=" ".join(filter(None, [
                              "" if before is not None else "It was not measured before training.", self._note])))


def watch(attempt: Attempt) -> Watch | None:
    """Return what measures forgetting, after the measure before training was taken; None where nobody asked."""
    from engine import checkpoint

    if attempt.spec.data.forgetting is None or attempt.spec.rate_test:
        return None
    with attempt.stage("prepare", "Measuring what the base model can do"):
        states = checkpoint.rng_state()
        made = Watch(attempt)
        made.before()
        # Loading a head may have drawn numbers.
        checkpoint.restore_rng(states)
    return made


def _measuring(attempt: Attempt) -> tuple[str, str, bool, Callable[[], float]]:
    """Return on what is measured, what, whether more of it is better, and the function that measures."""
    task = attempt.parts.task
    if attempt.spec.data.forgetting == NEUTRAL:
        neutral = Neutral(attempt)
        return "neutral text", neutral.measure, False, neutral
    from engine import evaluate

    found = attempt.rows.second
    assert found is not None
    encoded = task.encode(found.table, found.columns, attempt.loaded.tokenizer,  # type: ignore[arg-type]
                          attempt.resolved["max_length"], attempt.rows.labels)

    def take() -> float:
        outputs = evaluate.score(attempt.parts, evaluate.Held(encoded, found.table, found.columns, "second"))
        return outputs.metrics.get(task.metric, math.nan)

    return "the second dataset", task.metric, task.greater_is_better, take
