"""Writes text with a causal language model, token by token, and hands out each piece as soon as it is readable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from engine import chat
from engine.errors import Refused
from engine.knobs import knob
from engine.tasks.terms import Asking

if TYPE_CHECKING:
    import torch

#: Token ids of the prompt that give the first new piece its right spacing; more change nothing.
CONTEXT = 6


class Sampling(Asking):
    """How an answer is drawn, token by token."""

    temperature: float = knob(0.7, ge=0, le=5, slider=(0, 2), step=0.05,
                              help="0 always takes the likeliest word; higher is more varied.")
    top_p: float = knob(0.95, gt=0, le=1, slider=(0.05, 1), step=0.05, title="Top-p", help=(
        "Only the likeliest words that together reach this probability are drawn from."))
    max_new_tokens: int = knob(256, ge=1, le=8192, slider=(8, 1024), step=8, unit="tokens", title="Longest answer",
                               help="The answer ends here at the latest.")
    seed: int = knob(0, ge=0, le=2**31 - 1, help="Same seed, same answer.")


class PromptTooLong(Refused):
    """The conversation is {tokens} tokens long; this model reads at most {limit}, answer included."""

    kind = "prompt_too_long"
    try_this = "Shorten the text or start a new conversation."


class PromptEmpty(Refused):
    """There is nothing to answer."""

    kind = "prompt_empty"
    try_this = "Write a message first."


class Answer(TypedDict):
    """What was written: `tokens` counts generated tokens, `stopped` is eos, length or cancelled."""

    text: str
    tokens: int
    seconds: float
    stopped: str
    note: str


@dataclass
class Prompt:
    """A prompt as token ids, the ids that end an answer, and how the answer's spacing begins."""

    ids: list[int]
    ends: set[int]
    continues: bool
    note: str = ""


@dataclass
class Detokeniser:
    """Turns a growing list of token ids into text pieces whose concatenation is the decoded whole.

    A piece is held back while it ends inside a character; `context` ids come before the first one and are not written.
    """

    tokenizer: Any
    context: Sequence[int] = ()
    ids: list[int] = field(default_factory=list[Any])
    start: int = 0
    read: int = 0

    def __post_init__(self) -> None:
        self.ids = list(self.context)
        self.read = len(self.ids)

    def add(self, token: int) -> str:
        """Return the text that `token` completes; empty while a character is incomplete."""
        self.ids.append(token)
        return self._take(final=False)

    def finish(self) -> str:
        """Return what was held back."""
        return self._take(final=True)

    def _take(self, final: bool) -> str:
        known, whole = self._decode(self.ids[self.start:self.read]), self._decode(self.ids[self.start:])
        if len(whole) <= len(known) or (whole.endswith("\ufffd") and not final):
            return ""
        # Decoding goes on from the last piece, not from its end: the first token of a text may lose its space.
        self.start, self.read = self.read, len(self.ids)
        return whole[len(known):]

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def prompt(tokenizer: Any, messages: Sequence[dict[str, str]], *, continues: bool = False,
           eos: Sequence[int] = ()) -> Prompt:
    """Return the token ids of a conversation, open for the assistant's answer; `eos` are further ids that end one.

    `continues` takes the messages' plain text and goes on writing it, as does a tokenizer without a chat template or
    with the one for plain text. Raises PromptEmpty, TemplateRefuses.
    """
    if not any(str(message.get("content") or "").strip() for message in messages):
        raise PromptEmpty("messages")
    continues = continues or not talks(tokenizer)
    if not continues:
        return Prompt(_ids(tokenizer, chat.open_prompt(messages, tokenizer)), ends(tokenizer, eos), continues=False)
    text = "\n\n".join(str(message.get("content") or "") for message in messages)
    note = "" if tokenizer.chat_template else "This model has no chat template: it goes on writing your text."
    return Prompt(_ids(tokenizer, chat.begin_mark(tokenizer) + text), ends(tokenizer, eos, continues=True),
                  continues=True, note=note)


def talks(tokenizer: Any) -> bool:
    """Tell whether a tokenizer has a template for conversations; without one, a model goes on writing a text."""
    return bool(tokenizer.chat_template) and tokenizer.chat_template != chat.TEXT


def ends(tokenizer: Any, eos: Sequence[int] = (), *, continues: bool = False) -> set[int]:
    """Return the ids that end an answer: `eos`, the tokenizer's own, and what its template puts after an answer."""
    found = set(eos)
    if tokenizer.eos_token_id is not None:
        found.add(int(tokenizer.eos_token_id))
    return found if continues else found | _turn_ends(tokenizer)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _turn_ends(tokenizer: Any) -> set[int]:
    """Return the id of the token that the chat template puts after an assistant's turn."""
    mark = "answer-ends-here"
    try:
        text = str(tokenizer.apply_chat_template(
            [{"role": "user", "content": "question"}, {"role": "assistant", "content": mark}], tokenize=False))
    except Exception:  # a template may refuse any conversation it likes; the end token is then the model's own
        return set()
    tail = text.rpartition(mark)[2].lstrip()
    added: dict[str, int] = tokenizer.get_added_vocab()
    return {token for content, token in added.items() if content and tail.startswith(content)}


def write(step: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]], tokenizer: Any,
          start: Prompt, *, temperature: float, top_p: float, max_new_tokens: int, seed: int | None,
          on_text: Callable[[str], None], cancelled: Callable[[], bool], limit: int = 0,
          device: str = "cpu") -> Answer:
    """Write until an end token, `max_new_tokens`, the model's `limit` in tokens, or `cancelled()` between tokens.

    `step(ids, cache)` takes token ids of shape (1, n) and returns the logits of the last one, shape (vocabulary,), with
    the grown cache. `temperature` 0 takes the likeliest token each time; otherwise the `seed` decides, by a generator
    of its own. Raises PromptTooLong.
    """
    began = time.perf_counter()
    if limit and len(start.ids) >= limit:
        raise PromptTooLong("messages", tokens=len(start.ids), limit=limit)
    room = min(max_new_tokens, limit - len(start.ids)) if limit else max_new_tokens
    words = Detokeniser(tokenizer, start.ids[-CONTEXT:] if start.continues else ())
    pieces: list[str] = []
    count, stopped = 0, "length"

    def say(piece: str) -> None:
        # A chat answer begins at its first word: the space after "Assistant:" belongs to the template.
        piece = piece if pieces or start.continues else piece.lstrip()
        if piece:
            pieces.append(piece)
            on_text(piece)

    drawn = _tokens(step, start.ids, temperature, top_p, seed, device)
    while count < room:
        if cancelled():
            stopped = "cancelled"
            break
        token = next(drawn)
        count += 1
        if token in start.ends:
            stopped = "eos"
            break
        say(words.add(token))
    say(words.finish())
    return Answer(text="".join(pieces), tokens=count, seconds=time.perf_counter() - began, stopped=stopped,
                  note=start.note)


def _tokens(step: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]], prompt: Sequence[int], temperature: float,
            top_p: float, seed: int | None, device: str) -> Iterator[int]:
    """Yield one token after the other without end; each is computed when it is asked for."""
    import torch

    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    ids, cache = torch.tensor([list(prompt)], device=device), None
    while True:
        with torch.inference_mode():
            logits, cache = step(ids, cache)
            token = pick(logits, temperature, top_p, generator)
        yield token
        ids = torch.tensor([[token]], device=device)


def pick(logits: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Return the next token from `logits` (vocabulary,): greedy at temperature 0, else from the nucleus of mass top_p.

    Holtzman et al., 2020: the smallest set of likeliest tokens whose probabilities sum to at least `top_p`.
    """
    import torch

    scores = logits.detach().float().cpu()
    if temperature <= 0 or top_p <= 0:
        return int(scores.argmax())
    chances, order = torch.softmax(scores / temperature, dim=-1).sort(descending=True, stable=True)
    if top_p < 1:
        chances = torch.where(chances.cumsum(-1) - chances < top_p, chances, 0.0)
    return int(order[torch.multinomial(chances, 1, generator=generator)])
