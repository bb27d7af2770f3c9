"""What happens during a run, in the past tense: the child writes these, everybody else reads them."""

from __future__ import annotations

import dataclasses
import json
import zlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened. `seq` counts from 0 within an attempt; `at` is Unix time in seconds."""

    seq: int = field(default=-1, kw_only=True)
    at: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True)
class RunStarted(Event):
    """The child began; `resumed_from` is the step of the checkpoint it goes on from."""

    resumed_from: int | None = None


@dataclass(frozen=True)
class StageEntered(Event):
    """A stage before or after training began: load, prepare, train, evaluate, save."""

    stage: str
    text: str = ""


@dataclass(frozen=True)
class RunPrepared(Event):
    """Model and data are ready. `parameters` as in result.json; `resolved` holds what "auto" came to."""

    total_steps: int
    parameters: dict[str, Any]
    resolved: dict[str, Any]
    train_rows: int
    eval_rows: int
    truncated: int
    estimated_bytes: int


@dataclass(frozen=True)
class StepsTrained(Event):
    """Updates were made. `metrics` at `step`: loss, learning_rate, grad_norm, examples_per_second, tokens_per_second,
    rss_bytes, cuda_bytes; `eta` in seconds."""

    step: int
    epoch: float
    metrics: dict[str, float]
    eta: float | None = None


@dataclass(frozen=True)
class Evaluated(Event):
    """The eval rows were scored after `step` updates; names carry no prefix here (`accuracy`, `loss`)."""

    step: int
    epoch: float
    metrics: dict[str, float]
    best: bool = False


@dataclass(frozen=True)
class PredictionsRecorded(Event):
    """The best and worst eval predictions were written to `examples.json` in the run's folder."""

    count: int


@dataclass(frozen=True)
class SamplesWritten(Event):
    """What the model writes to a few prompts after `step` updates was added to `samples.jsonl` in the run's folder."""

    step: int
    count: int


@dataclass(frozen=True)
class CheckpointSaved(Event):
    """A checkpoint that training can resume from is complete."""

    step: int
    name: str
    bytes: int


@dataclass(frozen=True)
class Logged(Event):
    """A line for the run's log."""

    text: str
    level: str = "info"


@dataclass(frozen=True)
class RunSucceeded(Event):
    """Training, final evaluation and saving are complete. `result` is result.json."""

    result: dict[str, Any]


@dataclass(frozen=True)
class RunCancelled(Event):
    """Training was stopped on request. `saved` tells whether the adapter was kept; `result` is result.json."""

    saved: bool
    result: dict[str, Any]


@dataclass(frozen=True)
class RunInterrupted(Event):
    """Training stopped at a checkpoint because its worker is going away; it can resume."""

    step: int


@dataclass(frozen=True)
class RunFailed(Event):
    """The run ended by an error: {kind, what, where, try_this}."""

    error: dict[str, str]


KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}


class BrokenLine(ValueError):
    """A journal line is incomplete or its checksum is wrong."""


def to_line(event: Event) -> str:
    """Return the event as one JSON line whose last field `crc` covers everything before it."""
    body = json.dumps({"event": type(event).__name__} | dataclasses.asdict(event), ensure_ascii=False, allow_nan=False,
                      separators=(",", ":"))
    return f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'


def from_line(line: str) -> Event:
    """Return the event of one journal line; raises BrokenLine."""
    body, mark, tail = line.rstrip("\n").rpartition(',"crc":"')
    if not mark or tail[8:] != '"}' or f"{zlib.crc32((body + '}').encode()):08x}" != tail[:8]:
        raise BrokenLine(line[:80])
    values = json.loads(body + "}")
    kind = KINDS.get(values.pop("event"))
    if kind is None:
        raise BrokenLine(line[:80])
    return kind(**values)
