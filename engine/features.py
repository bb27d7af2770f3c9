"""What a frozen image model makes of each image, computed once while only the head above it learns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from engine.control import Control

#: What heads look at, the smallest first: each output of the base, whole or its first token alone.
VIEWS: tuple[tuple[str, bool], ...] = (("pooler_output", False), ("last_hidden_state", True),
                                       ("last_hidden_state", False))
#: Largest difference of outputs, relative to their size, that a smaller view may make.
TOLERANCE = 1e-5


class _Enough(Exception):
    """What the base gives out is known; the head is not needed."""


class Features:
    """Gives the head what is kept of the base's outputs, by part ("train", "eval") and row."""

    def __init__(self, base: nn.Module) -> None:
        """Stand in for the forward pass of `base`, a transformers model without a head."""
        self.stores: dict[str, torch.Tensor] = {}
        self.view = VIEWS[-1]
        self._present: torch.Tensor | None = None
        self._recorded: Any = None
        self._recording = False
        self._kind: Any = None
        self._compute: Callable[..., Any] = base.forward
        base.forward = self._forward  # type: ignore[method-assign]

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._present is not None:
            return self._output(self._present)
        found = self._compute(*args, **kwargs)
        if self._recording:
            self._recorded = found
            raise _Enough
        return found

    def _output(self, kept: torch.Tensor) -> Any:
        """Return an output that holds nothing but what is kept; a head that looks elsewhere finds no numbers."""
        nothing = kept.new_full((len(kept), 1, 1), torch.nan)
        names = dict.fromkeys(("last_hidden_state", "pooler_output"), nothing) | {self.view[0]: kept}
        return self._kind(**{name: value for name, value in names.items() if name in self._kind.__dataclass_fields__})

    def _record(self, run: Callable[[], Any]) -> Any:
        """Return the base's output in a forward pass."""
        self._present, self._recording = None, True
        try:
            with torch.no_grad(), contextlib.suppress(_Enough):
                run()
        finally:
            self._recording = False
        found, self._recorded = self._recorded, None
        self._kind = type(found)
        return found

    def _seen(self, found: Any) -> torch.Tensor | None:
        value = getattr(found, self.view[0], None)
        if not isinstance(value, torch.Tensor):
            return None
        return value[:, :1] if self.view[1] else value

    def choose(self, run: Callable[[], torch.Tensor]) -> torch.Tensor | None:
        """Find the least that the head of a model in evaluation mode needs; `run` gives its outputs for some rows.

        Return what would be kept of these rows, None where nothing will do.
        """
        with torch.no_grad():
            wanted = run()
            found = self._record(run)
            for view in VIEWS:
                self.view = view
                kept = self._seen(found)
                if kept is None:
                    continue
                self._present = kept.clone()
                with contextlib.suppress(Exception):  # a head that needs more fails in its own way
                    limit = TOLERANCE * max(float(wanted.abs().max()), 1e-3)
                    if float((run() - wanted).abs().max()) <= limit:
                        return kept
        return None

    def fill(self, part: str, count: int, batches: Sequence[list[int]], run: Callable[[list[int]], Any]) -> None:
        """Keep what the base makes of `count` rows; `run` passes those it is given through the model."""
        for chosen in batches:
            Control.check()
            kept = self._seen(self._record(lambda chosen=chosen: run(chosen)))
            assert kept is not None
            store = self.stores.setdefault(part, kept.new_empty(count, *kept.shape[1:]))
            store[chosen] = kept

    def present(self, part: str, rows: Sequence[int], batch: dict[str, Any]) -> dict[str, Any]:
        """Let the coming forward pass of `batch`, made of these rows, start from what is kept."""
        self._present = self.stores[part][list(rows)] if part in self.stores else None
        return batch

    def absent(self) -> None:
        """Let forward passes compute everything."""
        self._present = None
