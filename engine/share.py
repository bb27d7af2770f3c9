"""One process's part of a run that several share, as `accelerate launch` starts them, and what they must agree on."""

from __future__ import annotations

import torch

from engine.batches import Update


class Share:
    """The part of every update that one process works on; with others, what is decided is decided alike by all."""

    def __init__(self, rank: int = 0, world: int = 1, device: str = "cpu") -> None:
        """Process `rank` of `world`, whose tensors are on `device`."""
        self.rank, self.world, self.device = rank, world, device

    def of(self, update: Update) -> list[list[int]]:
        """Return this process's micro-batches; every `world`-th row of each, so that the work is even."""
        if self.world == 1:
            return update.micro
        return [part for batch in update.micro if (part := batch[self.rank::self.world])]

    def agreed(self, *answers: bool) -> list[bool]:
        """Return for each question whether any process says yes: clocks and signals differ between them."""
        if self.world == 1:
            return list(answers)
        asked = torch.tensor([int(answer) for answer in answers], device=self.device)
        torch.distributed.all_reduce(asked)
        return [bool(found) for found in asked.tolist()]

    def first(self, value: float) -> float:
        """Return the first process's value, so that rounding on another device decides nothing."""
        if self.world == 1:
            return value
        # Half precision would do for no metric, and not every device has doubles.
        told = torch.tensor([value], dtype=torch.float32, device=self.device)
        torch.distributed.broadcast(told, 0)
        return float(told)

    def add(self, *tensors: torch.Tensor) -> None:
        """Put the sum over all processes in place of each tensor."""
        if self.world > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def wait(self) -> None:
        """Go on when every process is here."""
        if self.world > 1:
            torch.distributed.barrier()
