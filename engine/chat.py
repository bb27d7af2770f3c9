"""Conversations as text: the model's own chat template, and which characters of it are answers to be learned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]

#: For a base without a template. Conversations: each message under the name of its role, the end mark after answers.
CONVERSATION = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + (eos_token or '') + '\n' }}"
    "{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% else %}{{ 'User: ' + message['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}")
#: Prompts and completions: the prompt, a line break, the completion.
PROMPT = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + (eos_token or '') }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}{% endfor %}")
#: Plain text: what is written is continued.
TEXT = "{{ bos_token or '' }}{% for message in messages %}{{ message['content'] }}{% endfor %}"


class TemplateRefuses(DataError):
    """The chat template cannot render this conversation: {problem}."""

    kind = "template_refuses"
    try_this = "Correct the conversation, or choose another chat template."


def fallback(form: Literal["messages", "prompt", "text"]) -> str:
    """Return the chat template given to a tokenizer that has none, by the form of the data."""
    return {"messages": CONVERSATION, "prompt": PROMPT, "text": TEXT}[form]


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, and the character spans (start, end) of what is to be learned."""

    text: str
    spans: list[tuple[int, int]]


def messages(value: Any) -> list[Message]:
    """Return a cell of a conversation column, a list of {role, content}, as messages; no content is an empty text."""
    return [{"role": str(item["role"]), "content": item["content"] or ""} for item in value or []]


def exchange(prompt: Any, answer: Any) -> list[Message]:
    """Return a prompt (or None) and its answer as messages."""
    asked = [] if prompt is None else [{"role": "user", "content": str(prompt)}]
    return [*asked, {"role": "assistant", "content": "" if answer is None else str(answer)}]


def as_text(row: Sequence[Message], tokenizer: PreTrainedTokenizerBase, start: str) -> Rendered:
    """Return plain text between the begin mark `start` and the tokenizer's end mark; all but the former is learned."""
    text = start + "".join(message["content"] for message in row) + str(tokenizer.eos_token or "")
    return Rendered(text, [(len(start), len(text))])


def render(row: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """Return a conversation in the tokenizer's template, with the spans of the assistant's turns.

    A turn's span is found by rendering the conversation up to it and through it, so any template works, whether or
    not it marks generations. Where a template rewrites earlier turns, the turn's own words are looked for instead.
    """
    conversation = list(row)
    whole = apply(conversation, tokenizer)
    spans: list[tuple[int, int]] = []
    for i, message in enumerate(conversation):
        if message["role"] != "assistant":
            continue
        # Templates may refuse an empty conversation or invent a system message for it.
        before = apply(conversation[:i], tokenizer, prompt=True) if i else None
        through = apply(conversation[:i + 1], tokenizer) if i + 1 < len(conversation) else whole
        span = _between(whole, before, through, message["content"], spans[-1][1] if spans else 0)
        if span is not None:
            spans.append(span)
    return Rendered(whole, spans)


def rendered(rows: Iterable[Sequence[Message]], tokenizer: PreTrainedTokenizerBase) -> list[Rendered]:
    """Return conversations in the tokenizer's template; raises TemplateRefuses, naming the row."""
    found: list[Rendered] = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(render(row, tokenizer))
        except TemplateRefuses as error:
            raise TemplateRefuses(f"row {number:,}", **error.facts) from error
    return found


def _between(whole: str, before: str | None, through: str, content: str, after: int) -> tuple[int, int] | None:
    """Return where the turn rendered between `before` and `through` lies in `whole`, its end mark included."""
    common = _common(whole, through)
    if before is not None and whole.startswith(before) and through.startswith(before) and common > len(before):
        return (len(before), len(before) + len(whole[len(before):common].rstrip()))
    words = content.strip()
    start = whole.find(words, after) if words else -1
    if start < 0:
        return None
    return (start, max(start + len(words), len(whole[:common].rstrip()) if before is None else 0))


def _common(first: str, second: str) -> int:
    """Return the length of the longest common beginning."""
    if first.startswith(second):
        return len(second)
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def apply(conversation: Sequence[Message], tokenizer: PreTrainedTokenizerBase, *, prompt: bool = False) -> str:
    """Return a conversation in the tokenizer's template, with `prompt` open for an answer; raises TemplateRefuses."""
    try:
        return str(tokenizer.apply_chat_template(list(conversation), tokenize=False, add_generation_prompt=prompt))
    except Exception as error:
        # Whoever wrote the template decides what it raises: a refusal of its own, or a fault in its text.
        said = str(error).strip().rstrip(".") or type(error).__name__
        raise TemplateRefuses("conversation", problem=said[:300]) from error


def open_prompt(conversation: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a conversation in the tokenizer's template, open for the assistant's answer.

    A blank at its end is left to the answer: it belongs to the first word's token, as it did in training.
    """
    return apply(conversation, tokenizer, prompt=True).rstrip(" ")


def begin_mark(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the mark the tokenizer itself puts before a text, or an empty string."""
    if tokenizer.bos_token_id is None:
        return ""
    ids = tokenizer("a")["input_ids"]
    return str(tokenizer.bos_token) if ids and ids[0] == tokenizer.bos_token_id else ""


def tokenize(rendered: Iterable[Rendered], tokenizer: PreTrainedTokenizerBase,
             batch: int = 1000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield token ids (int32) and whether each token is learned (bool) for each text.

    A token is learned when any of its characters lies in a span. Tokenizers without offsets tokenise span by span.
    """
    items = list(rendered)
    for start in range(0, len(items), batch):
        part = items[start:start + batch]
        if not tokenizer.is_fast:
            yield from (_piecewise(item, tokenizer) for item in part)
            continue
        found = tokenizer([item.text for item in part], add_special_tokens=False, return_offsets_mapping=True,
                          return_attention_mask=False, verbose=False)
        for item, ids, offsets in zip(part, found["input_ids"], found["offset_mapping"], strict=True):
            yield _marked(item, ids, offsets)


def _marked(item: Rendered, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    places = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    learned = np.zeros(len(ids), dtype=bool)
    for start, end in item.spans:
        learned |= (places[:, 0] < end) & (places[:, 1] > start)
    return np.asarray(ids, dtype=np.int32), learned


def _piecewise(item: Rendered, tokenizer: PreTrainedTokenizerBase) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    ids: list[int] = []
    learned: list[bool] = []
    edges = [0, *(edge for span in item.spans for edge in span), len(item.text)]
    for i, (start, end) in enumerate(pairwise(edges)):
        piece = tokenizer(item.text[start:end], add_special_tokens=False)["input_ids"]
        ids += piece
        learned += [i % 2 == 1] * len(piece)
    return np.asarray(ids, dtype=np.int32), np.asarray(learned, dtype=bool)
