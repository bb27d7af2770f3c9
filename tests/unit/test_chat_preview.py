"""The first rows of a dataset in a chat template, with what is learned marked."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from engine import models
from engine.data import chat_preview
from engine.data.chat import MESSAGES
from engine.tasks.causal_lm import CausalLM

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}]


def test_conversations_are_written_in_the_template_and_answers_are_marked(shared: Path) -> None:
    tokenizer = models.tokenizer_of(shared / "models" / "stories260k")
    table = pa.table({"chat": pa.array([CHAT] * 5, MESSAGES)})
    found = chat_preview.make(table, CausalLM(template="chatml"), {"messages": "chat"}, tokenizer)
    assert len(found.conversations) == chat_preview.ROWS
    one = found.conversations[0]
    assert one.text.startswith("<|im_start|>user\nHi")
    assert [one.text[start:end].startswith("Hello there") for start, end in one.spans] == [True]
    everything = chat_preview.make(table, CausalLM(template="chatml", learn_from="everything"), {"messages": "chat"},
                                   tokenizer).conversations[0]
    assert everything.spans == [(0, len(everything.text))]
    plain = chat_preview.make(pa.table({"text": ["Once upon a time"]}), CausalLM(), {"text": "text"}, tokenizer)
    assert "Once upon a time" in plain.conversations[0].text
