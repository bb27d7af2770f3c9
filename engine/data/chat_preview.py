"""The first conversations of a dataset as text in a model's chat template, with what is learned of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel

from engine import chat

if TYPE_CHECKING:
    from engine.tasks.causal_lm import CausalLM

#: Rows shown, and characters of each.
ROWS, SHOWN = 3, 6_000


class Conversation(BaseModel):
    """One row (counted from 1) as text, and the spans (start, end) of characters that are learned.

    `cut` counts characters that are not shown.
    """

    row: int
    text: str
    spans: list[tuple[int, int]]
    cut: int = 0


class ChatPreview(BaseModel):
    """Conversations as the model reads them, and what was done to its tokenizer for that."""

    conversations: list[Conversation]
    note: str = ""


def make(table: pa.Table, task: CausalLM, columns: Mapping[str, str], tokenizer: Any) -> ChatPreview:
    """Return the first rows in the tokenizer's template; raises TemplateRefuses."""
    note = task.prepare_tokenizer(tokenizer, columns)
    rows = task.conversations(table.slice(0, ROWS), columns)
    if "messages" in columns or "prompt" in columns:
        rendered = [chat.render(row, tokenizer) for row in rows]
    else:
        rendered = [chat.as_text(row, tokenizer, chat.begin_mark(tokenizer)) for row in rows]
    return ChatPreview(note=note, conversations=[
        Conversation(row=number, text=one.text[:SHOWN], cut=max(0, len(one.text) - SHOWN),
                     spans=[(start, min(end, SHOWN)) for start, end in _learned(task, one) if start < SHOWN])
        for number, one in enumerate(rendered, 1)])


def _learned(task: CausalLM, one: chat.Rendered) -> list[tuple[int, int]]:
    return [(0, len(one.text))] if task.learn_from == "everything" else one.spans
