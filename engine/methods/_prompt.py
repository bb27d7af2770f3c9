"""What the methods with virtual tokens at the input share: where they stand, how they start, what is counted."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine import adapter
from engine.errors import ModelError, SpecError
from engine.methods import _own
from engine.methods.base import Piece
from engine.shape import ModelShape, Module

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: A run of virtual tokens in a template: [P] or [P×3].
RUN = re.compile(r"\[P(?:\s*[×x*]\s*(\d+))?\]")
TEXT = "{text}"
#: Virtual tokens a template may have.
MOST = 1000
#: Words are drawn from the first of the vocabulary, which are the most common ones (Lester et al., 2021).
COMMON = 5000


class NotAPrompt(ModelError):
    """The adapter to start from holds no virtual tokens."""

    kind = "not_a_prompt"
    try_this = "Start from an adapter that was trained by prompt tuning or P-tuning."


class PromptMismatch(SpecError):
    """The prompt to start from has {theirs} virtual tokens of width {wide}, this one {mine} of width {width}."""

    kind = "prompt_mismatch"
    try_this = "Choose a prompt of this base model, and the same length."


class PromptElsewhere(SpecError):
    """The virtual tokens to start from do not all stand one after the other before the text."""

    kind = "prompt_elsewhere"
    try_this = "Choose one trained by prompt tuning, or by P-tuning with a template such as '[P×5] {{text}}'."


class Template(NamedTuple):
    """What stands before and after a text: runs of virtual tokens (numbers) and words."""

    before: list[int | str]
    after: list[int | str]

    @property
    def tokens(self) -> int:
        """The number of virtual tokens."""
        return sum(part for part in self.before + self.after if isinstance(part, int))

    @property
    def places(self) -> int:
        """The most places the template takes; a word is at most a token for each of its bytes."""
        return sum(part if isinstance(part, int) else len(part.encode()) for part in self.before + self.after)


def parse(template: str) -> Template:
    """Return what a template such as `[P×3] {text} [P×2] answer` says; raises ValueError for one that says nothing."""
    if template.count(TEXT) != 1:
        raise ValueError("the template must contain {text} exactly once")
    sides: list[list[int | str]] = []
    for side in template.split(TEXT):
        parts: list[int | str] = []
        for place, found in enumerate(RUN.split(side)):
            if place % 2:
                parts.append(int(found or 1))
            elif found.strip():
                # A word that follows something begins with a space, as it does in a text.
                parts.append(found.strip() if not parts and not sides else " " + found.strip())
        sides.append(parts)
    made = Template(*sides)
    if not 1 <= made.tokens <= MOST:
        raise ValueError(f"the template must contain 1 to {MOST} virtual tokens, such as [P×3]")
    return made


def embedding(shape: ModelShape) -> Module | None:
    """Return the table of words, None when the model has none."""
    return next(iter(_own.token_tables(shape)), None)


def width(shape: ModelShape) -> int:
    """Return the width of a word's embedding, which may be less than the model's."""
    words = embedding(shape)
    return words.d_out if words is not None else 0


def piece(shape: ModelShape, trained: int, stored: int) -> list[Piece]:
    """Return the one piece that lies beside the words."""
    words = embedding(shape)
    return [Piece(words.name, "embedding", "embedding", None, trained, stored)] if words is not None else []


def obstacles(shape: ModelShape, places: int) -> list[str]:
    """Return why virtual tokens cannot stand among what this model reads."""
    if embedding(shape) is None:
        return ["This model reads no words, so there is nothing among which virtual tokens could stand."]
    if shape.max_length and places >= shape.max_length:
        return [f"The virtual tokens take {places} of the {shape.max_length} places of this model."]
    return []


def attach(model: PreTrainedModel, shape: ModelShape, heads: Sequence[str], before: list[int], after: list[int],
           **settings: Any) -> torch.nn.Module:
    """Return `model` wrapped by peft, with virtual tokens around its texts."""
    from engine.tuners.prompt import PromptConfig

    words = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is words)
    found = Module(name=name, kind="embedding", role="embedding")
    return _own.attach(model, PromptConfig, [found], heads, before=before, after=after, width=width(shape),
                       causal=shape.family == "decoder", **settings)


def flatten(model: Any) -> None:
    """Replace the encoder of each adapter, where it has one, by the vectors it gives."""
    for name in list(model.peft_config):
        model.base_model.flatten(name)


def layer(model: Any) -> Any:
    """Return the wrapped word embedding of a peft model."""
    return model.base_model.layer


def common(model: Any, count: int, special: Sequence[int]) -> torch.Tensor:
    """Return the embeddings of `count` common words drawn at random, (count, width); `special` ids are left out."""
    import torch

    words = layer(model)
    size = min(len(words.get_base_layer().weight), COMMON)
    known = torch.tensor([i for i in range(size) if i not in set(special)])
    drawn = known[torch.randint(len(known), (count,))] if count > len(known) else known[
        torch.randperm(len(known))[:count]]
    return words.words(drawn).float()


def ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a text alone."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def check(folder: Path, tokens: int, width: int) -> None:
    """Refuse tokens that cannot be started from; raises NotAPrompt, PromptMismatch or PromptElsewhere."""
    path = folder / "adapter_model.safetensors"
    found = [shape for name, shape in adapter.tensors(folder).items() if name.rpartition(".")[2] == "prompt_tokens"] \
        if path.is_file() else []
    if not found:
        raise NotAPrompt("method.start_from")
    theirs, wide = found[0][-2:]
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("after") or any(place >= 0 for place in config.get("before") or []):
        raise PromptElsewhere("method.start_from")
    if (theirs, wide) != (tokens, width):
        raise PromptMismatch("method.start_from", theirs=theirs, wide=wide, mine=tokens, width=width)


def stored(folder: Path) -> torch.Tensor:
    """Return the virtual tokens saved in an adapter's folder, (members, tokens, width)."""
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    found = next(value for name, value in saved.items() if name.rpartition(".")[2] == "prompt_tokens")
    return found.float().view(-1, *found.shape[-2:])
