"""Columns made from others, so that well-known layouts can be used as they are."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.types as pt

from engine.data import chat
from engine.data.compute import pc
from engine.findings import Finding

_INPUTS = ("input", "instances.input", "context")
#: Columns of lists whose texts are lines spoken in turn.
_DIALOGUES = ("dialog", "dialogue", "conversation", "utterances")
#: What is added, and from what.
_MADE = {
    "prompt": ("the instruction, followed by its input where there is one", "Map it as the prompt"),
    "answer": ("the first of the answers", "Map it as what is to be answered"),
    "messages": ("the lines of the dialogue as messages, the user's first", "Map it as the conversation")}


def extended(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with `prompt` (instruction data), `answer` (questions with lists of answers), `messages` added."""
    for add in (_prompt, _answer, _messages):
        batch = add(batch)
    return batch


def findings(added: Iterable[str]) -> list[Finding]:
    """Return the notes that say what was added."""
    return [Finding(kind=f"{name}_added", level="note", where=name,
                    what=f"The column '{name}' was added: {_MADE[name][0]}.",
                    try_this=f"{_MADE[name][1]}, or choose another column.") for name in added]


def _prompt(batch: pa.RecordBatch) -> pa.RecordBatch:
    names = batch.schema.names
    extra = next((name for name in _INPUTS if name in names), None)
    if "instruction" not in names or extra is None or "prompt" in names:
        return batch
    instruction, given = batch.column("instruction"), batch.column(extra)
    if not (pt.is_string(instruction.type) and pt.is_string(given.type)):
        return batch
    given = pc.fill_null(given, "")
    blank = pc.equal(pc.utf8_trim_whitespace(given), "")
    joined = pc.binary_join_element_wise(instruction, given, "\n\n")
    return batch.append_column("prompt", pc.if_else(blank, instruction, joined))


def _answer(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Add the first answer of questions without a passage; where there is one, answers are looked for in it."""
    names = set(batch.schema.names)
    if not {"question", "answers"} <= names or names & {"answer", "context", "passage"}:
        return batch
    answers = batch.column("answers")
    if not (pt.is_list(answers.type) and pt.is_string(answers.type.value_type)):
        return batch
    some = pc.fill_null(pc.greater(pc.list_value_length(answers), 0), False)
    first = pc.list_element(pc.if_else(some, answers, pa.scalar([None], answers.type)), 0)
    return batch.append_column("answer", first)


def _messages(batch: pa.RecordBatch) -> pa.RecordBatch:
    names = batch.schema.names
    name = next((name for name in _DIALOGUES if name in names), None)
    if name is None or "messages" in names:
        return batch
    lines = batch.column(name)
    if not (pt.is_list(lines.type) and pt.is_string(lines.type.value_type)):
        return batch
    told = [None if cell is None else [{"role": "assistant" if place % 2 else "user", "content": line}
                                       for place, line in enumerate(cell)] for cell in lines.to_pylist()]
    return batch.append_column("messages", pa.array(told, chat.MESSAGES))
