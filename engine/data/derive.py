"""Columns made from others, so that well-known layouts can be used as they are."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from engine.data.compute import pc
from engine.findings import Finding

_INPUTS = ("input", "instances.input", "context")


def with_prompt(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return instruction data with a `prompt` column: the instruction, then its input where there is one."""
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
    prompt = pc.if_else(blank, instruction, joined)
    return pa.RecordBatch.from_arrays([*batch.columns, prompt], names=[*names, "prompt"])


def finding() -> Finding:
    """Return the note that says what was added."""
    return Finding(kind="prompt_added", level="note", where="prompt",
                   what="The column 'prompt' was added: the instruction, followed by its input where there is one.",
                   try_this="Map it as the prompt, or choose another column.")
