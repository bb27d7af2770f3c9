"""The training loop: updates, evaluations and checkpoints, in an order that a resumed run repeats exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from engine import checkpoint, evaluate, precision
from engine.batches import Update
from engine.control import Control
from engine.environment import resident_bytes
from engine.errors import StudioError
from engine.events import CheckpointSaved, Evaluated, Logged, StageEntered, StepsTrained
from engine.generation.samples import Samples
from engine.optimizer import schedule
from engine.parts import Parts, Tally
from engine.tasks.terms import Outputs

#: Gradients are scaled down to this norm, as everybody does.
MAX_NORM = 1.0
#: At most this many StepsTrained events a second.
REPORTS_A_SECOND = 4
#: Seconds between checkpoints when none is asked for by number.
CHECKPOINT_SECONDS = 60.0
#: What stands before the names of a method's own state among a checkpoint's tensors.
METHOD_STATE = "method."


class Diverged(StudioError):
    """The loss stopped being a number after update {step}."""

    kind = "diverged"
    try_this = "Use a smaller learning rate, or precision fp32."


class Loop:
    """Makes the updates of a run from `step` to its end. `step` counts finished updates."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.step = 0
        self.rows = [i for i, row in enumerate(parts.train.rows) if parts.task.targets(row) > 0]
        self.lengths = [parts.task.length(parts.train.rows[i]) for i in self.rows]
        self.per_epoch = parts.plan.updates(len(self.rows))
        self.rate = schedule(parts.spec.training.schedule, parts.total_steps, parts.spec.training.warmup)
        self.best: dict[str, Any] | None = None
        self.waited = 0
        self.evaluated = 0
        self.last: tuple[int, Outputs] | None = None
        #: What was measured before the first update, to tell what is forgotten.
        self.before: float | None = None
        self.samples = Samples(parts)
        self.recent, self.whole = Tally(), Tally()
        self.real, self.computed = 0, 0
        self.seconds = {"train": 0.0, "eval": 0.0}
        self.peak = 0
        self._loss = torch.zeros((), device=parts.device)
        self._order: tuple[int, list[Update]] = (-1, [])
        self._reported = self._saved = time.monotonic()
        self._report_due = self._save_due = False
        self._eval_seconds = 0.0

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the last update, early stop, or Stopped."""
        parts = self.parts
        parts.journal.write(StageEntered("train"))
        if not self.step:
            self.samples.take(self.step, self.epoch)
        precision.training_mode(parts.model, parts.base)
        self._reported = self._saved = time.monotonic()
        self._settle()
        while self.step < parts.total_steps and not self._patience_spent():
            self._listen()
            started = time.monotonic()
            norm = self._update(self._next())
            self.step += 1
            self.recent.seconds += time.monotonic() - started
            self._look_at_the_clock()
            self._report(norm, now=self._evaluation_due() or self.step in (1, parts.total_steps))
            self._settle()
        if self._patience_spent():
            parts.journal.write(Logged(f"Stopped early: no improvement in {self.waited} evaluations."))

    def _settle(self) -> None:
        """Do what is due after an update; a resumed run does first what the interrupt cut short."""
        due = self._evaluation_due() and self.evaluated != self.step
        if due:
            self.evaluate()
        if self._checkpoint_due(due):
            self.save_checkpoint()

    def _listen(self) -> None:
        """Raise Stopped when asked to; processes that share a run stop at the same update."""
        if any(self.parts.share.agreed(Control.asked())):
            Control.agree()
        Control.check()

    def _look_at_the_clock(self) -> None:
        """Note whether it is time for a report and for a checkpoint."""
        now = time.monotonic()
        self._report_due, self._save_due = self.parts.share.agreed(
            now - self._reported >= 1 / REPORTS_A_SECOND, now - self._saved > CHECKPOINT_SECONDS)

    def _next(self) -> Update:
        epoch, place = divmod(self.step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self.parts.plan.epoch(self.lengths, self.parts.spec.training.seed, epoch))
        return self._order[1][place]

    def _update(self, update: Update) -> torch.Tensor:
        """Make one optimizer update; return the norm of its gradient before clipping."""
        parts = self.parts
        terms = sum(parts.task.targets(parts.train.rows[self.rows[i]]) for i in update.rows)
        if parts.share.world > 1:
            torch.manual_seed(hash((parts.spec.training.seed, self.step, parts.share.rank)) & 0x7FFFFFFF)
        parts.spec.method.before_update(parts.model, self.step, parts.total_steps)
        gain = parts.scale.gain if parts.scale is not None else 1.0
        for micro in parts.share.of(update):
            rows = self._seen(micro) * parts.spec.method.copies
            batch = evaluate.to_device(parts.task.collate(rows, parts.pad_id, packed=parts.packed), parts.device)
            self.computed += parts.task.places(batch)
            if parts.hidden is not None:
                batch = parts.hidden.present("train", [self.rows[i] for i in micro], batch)
            with parts.formats.context(parts.device):
                loss = parts.task.loss(parts.model, batch) / parts.spec.method.copies
            (loss * gain / terms).backward()
            self._loss += loss.detach()
        penalty = parts.spec.method.penalty(parts.model)
        if penalty is not None:
            (penalty / parts.share.world).backward()
        parts.share.add(*parts.optimizer.gradients())
        norm = parts.optimizer.clip(MAX_NORM)
        parts.optimizer.step(self.rate(self.step))
        parts.spec.method.after_update(parts.model, self.step, parts.total_steps)
        parts.optimizer.forget()
        tokens = sum(self.lengths[i] for i in update.rows)
        self.real += tokens
        self.recent.terms += terms
        self.recent.examples += len(update.rows)
        self.recent.tokens += tokens
        return norm

    def _seen(self, chosen: Sequence[int]) -> list[dict[str, Any]]:
        """Return examples as this epoch sees them; the same for the same seed, epoch and row, so also when resumed."""
        train, task, numbers = self.parts.train, self.parts.task, [self.rows[i] for i in chosen]
        seed, epoch = self.parts.spec.training.seed, self.step // self.per_epoch
        rows = [train.rows[number] for number in numbers]
        return [task.vary(row, (seed, epoch, number)) for row, number in zip(rows, numbers, strict=True)] \
            if task.varies else rows

    # -- reports ---------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return round(self.step / self.per_epoch, 4)

    def _report(self, norm: torch.Tensor, *, now: bool) -> None:
        """Write a StepsTrained event, unless one was written a moment ago."""
        if not now and not self._report_due:
            return
        self.parts.share.add(self._loss)
        recent, loss = self.recent, float(self._loss)
        if not math.isfinite(loss):
            raise Diverged("training.learning_rate", step=self.step)
        self.peak = max(self.peak, resident_bytes())
        cuda = torch.cuda.max_memory_allocated() if self.parts.device.startswith("cuda") else 0
        seconds = max(recent.seconds, 1e-9)
        self.parts.journal.write(StepsTrained(step=self.step, epoch=self.epoch, eta=self._eta(), metrics={
            "loss": loss / max(1, recent.terms),
            "learning_rate": self.parts.optimizer.peaks[0] * self.rate(self.step - 1),
            "grad_norm": float(norm), "examples_per_second": recent.examples / seconds,
            "tokens_per_second": recent.tokens / seconds, "rss_bytes": resident_bytes(), "cuda_bytes": cuda}))
        self._add_up()
        self._reported = time.monotonic()

    def _add_up(self) -> None:
        for name in ("terms", "examples", "tokens", "seconds"):
            setattr(self.whole, name, getattr(self.whole, name) + getattr(self.recent, name))
        self.recent = Tally()
        self._loss.zero_()

    def _eta(self) -> float:
        """Return the seconds left, evaluations included."""
        spent = self.whole.seconds + self.recent.seconds
        done = (self.whole.examples + self.recent.examples) / self.parts.plan.size
        left = self.parts.total_steps - self.step
        every = self._eval_every()
        evaluations = left // every if every else 1
        return round(left * spent / max(done, 1e-9) + evaluations * self._eval_seconds, 1)

    # -- evaluation ------------------------------------------------------------------------------------------------

    def _eval_every(self) -> int:
        every = self.parts.spec.training.eval_every
        return self.per_epoch if every == "epoch" else 0 if every == "never" else int(every)

    def _evaluation_due(self) -> bool:
        every = self._eval_every()
        return self.parts.eval is not None and self.step > 0 and (
            self.step == self.parts.total_steps or bool(every and self.step % every == 0))

    def evaluate(self) -> Outputs | None:
        """Score the eval rows and note whether this is the best so far."""
        parts = self.parts
        if parts.eval is None:
            return None
        started = time.monotonic()
        outputs = evaluate.score(parts)
        self.samples.take(self.step, self.epoch)
        precision.training_mode(parts.model, parts.base)
        value = outputs.metrics.get(parts.task.metric, math.nan)
        better = self._better(parts.share.first(value))
        if better:
            self.best, self.waited = {"step": self.step, "metric": parts.task.metric, "value": value}, 0
        else:
            self.waited += 1
        self.last, self.evaluated = (self.step, outputs), self.step
        self._eval_seconds = time.monotonic() - started
        self.seconds["eval"] += self._eval_seconds
        parts.journal.write(Evaluated(step=self.step, epoch=self.epoch, metrics=outputs.metrics, best=better))
        return outputs

    def _better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        patience = self.parts.spec.training.early_stopping
        threshold = patience.threshold if patience else 0.0
        gain = value - self.best["value"] if self.parts.task.greater_is_better else self.best["value"] - value
        return gain > threshold

    def _patience_spent(self) -> bool:
        patience = self.parts.spec.training.early_stopping
        return patience is not None and self.waited >= patience.patience

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def _checkpoint_due(self, evaluated: bool) -> bool:
        every = self.parts.spec.training.checkpoint_every
        if evaluated and self._keeps_best() and self.best is not None and self.best["step"] == self.step:
            return True
        if self.step in (0, self.parts.total_steps):
            return False
        if every:
            return self.step % every == 0
        return evaluated or self._save_due

    def _keeps_best(self) -> bool:
        return self.parts.spec.training.early_stopping is not None

    def weights(self) -> dict[str, torch.Tensor]:
        """Return every trained tensor by name, and what else the method remembers."""
        trained = {name: p.detach() for name, p in self.parts.model.named_parameters() if p.requires_grad}
        state = self.parts.spec.method.state(self.parts.model)
        return trained | {METHOD_STATE + name: value.detach() for name, value in state.items()}

    def save_checkpoint(self) -> None:
        """Write everything needed to go on from here."""
        parts = self.parts
        if parts.share.rank == 0:
            keep = [self.best["step"]] if self.best and self._keeps_best() else []
            path, size = checkpoint.save(
                parts.out / "checkpoints", self.step, weights=self.weights(), optimizer=parts.optimizer.state(),
                state={"step": self.step, "fingerprint": parts.fingerprint, "best": self.best, "waited": self.waited,
                       "evaluated": self.evaluated, "before": self.before,
                       "real": self.real, "computed": self.computed, "world": parts.share.world}, keep=keep)
            parts.journal.write(CheckpointSaved(step=self.step, name=path.name, bytes=size))
        parts.share.wait()
        self._saved = time.monotonic()

    def resume(self, found: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint: same weights, moments, random numbers, and place in the data."""
        self.load_weights(found.weights)
        self.parts.optimizer.load_state(found.optimizer)
        checkpoint.restore_rng(found.rng)
        self.step = found.step
        self.best, self.waited, self.evaluated = (found.state[name] for name in ("best", "waited", "evaluated"))
        self.real, self.computed = found.state["real"], found.state["computed"]
        self.before = found.state.get("before")

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Copy `weights` into the trained tensors, and give the method back what it remembered."""
        own = {name: p for name, p in self.parts.model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name, value in weights.items():
                if name in own:
                    own[name].copy_(value)
        self.parts.spec.method.load_state(self.parts.model, {
            name.removeprefix(METHOD_STATE): value for name, value in weights.items()
            if name.startswith(METHOD_STATE)})

    def take_best(self, folders: Sequence[Path], log: Callable[[str], None]) -> int:
        """With early stopping, put the best evaluation's weights back; return the step the weights are of."""
        if not self._keeps_best() or self.best is None or self.best["step"] == self.step:
            return self.step
        found = checkpoint.find(folders, self.best["step"])
        if found is None:
            log(f"The checkpoint of the best evaluation (update {self.best['step']}) is gone; the last are kept.")
            return self.step
        self.load_weights(found.weights)
        self.last = None
        log(f"The adapter is the one of update {self.best['step']}, which was evaluated best.")
        return found.step
