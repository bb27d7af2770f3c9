"""A learning-rate range test: `python -m engine.rate_test spec.json --out DIR`.

Trains a copy that is thrown away, on the run's own method and data, while the rate rises by the same factor from
update to update (Smith, 2017, Cyclical Learning Rates). Nothing is evaluated or saved but the losses in result.json.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine import precision, rates, result
from engine import spec as specs
from engine.control import Mode
from engine.environment import resident_bytes
from engine.errors import StudioError
from engine.events import Event, RunCancelled, RunInterrupted, StageEntered, StepsTrained
from engine.loop import Loop
from engine.parts import Parts
from engine.spec import RateTest, RunSpec

if TYPE_CHECKING:
    from engine.train import Attempt


class Sweep(Loop):
    """Updates whose learning rate rises from one to the next, until the last or until the loss blows up."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        test = parts.spec.rate_test
        assert test is not None
        self.ladder = rates.ladder(test, parts.optimizer.peaks[0])
        self.losses: list[float] = []
        # Groups with rates of their own keep their ratio to the first.
        self.rate = lambda step: self.ladder[step] / parts.optimizer.peaks[0]

    def run(self) -> None:
        """Make the updates; raises Stopped."""
        parts = self.parts
        parts.journal.write(StageEntered("train", "Raising the learning rate"))
        precision.training_mode(parts.model, parts.base)
        while self.step < len(self.ladder):
            self._listen()
            started = time.monotonic()
            norm = self._update(self._next())
            self.step += 1
            self.recent.seconds += time.monotonic() - started
            self._report(norm, now=True)
            if rates.blown_up(self.losses, len(self.ladder)):
                break

    def _report(self, norm: torch.Tensor, *, now: bool) -> None:
        """Note the update's loss and write it with its rate."""
        self.parts.share.add(self._loss)
        loss = float(self._loss) / max(1, self.recent.terms)
        self.losses.append(loss)
        self.peak = max(self.peak, resident_bytes())
        left = len(self.ladder) - self.step
        each = (self.whole.seconds + self.recent.seconds) / self.step
        self.parts.journal.write(StepsTrained(step=self.step, epoch=self.epoch, eta=round(left * each, 1), metrics={
            "loss": loss, "learning_rate": self.ladder[self.step - 1], "grad_norm": float(norm),
            "rss_bytes": resident_bytes()}))
        self._add_up()

    def save_checkpoint(self) -> None:
        """Keep nothing: a test that was cut short begins anew."""


def planned(spec: RunSpec) -> RunSpec:
    """Return the spec with as many updates as the test has, and without evaluation on the way."""
    assert spec.rate_test is not None
    updates = spec.rate_test.updates
    training = spec.training.model_copy(update={"epochs": float(updates), "max_steps": updates, "eval_every": "never",
                                                "early_stopping": None, "checkpoint_every": None})
    return spec.model_copy(update={"training": training})


def conclude(attempt: Attempt, state: str = "succeeded") -> dict[str, Any]:
    """Write result.json with the rates, their losses and what they suggest under `rate_test`; return it."""
    loop = attempt.loop
    assert isinstance(loop, Sweep)
    tried = loop.ladder[:len(loop.losses)]
    found = rates.suggest(tried, loop.losses, len(loop.ladder))
    attempt.result["rate_test"] = found.model_dump() | {
        "rates": tried, "losses": loop.losses, "smoothed": rates.smooth([loss for loss in loop.losses
                                                                         if math.isfinite(loss)], len(loop.ladder))}
    attempt.log(found.why + (f" Suggested: {found.suggested:g}." if found.suggested else ""))
    return result.write(attempt, state)


def stop(attempt: Attempt, mode: Mode) -> dict[str, Any]:
    """End a test that was asked to stop: with what it saw so far ("save"), with nothing, or to begin anew."""
    loop = attempt.loop
    if mode == "interrupt":
        interrupted = result.write(attempt, "interrupted")
        attempt.journal.write(RunInterrupted(0))
        return interrupted
    seen = mode == "save" and isinstance(loop, Sweep) and loop.losses
    done = conclude(attempt, "cancelled") if seen else result.write(attempt, "cancelled")
    attempt.journal.write(RunCancelled(False, done))
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Test the rates of a spec's run; exit codes are those of `engine.train`."""
    from engine import train

    parser = argparse.ArgumentParser(prog="python -m engine.rate_test", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("spec", type=Path, help="the run's spec.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for the losses and the suggestion")
    for name, field in RateTest.model_fields.items():
        parser.add_argument(f"--{name}", type=int if field.annotation is int else float, default=field.default,
                            help=field.description)
    given = vars(parser.parse_args(arguments))
    try:
        document = specs.read(given["spec"]).model_dump(mode="json")
        test = {name: given[name] for name in RateTest.model_fields}
        ended = train.run(specs.parse(document | {"rate_test": test}), given["out"], resume=False,
                          on_event=_show)
    except StudioError as error:
        sys.stderr.write(json.dumps(error.as_dict(), ensure_ascii=False) + "\n")
        return error.exit_code
    return {"succeeded": 0, "failed": 1}.get(ended["state"], 3)


def _show(event: Event) -> None:
    """Show an update as its rate and loss, anything else as training does."""
    from engine import train

    if isinstance(event, StepsTrained):
        print(f"step {event.step:>4}  rate {event.metrics['learning_rate']:.2e}  "
              f"loss {event.metrics.get('loss', math.nan):.4f}", flush=True)
    else:
        train.show(event)


if __name__ == "__main__":
    sys.exit(main())
