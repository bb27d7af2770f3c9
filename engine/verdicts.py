"""What a classifier says about rows: labels with probabilities, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine import digits
from engine.drawing import Bars, Number
from engine.tasks.base import Task
from engine.tasks.terms import Asked, Reply

if TYPE_CHECKING:
    import torch

#: Padded tokens of one batch, and a limit nothing reaches.
BUDGET = 4096
UNLIMITED = 1 << 30


def verdict(logits: torch.Tensor, labels: Sequence[str], problem: str = "single_label", note: str = "",
            threshold: float = 0.5) -> Reply:
    """Return what `logits` (labels) of one row say: the likeliest label, all above `threshold`, or a number."""
    if problem == "regression":
        number = float(logits.reshape(-1)[0])
        return Reply(label=digits.short(number), scores={}, note=note, drawing=Number(value=number).model_dump())
    chances: list[float] = (logits.sigmoid() if problem == "multi_label" else logits.softmax(-1)).tolist()
    named = dict(zip(labels, chances, strict=True))
    if problem == "multi_label":
        # A mark that no label contains, so that a file of answers can be read again.
        mark = next((mark for mark in (", ", "; ", " | ") if not any(mark.strip() in name for name in labels)), ", ")
        label = mark.join(name for name, chance in named.items() if chance >= threshold)
    else:
        label = max(named, key=named.__getitem__)
    return Reply(label=label, scores=named, note=note, drawing=Bars(values=named).model_dump())


def encoded(task: Task, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Tokenise rows of text as training does, and say of each whether it was cut; optional roles may be missing."""
    import pyarrow as pa

    given = [role.name for role in task.asks if any(row.get(role.name) for row in rows)]
    given = list(dict.fromkeys([*task.lacks(()), *given]))
    table = pa.table({role: [row.get(role) or "" for row in rows] for role in given})
    columns = {role: role for role in given}
    whole = task.encode(table, columns, asked.tokenizer, UNLIMITED, asked.labels).rows
    cut = task.encode(table, columns, asked.tokenizer, asked.limit, asked.labels).rows if asked.limit else whole
    counts = [(len(short["input_ids"]), len(long["input_ids"])) for short, long in zip(cut, whole, strict=True)]
    notes = [f"Only the first {read} of {there} tokens were read, as in training." if read < there else ""
             for read, there in counts]
    return list(cut), notes


def padding(model: Any, tokenizer: Any) -> int:
    """Return the id that fills up a batch; decoders find a row's last word as its last id that is not this one."""
    known = (model.config.pad_token_id, tokenizer.pad_token_id)
    return int(next((i for i in known if i is not None), 0))


def logits(task: Any, asked: Asked, rows: Sequence[dict[str, Any]], pad_id: int) -> list[torch.Tensor]:
    """Return the outputs for each encoded row, (labels), in the order of the rows."""
    from engine.batches import split

    found: dict[int, torch.Tensor] = {}
    for batch in split(range(len(rows)), [task.length(row) for row in rows], BUDGET):
        made = task.collate([rows[i] for i in batch], pad_id)
        there = {name: value.to(asked.device) if hasattr(value, "to") else value for name, value in made.items()}
        found |= dict(zip(batch, task.logits(asked.model, there).float().cpu(), strict=True))
    return [found[i] for i in range(len(rows))]
