"""How well a model predicts a neutral text: what it could do before it was trained for a task, and may lose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import Refused
from engine.tasks.base import Task

if TYPE_CHECKING:
    import torch

    from engine.shape import ModelShape
    from engine.train import Attempt

TEXT = Path(__file__).with_name("neutral.txt")
#: Tokens read at once, texts a batch, share of tokens hidden from a model that fills gaps, seed of which.
WIDTH, ROWS, HIDDEN, SEED = 128, 8, 0.15, 0


class NotMeasurable(Refused):
    """Forgetting cannot be measured on neutral text here. {reason}"""

    kind = "forgetting_impossible"
    try_this = "Choose a second dataset to measure it on, or leave it out."


def obstacle(task: Task, shape: ModelShape) -> str:
    """Return why this base model cannot be measured on neutral text for this task, "" when it can."""
    if task.reads == "images" or shape.family == "vision":
        return "The base model looks at images and reads no text."
    if shape.family == "encoder-decoder" and task.name != "seq2seq":
        return "For this task the base model is used without the head that writes words."
    if shape.words is False:
        return "The base model comes without a head that predicts words."
    return ""


class Neutral:
    """Measures a run's model on the neutral text: perplexity, or the loss of hidden words where it fills gaps."""

    def __init__(self, attempt: Attempt) -> None:
        """Raises NotMeasurable."""
        reason = obstacle(attempt.parts.task, attempt.loaded.shape)
        if reason:
            raise NotMeasurable("data.forgetting", reason=reason)
        self._attempt = attempt
        self.masked = attempt.loaded.shape.family == "encoder"
        self.measure = "masked_loss" if self.masked else "perplexity"
        tokenizer: Any = attempt.loaded.tokenizer
        if self.masked and tokenizer.mask_token_id is None:
            raise NotMeasurable("data.forgetting", reason="Its tokenizer has no token that stands for a hidden word.")
        self._ids = chunks(tokenizer, min(WIDTH, attempt.resolved["max_length"]))
        self._model = self._speaker()

    def __call__(self) -> float:
        """Return the measure of the model as it is now."""
        import torch

        from engine import attention

        parts = self._attempt.parts
        parts.model.eval()
        attention.set_layout(None)
        if parts.hidden is not None:
            parts.hidden.absent()
        total, count = 0.0, 0
        with torch.inference_mode(), parts.formats.context(parts.device):
            for ids, targets in self._batches(torch.as_tensor(self._ids, device=parts.device)):
                logits = self._model()(ids, targets)
                places = targets >= 0
                losses = torch.nn.functional.cross_entropy(logits[places].float(), targets[places], reduction="sum")
                total, count = total + float(losses), count + int(places.sum())
        mean = total / max(1, count)
        return mean if self.masked else math.exp(min(mean, 700.0))

    def _batches(self, ids: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield ids and targets (rows, tokens): what is to be said at each place, -100 where nothing is."""
        family = self._attempt.loaded.shape.family
        if family == "encoder-decoder":
            # One piece of the text is read, the next is to be written.
            yield from zip(ids[:-1].split(ROWS), ids[1:].split(ROWS), strict=True)
            return
        if self.masked:
            hidden = _hidden(self._ids, self._attempt.loaded.tokenizer).to(ids.device)
            given = ids.masked_fill(hidden, self._attempt.loaded.tokenizer.mask_token_id)  # type: ignore[union-attr]
            yield from zip(given.split(ROWS), ids.masked_fill(~hidden, -100).split(ROWS), strict=True)
            return
        for part in ids.split(ROWS):
            targets = part.roll(-1, 1)
            targets[:, -1] = -100
            yield part, targets

    def _speaker(self) -> Callable[[], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
        """Return what gives the model to ask: its own where it writes words, else its body under the base's own head.

        The body is looked up each time: a method may exchange it.
        """
        loaded: Any = self._attempt.loaded.model
        if loaded.get_output_embeddings() is not None:
            return lambda: self._own
        whole, prefix = _with_head(self._attempt), loaded.base_model_prefix

        def put_together() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
            setattr(whole, prefix, getattr(loaded, prefix))
            return lambda ids, targets: whole(input_ids=ids).logits

        return put_together

    def _own(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        model, family = self._attempt.parts.model, self._attempt.loaded.shape.family
        if family == "encoder-decoder":
            return model(input_ids=ids, labels=targets).logits
        # A soft prompt's places come first; what is said of the text are the last ones.
        return model(input_ids=ids).logits[:, -ids.shape[1]:]


def chunks(tokenizer: Any, width: int) -> np.ndarray:
    """Return the text as token ids in pieces of one width, special tokens around each, int64 (pieces, width)."""
    text = " ".join(TEXT.read_text(encoding="utf-8").split("\n")).strip()
    around = list(tokenizer("")["input_ids"])
    last = len(around) == 1 and around[0] == tokenizer.eos_token_id
    before, after = ([], around) if last else (around[:(len(around) + 1) // 2], around[(len(around) + 1) // 2:])
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    room = max(1, width - len(around))
    pieces = [[*before, *ids[start:start + room], *after] for start in range(0, len(ids) - room + 1, room)]
    return np.asarray(pieces, dtype=np.int64)


def _hidden(ids: np.ndarray, tokenizer: Any) -> torch.Tensor:
    """Return which tokens are hidden: the same ones always, never special ones; bool (pieces, width)."""
    import torch

    special = np.isin(ids, np.asarray(tokenizer.all_special_ids))
    return torch.from_numpy((np.random.default_rng(SEED).random(ids.shape) < HIDDEN) & ~special)


def _with_head(attempt: Attempt) -> Any:
    """Return the base model with its language head, from its files; raises NotMeasurable where it has none."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    from engine import skeleton

    auto: Any = AutoModelForMaskedLM if attempt.loaded.shape.family == "encoder" else AutoModelForCausalLM
    prefix = getattr(attempt.loaded.model, "base_model_prefix", "")
    try:
        with skeleton.quiet():
            whole, info = auto.from_pretrained(
                attempt.located.path, dtype=attempt.parts.formats.base, trust_remote_code=False, local_files_only=True,
                use_safetensors=True, output_loading_info=True)
    except ValueError:
        raise NotMeasurable("data.forgetting", reason="Its architecture has no head that predicts words.") from None
    if any(not name.startswith(f"{prefix}.") for name in info["missing_keys"]) or not hasattr(whole, prefix or " "):
        raise NotMeasurable("data.forgetting", reason="The base model comes without a head that predicts words.")
    setattr(whole, prefix, None)
    return whole.to(attempt.device).eval().requires_grad_(False)
