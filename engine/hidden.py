"""What the frozen lower blocks make of each row, computed once: they never change while only what is above learns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from engine.batches import Layout, split
from engine.flat import Flat

#: Part of the free memory that hidden states may take; where they need more, nothing is kept.
SHARE = 0.25


class _Enough(Exception):
    """The hidden states are known; the rest of the forward pass is not needed."""


def until_known(run: Callable[[], Any]) -> None:
    """Run a forward pass as far as the hidden states that are being recorded."""
    with contextlib.suppress(_Enough):
        run()


class HiddenStates:
    """Keeps each row's hidden states (its tokens, or its first token alone; width) at the input of block `first`.

    With `first` equal to the number of blocks, what the head gets is kept.
    """

    def __init__(self, flat: Flat, first: int) -> None:
        self.flat, self.first = flat, first
        self.stores: dict[str, list[torch.Tensor]] = {}
        self._present: torch.Tensor | None = None
        self._recorded: torch.Tensor | None = None
        self._recording = False
        self._tuples = False
        for block in list(flat.blocks)[:first]:
            self._bypass(block)
        if first < len(flat.blocks):
            flat.blocks[first].register_forward_pre_hook(self._at_block, with_kwargs=True)
        else:
            flat.blocks[-1].register_forward_hook(self._at_head)

    # -- hooks -----------------------------------------------------------------------------------------------------

    def _bypass(self, block: nn.Module) -> None:
        compute = block.forward

        def forward(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if self._present is not None:
                return (hidden_states,) if self._tuples else hidden_states
            found = compute(hidden_states, *args, **kwargs)
            self._tuples = isinstance(found, tuple)
            return found

        block.forward = forward  # type: ignore[method-assign]

    def _at_block(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        if self._recording:
            self._recorded = given
            raise _Enough
        if self._present is None:
            return None
        return ((self._present, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": self._present})

    def _at_head(self, block: nn.Module, inputs: Any, output: Any) -> Any:
        if self._recording:
            self._recorded = output[0] if isinstance(output, tuple) else output
            raise _Enough
        if self._present is None:
            return output
        return (self._present, *output[1:]) if isinstance(output, tuple) else self._present

    # -- use -------------------------------------------------------------------------------------------------------

    def fill(self, part: str, lengths: Sequence[int], budget: int, forward: Callable[[list[int]], Layout]) -> int:
        """Compute and keep the hidden states of every row; return their bytes.

        `forward` runs the model on the rows it is given and returns their layout. Rows are taken in a fixed order, so
        that a resumed run computes with the same numbers.
        """
        store: list[torch.Tensor | None] = [None] * len(lengths)
        self.absent()
        for chosen in split(range(len(lengths)), lengths, budget, packed=True):
            layout = self._record(forward, chosen)
            assert self._recorded is not None
            for place, row in enumerate(chosen):
                own = layout.lengths[place]
                if self.first == len(self.flat.blocks):
                    store[row] = self._recorded[place, :own].clone()
                else:
                    index = torch.as_tensor(layout.index[place, :own], device=self._recorded.device)
                    store[row] = self._recorded[0, index].clone()
        self._recorded = None
        self.stores[part] = [item for item in store if item is not None]
        return sum(item.numel() * item.element_size() for item in self.stores[part])

    def _record(self, forward: Callable[[list[int]], Layout], chosen: list[int]) -> Layout:
        self._recording = True
        try:
            with torch.no_grad():
                return forward(chosen)
        finally:
            self._recording = False

    def present(self, part: str, rows: Sequence[int], batch: dict[str, Any]) -> dict[str, Any]:
        """Let the coming forward pass of `batch`, made of these rows, start from what is kept; return its inputs."""
        if part not in self.stores:
            self.absent()
            return batch
        kept = [self.stores[part][row] for row in rows]
        if self.first == len(self.flat.blocks):
            self._present = nn.utils.rnn.pad_sequence(kept, batch_first=True)
            short = {name: value[:, :1] if name in ("input_ids", "position_ids", "token_type_ids") else value
                     for name, value in batch.items()}
            return {name: value for name, value in short.items() if name != "layout"}
        layout: Layout = batch["layout"]
        found = kept[0].new_zeros(1, layout.tokens, kept[0].shape[-1])
        for place, hidden in enumerate(kept):
            start = int(layout.index[place, 0])
            found[0, start:start + len(hidden)] = hidden
        self._present = found
        return batch

    def absent(self) -> None:
        """Let forward passes compute everything."""
        self._present = None


def bytes_needed(flat: Flat, first: int, lengths: Sequence[int], width: int, itemsize: int) -> int:
    """Return the bytes that the hidden states of rows of these lengths would take."""
    single = first == len(flat.blocks) and flat.first_only
    return (len(lengths) if single else sum(lengths)) * width * itemsize


def worthwhile(flat: Flat | None, first: int | None, model: nn.Module, passes: float) -> bool:
    """Whether blocks below `first` exist, hold nothing that is trained, and are passed more than once."""
    if flat is None or not first or passes < 1.5 or first > len(flat.blocks):
        return False
    if any(p.requires_grad for block in list(flat.blocks)[:first] for p in block.parameters()):
        return False
    embedding: Any = flat.inner.get_input_embeddings()
    return not any(p.requires_grad for p in embedding.parameters())
