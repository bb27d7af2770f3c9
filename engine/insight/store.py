"""Tensors where they lie: those of an adapter's or model's file, and those of the base model beside it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import weights

if TYPE_CHECKING:
    import torch

#: Numbers of a tensor looked at together, which bounds the memory that a large one takes.
PART = 1 << 24
_PREFIX = "base_model.model."
#: Words that stand between a module's name and the name of its parameter.
_OWN_WORDS = re.compile(r"\.(modules_to_save|base_layer|original_module)(?:\.default)?(?=\.|$)")


class Clock:
    """Time that may be spent; what is not done when it is over is left out and said to be."""

    def __init__(self, seconds: float) -> None:
        self._began, self._seconds = time.monotonic(), seconds

    @property
    def late(self) -> bool:
        """Whether half of the time is up: what could be done without is left out from now on."""
        return time.monotonic() >= self._began + self._seconds / 2

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._began + self._seconds


class Saved:
    """The tensors of the files in a folder, read one at a time, by their names without what peft puts before them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        adapter = folder / "adapter_model.safetensors"
        self._files = [adapter] if adapter.is_file() else weights.shards(folder)
        self._where = {name.removeprefix(_PREFIX): (path, name) for path in self._files
                       for name in weights.header(path)}
        self.shapes = {name.removeprefix(_PREFIX): tensor.shape for path in self._files
                       for name, tensor in weights.header(path).items()}
        self.config: dict[str, Any] = _json(folder / "adapter_config.json")
        self._open = ExitStack()
        self._handles: dict[Path, Any] = {}

    def __enter__(self) -> Saved:
        """Keep the files open until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._open.close()
        self._handles.clear()

    @property
    def bytes(self) -> int:
        """Size of the files in bytes."""
        return sum(path.stat().st_size for path in self._files)

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor in the number format it was saved in; raises KeyError."""
        from safetensors import safe_open

        path, stored = self._where[name]
        if path not in self._handles:
            opened: Any = safe_open(str(path), framework="pt")
            self._handles[path] = self._open.enter_context(opened)
        return self._handles[path].get_tensor(stored)

    def named(self, parameter: str) -> Iterator[tuple[str, str]]:
        """Yield (module, tensor name) of the tensors whose last part is `parameter`, with or without `.weight`."""
        for name in self.shapes:
            short = name.removesuffix(".weight")
            if short.endswith("." + parameter):
                yield short[:-len(parameter) - 1], name

    def has(self, parameter: str) -> bool:
        """Return whether any tensor is called so."""
        return next(self.named(parameter), None) is not None


class Base:
    """Tensors of the base model by a module's name in any task's model: from its files, or from a model in memory."""

    def __init__(self, folder: Path | None = None, model: Any = None) -> None:
        self._saved = Saved(folder) if folder is not None else None
        self._model = model

    def __enter__(self) -> Base:
        """Keep the files open until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        if self._saved is not None:
            self._saved.__exit__()

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> torch.Tensor | None:
        """Return the tensor of that name (and shape, where one is given), or None where it cannot be found."""
        found = self._stored(name)
        if found is None and self._model is not None:
            found = self._in_memory(name)
        if found is None or not found.is_floating_point():
            return None
        return found if shape is None or tuple(found.shape) == shape else None

    def _stored(self, name: str) -> torch.Tensor | None:
        if self._saved is None:
            return None
        parts = name.split(".")
        # A task's model has one or two words more before a name than the base model, or fewer.
        short = next((rest for cut in range(min(3, len(parts))) if (rest := ".".join(parts[cut:])) in
                      self._saved.shapes), None)
        if short is None:
            longer = [known for known in self._saved.shapes if known.endswith("." + name)]
            short = longer[0] if len(longer) == 1 else None
        return None if short is None else self._saved.tensor(short)

    def _in_memory(self, name: str) -> torch.Tensor | None:
        module, _, parameter = name.rpartition(".")
        try:
            layer = self._model.get_submodule(module)
        except AttributeError:
            return None
        layer = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
        found = getattr(layer, parameter, None)
        return None if found is None else found.detach()


def norm(tensor: torch.Tensor, before: torch.Tensor | None = None) -> float:
    """Return the Frobenius norm of a tensor, or of its difference from `before`; in float32, a part at a time."""
    import torch

    total = 0.0
    flat, old = tensor.reshape(-1), None if before is None else before.reshape(-1)
    for start in range(0, flat.numel(), PART):
        part = flat[start:start + PART].float()
        if old is not None:
            part = part - old[start:start + PART].float()
        total += float(torch.linalg.vector_norm(part)) ** 2
    return math.sqrt(total)


def plain(name: str) -> str:
    """Return a saved tensor's name as it is in the base model."""
    return _OWN_WORDS.sub("", name)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
