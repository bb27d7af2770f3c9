"""How good a trained result is on a dataset it may never have seen: metrics with intervals, slices and charts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine import tasks
from engine.comparison import BUDGET, LONGEST, LabelsUnknown
from engine.data import validate
from engine.errors import Cancelled, DataError
from engine.evaluation.describe import describe
from engine.findings import Finding

if TYPE_CHECKING:
    from engine.evaluation.report import Evaluation
    from engine.predict import Player
    from engine.tasks.base import Task
    from engine.tasks.terms import Encoded

#: Findings of a check that speak of learning: rows to be judged on may be few, or of one class.
LEARNING = frozenset({"one_row", "few_rows", "one_label", "text_constant", "label_rare", "label_unbalanced"})
#: Labels that are named when they are not known.
NAMED = 5


class RolesMissing(DataError):
    """The dataset has no column for {missing}, which the adapter was trained with."""

    kind = "roles_missing"
    try_this = "Say on the dataset's page which column that is, or choose another dataset."


@dataclass(frozen=True)
class Judged:
    """The report, and what was noticed about the rows."""

    report: Evaluation
    findings: list[Finding]


class Judging:
    """Judges one attached adapter of a player on rows."""

    def __init__(self, player: Player, adapter_id: str, *, report: Callable[[float], None] = lambda part: None,
                 cancelled: Callable[[], bool] = lambda: False) -> None:
        self._report, self._cancelled, self._device = report, cancelled, player.device
        self.member = player.member(adapter_id)
        self.limit = min((n for n in (self.member.trained.max_length, player.room(self.member)) if n), default=LONGEST)
        self.task: Task = self.member.trained.make_task(player.task_name)

    def judge(self, table: pa.Table, columns: Mapping[str, str]) -> Judged:
        """Return what the adapter's task says of its answers to the rows; `columns` maps roles to columns.

        Rows with labels the adapter does not know are left out, and named. Raises RolesMissing, LabelsUnknown,
        DataError, Cancelled.
        """
        import torch

        member, task = self.member, self.task
        used = fitting(tasks.get(task.name), columns, member.trained.columns)
        table, findings = known_rows(task, table, used, member.labels if task.label_names(table, used) else [])
        found = [one for one in task.check(table, used) if one.kind not in LEARNING]
        validate.raise_first_error(found)
        task.prepare_tokenizer(member.tokenizer, used)
        encoded = task.encode(table, used, member.tokenizer, self.limit, member.labels)
        with torch.inference_mode():
            outputs = task.evaluate(member.model, encoded, table, used, encoded.labels, self._batches(encoded))
        report = describe(task, outputs, encoded, table, used)
        return Judged(report, [*findings, *found])

    def _batches(self, encoded: Encoded) -> Iterator[tuple[list[int], dict[str, Any]]]:
        from engine.batches import split
        from engine.evaluate import to_device

        lengths = [self.task.length(row) for row in encoded.rows]
        done = 0
        for chosen in split(range(len(lengths)), lengths, BUDGET):
            if self._cancelled():
                raise Cancelled("evaluation")
            batch = self.task.collate([encoded.rows[i] for i in chosen], self._pad_id)
            yield chosen, to_device(batch, self._device)
            done += len(chosen)
            self._report(done / len(lengths))

    @property
    def _pad_id(self) -> int:
        known = (self.member.model.config.pad_token_id, getattr(self.member.tokenizer, "pad_token_id", None))
        return int(next((i for i in known if isinstance(i, int)), 0))


def fitting(task: type[Task], columns: Mapping[str, str], trained: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of the roles that are judged: those trained with, where a task has one way to be taught.

    Raises RolesMissing.
    """
    titles = {role.name: role.title for role in task.roles}
    enough = any(need <= set(columns) for need in task.needs)
    same = set(trained) if len(task.needs) == 1 else set()
    missing = [role for role in titles if role in same and role not in columns]
    if not enough and not missing:
        missing = min(([role for role in titles if role in need - set(columns)] for need in task.needs), key=len)
    if missing:
        raise RolesMissing("columns", missing=" and ".join(f"'{titles[role]}'" for role in missing))
    return {role: column for role, column in columns.items() if not same or role in same}


def known_rows(task: Task, table: pa.Table, columns: Mapping[str, str],
               labels: Sequence[str]) -> tuple[pa.Table, list[Finding]]:
    """Return the rows whose labels are known, and a finding about the others.

    No `labels` means that the task has none. Raises LabelsUnknown when no row is left, or of tagged words only such
    as have no entity, which say nothing of those the adapter knows.
    """
    there = task.label_names(table, columns) if labels else []
    unknown = [label for label in there if label not in set(labels)]
    if not unknown:
        return table, []
    lost = set(unknown)
    answers = [column for role, column in columns.items() if role in task.answers]
    column, told = table.select(answers), {}
    kept: list[int] = []
    for row in range(table.num_rows):
        cell = column.slice(row, 1)
        key = repr(cell.to_pylist())
        if key not in told:
            told[key] = not lost & set(task.label_names(cell, columns))
        if told[key]:
            kept.append(row)
    names = ", ".join(unknown[:NAMED]) + ("…" if len(unknown) > NAMED else "")
    left_over = table.take(pa.array(kept, pa.int64()))
    names_left = task.label_names(left_over, columns)
    if not kept or (names_left and not task.counted(names_left)):
        raise LabelsUnknown("label", unknown=names, known=", ".join(labels[:20]))
    left = sorted(set(range(table.num_rows)) - set(kept))
    finding = Finding(kind="labels_unknown", level="warning", where=answers[0] if answers else "",
                      rows=[row + 1 for row in left[:20]], count=len(left), what=(
                          f"The adapter does not know the labels {names}: rows that have them were left out."),
                      try_this="Map these labels to known ones when you prepare the dataset, or train with them.")
    return left_over, [finding]
