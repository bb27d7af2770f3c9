"""How alike two soft prompts are; needs numpy alone, so that a page may ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from engine import weights

if TYPE_CHECKING:
    import numpy as np

#: Names of the tensors of a soft prompt or a prefix.
WORDS = ("prompt_tokens", "prompt_embeddings", "prefix_key", "prefix_value", "vpt_prompt")


class Similarity(BaseModel):
    """Cosines between two prompts of one base model (Vu et al., 2022).

    `averaged`: of their mean vectors; `each`: the mean over all pairs of a vector of one with a vector of the other.
    """

    model_config = ConfigDict(frozen=True)

    averaged: float
    each: float


def is_prompt(folder: Path) -> bool:
    """Return whether an adapter is a soft prompt or a prefix; reads its file's header."""
    return bool(_keys(folder))


def between(first: Path, other: Path) -> Similarity | None:
    """Return how alike the prompts in two adapters' folders are; None when they are not of one kind and width."""
    import numpy as np

    mine, theirs = _vectors(first), _vectors(other)
    if not mine or {name: part.shape[1] for name, part in mine.items()} != {
            name: part.shape[1] for name, part in theirs.items()}:
        return None
    pairs = [(part, theirs[name]) for name, part in mine.items()]
    means = (np.concatenate([pair[side].mean(axis=0) for pair in pairs]) for side in (0, 1))
    averaged = _cosine(next(means)[None], next(means)[None])
    return Similarity(averaged=round(averaged, 4), each=round(
        sum(_cosine(*pair) for pair in pairs) / len(pairs), 4))


def rank(target: Path, sources: Sequence[Path]) -> list[tuple[Path, float]]:
    """Return the sources with the cosine of their mean vectors to the target's, the likest first.

    A short run on the target's data makes the target; the likest source is the one to start from (SPoT, Vu et al.,
    2022). Prompts of another kind or width are left out.
    """
    found = [(source, alike.averaged) for source in sources if (alike := between(target, source)) is not None]
    return sorted(found, key=lambda item: -item[1])


def _keys(folder: Path) -> list[str]:
    path = folder / "adapter_model.safetensors"
    return [name for name in weights.header(path) if name.rpartition(".")[2] in WORDS] if path.is_file() else []


def _vectors(folder: Path) -> dict[str, np.ndarray]:
    """Return the prompt vectors by tensor name, (vectors, width) in float32."""
    import numpy as np
    from safetensors import safe_open

    with safe_open(str(folder / "adapter_model.safetensors"), framework="np") as file:  # pyright: ignore[reportGeneralTypeIssues]
        found = {name: np.asarray(file.get_tensor(name), dtype=np.float32) for name in _keys(folder)}
    # Those of an ensemble lie in one tensor: (members, vectors, width).
    return {name: part.reshape(-1, part.shape[-1]) for name, part in found.items()}


def _cosine(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Return the mean cosine over all pairs of rows."""
    import numpy as np

    first, other = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (mine, theirs))
    return float((first @ other.T).mean())
