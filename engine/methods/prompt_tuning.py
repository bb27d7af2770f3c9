"""Learned virtual tokens in front of the text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from engine.errors import SpecError
from engine.knobs import knob
from engine.methods import _prompt
from engine.methods.base import Card, Method, Piece
from engine.shape import ModelShape

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class NothingToVoteOn(SpecError):
    """An ensemble can vote on one class a text, not on several or on a number."""

    kind = "nothing_to_vote_on"
    try_this = "Set combine to average."


class PromptTuning(Method):
    """Learns virtual tokens that are read before the text; every weight of the model stays as it is."""

    name: Literal["prompt_tuning"] = "prompt_tuning"
    length: int = knob(20, ge=1, le=1000, scale="log2", slider=(1, 256), unit="tokens", title="Prompt length", help=(
        "Virtual tokens in front of the text. 20 are plenty for simple tasks; beyond 100 little is gained."))
    init: Literal["vocabulary", "random", "text", "labels"] = knob("vocabulary", title="Start from", help=(
        "Common words drawn at random, random vectors as spread as words, a text, or the classes' names. Small "
        "models need words."))
    text: str = knob("", title="Text to start from", max_length=4000, shown_if={"init": "text"}, help=(
        "Words whose embeddings the prompt starts from, such as the task in a sentence; repeated when too short."))
    ensemble: int = knob(1, ge=1, le=32, advanced=True, title="Prompts in the ensemble", help=(
        "So many prompts are trained in one batch and asked together: a little better, and so many times the work."))
    combine: Literal["average", "vote"] = knob("average", advanced=True, title="How they agree", help=(
        "Average the prompts' scores, or let them vote."))
    start_from: str = knob("", advanced=True, max_length=1000, title="Source prompt", help=(
        "An adapter of prompt tuning to start from, trained on a similar task: its folder, or its id in the studio."))

    card: ClassVar[Card] = Card(
        title="Prompt tuning", family="soft prompt", order=82,
        summary="Learns a few virtual tokens at the input and nothing else: the smallest adapter there is.",
        paper="Lester et al., 2021", url="https://arxiv.org/abs/2104.08691",
        use_when="Models of billions of parameters with many tasks; near ten billion it matches full fine-tuning.",
        avoid_when="Models under a billion parameters: P-tuning v2 or LoRA learn far more there.",
        settings="20 to 100 tokens started from words, a learning rate of 1e-3 to 5e-3, many epochs.",
        formula="f([P; E(x)]), only P is learned", mergeable=False)

    @model_validator(mode="after")
    def _text_is_there(self) -> PromptTuning:
        if self.init == "text" and not self.text.strip():
            raise ValueError("init is text, but no text is given")
        return self

    def pieces(self, shape: ModelShape) -> list[Piece]:
        """Return n·d for each prompt, d being the width of the words' embeddings."""
        count = self.ensemble * self.length * _prompt.width(shape)
        return _prompt.piece(shape, count, count)

    def obstacles(self, shape: ModelShape, task: str, quantization: str | None) -> list[str]:
        """Return why virtual tokens cannot stand in front, or start or agree as they should."""
        reasons = _prompt.obstacles(shape, self.length)
        if self.ensemble > 1 and task != "text_classification":
            reasons.append("An ensemble of prompts agrees on labels: it needs text classification.")
        if self.init == "labels" and task not in ("text_classification", "token_classification"):
            reasons.append("This task has no labels to start from.")
        return reasons

    def learning_rate(self, shape: ModelShape, task: str) -> float:
        """Return 5e-3: peft's benchmark finds its best between 1e-3 and 5e-3, and small models need the most."""
        return 5e-3

    @property
    def origin(self) -> str:
        """The source prompt."""
        return self.start_from

    def check_source(self, folder: Path, shape: ModelShape) -> None:
        """Refuse what is no prompt, has another length, or stands elsewhere."""
        _prompt.check(folder, self.length, _prompt.width(shape))

    @property
    def copies(self) -> int:
        """Each member of the ensemble sees every row."""
        return self.ensemble

    def virtual_tokens(self, shape: ModelShape) -> int:
        """Return the length of the prompt."""
        return self.length

    def attach(self, model: PreTrainedModel, shape: ModelShape, heads: Sequence[str]) -> torch.nn.Module:
        """Return `model` wrapped by peft, with virtual tokens in front of its texts."""
        return _prompt.attach(model, shape, heads, [-1] * self.length, [], members=self.ensemble, combine=self.combine)

    def begin(self, model: Any, tokenizer: Any, labels: Sequence[str], source: Path | None = None) -> None:
        """Set the prompts to words, or to those of the source; raises what _source raises, NothingToVoteOn."""
        import torch

        if self.ensemble > 1 and self.combine == "vote" and model.config.problem_type != "single_label_classification":
            raise NothingToVoteOn("method.combine")
        if source is None and self.init == "random":
            return
        layer, shape = _prompt.layer(model), (self.length, int(model.peft_config["default"].width))
        words = _prompt.common(model, self.ensemble * self.length, tokenizer.all_special_ids).view(-1, *shape)
        own = _source(source, shape) if source is not None else self._words(layer, tokenizer, labels)
        if own is not None:
            # What the words or the source do not fill stays drawn from the vocabulary, and so do the other members.
            words[0 if len(own) == 1 else slice(len(own)), :own.shape[1]] = own[:self.ensemble]
        with torch.no_grad():
            layer.keep("default", words)

    def _words(self, layer: Any, tokenizer: Any, labels: Sequence[str]) -> torch.Tensor | None:
        """Return the embeddings of the text's words or of the labels, (1, tokens, width); None for neither."""
        import torch

        if self.init == "text":
            known = _prompt.ids(tokenizer, self.text)
            known = [known[i % len(known)] for i in range(self.length)]
            return layer.words(torch.tensor(known)).float()[None]
        if self.init == "labels":
            # A label of several tokens is their mean (Lester et al., 2021).
            means = [layer.words(torch.tensor(_prompt.ids(tokenizer, label))).float().mean(0) for label in labels]
            return torch.stack(means[:self.length])[None]
        return None


def _source(folder: Path, shape: tuple[int, int]) -> torch.Tensor:
    """Return the prompts saved in `folder`, (members, tokens, width); raises what _prompt.check raises."""
    _prompt.check(folder, *shape)
    return _prompt.stored(folder)
