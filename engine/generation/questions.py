"""What a language model is asked, taken from rows: everything before the last answer, or how a text begins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine import chat
from engine.chat import Message

#: Words that a plain text begins with when a model is to go on with it: a third of them, this many at most.
OPENING = 32


@dataclass(frozen=True)
class Question:
    """A prompt as text, as a person reads it, and the answer expected ("" where nobody knows)."""

    prompt: str
    shown: str
    expected: str = ""


def of_conversation(row: Sequence[Message], tokenizer: Any) -> Question | None:
    """Return what stands before a conversation's last answer, and that answer; None when there is nothing before it.

    Raises TemplateRefuses.
    """
    last = next((i for i in reversed(range(len(row))) if row[i]["role"] == "assistant"), 0)
    if not last:
        return None
    before = row[:last]
    return Question(chat.open_prompt(before, tokenizer), shown(before), row[last]["content"])


def of_text(text: str, start: str) -> Question | None:
    """Return how a text begins, after the begin mark `start`, and how it goes on; None for fewer than two words."""
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    if len(ends) < 2:
        return None
    end = ends[max(0, min(len(ends) // 3, OPENING) - 1)]
    return Question(start + text[:end], text[:end], text[end:])


def asked(row: Mapping[str, Any], tokenizer: Any, start: str, *, continues: bool) -> Question | None:
    """Return what a row of roles asks, its answer left out; None for one that asks nothing. Raises TemplateRefuses."""
    if row.get("text") is not None and not row.get("prompt") and not row.get("messages"):
        talk: list[Message] = [{"role": "user", "content": str(row["text"])}]
    elif row.get("messages"):
        talk = chat.messages(row["messages"])
        while talk and talk[-1]["role"] == "assistant":
            talk = talk[:-1]
    else:
        talk = [{"role": "user", "content": str(row.get("prompt") or "")}]
    if not any(message["content"].strip() for message in talk):
        return None
    if continues:
        text = "\n\n".join(message["content"] for message in talk)
        return Question(start + text, text)
    if row.get("system") and talk[0]["role"] != "system":
        talk = [{"role": "system", "content": str(row["system"])}, *talk]
    return Question(chat.open_prompt(talk, tokenizer), shown(talk))


def shown(talk: Sequence[Message]) -> str:
    """Return messages as a person reads them."""
    if len(talk) == 1 and talk[0]["role"] == "user":
        return talk[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in talk)
