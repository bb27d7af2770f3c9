"""What the training loop works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engine import precision
from engine.batches import Plan
from engine.features import Features
from engine.hidden import HiddenStates
from engine.journal import Journal
from engine.optimizer import FlatAdamW
from engine.scale import Scale
from engine.share import Share
from engine.spec import RunSpec
from engine.tasks.base import Task
from engine.tasks.terms import Encoded

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Parts:
    """What the loop works with; everything here is ready to use and on its device."""

    spec: RunSpec
    task: Task
    model: torch.nn.Module
    base: torch.nn.Module | None
    optimizer: FlatAdamW
    formats: precision.Formats
    device: str
    pad_id: int
    packed: bool
    plan: Plan
    train: Encoded
    eval: Encoded | None
    eval_table: pa.Table
    columns: dict[str, str]
    total_steps: int
    out: Path
    journal: Journal
    fingerprint: str
    share: Share = field(default_factory=Share)
    hidden: HiddenStates | Features | None = None
    scale: Scale | None = None


@dataclass
class Tally:
    """Sums since the last report, and over the run."""

    loss: float = 0.0
    terms: int = 0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
