"""One run from its spec to its adapter: `python -m engine.train spec.json --out DIR`. No queue, no database."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from engine import result
from engine import spec as specs
from engine.control import Control, Mode, Stopped
from engine.environment import ENVIRONMENT, place, prepare_process
from engine.errors import NotEnough, Refused, StudioError
from engine.events import Event, Logged, RunCancelled, RunFailed, RunInterrupted, RunStarted, RunSucceeded, StageEntered
from engine.spec import RunSpec

if TYPE_CHECKING:
    from engine.checkpoint import Checkpoint
    from engine.evaluation.forgetting import Watch
    from engine.intake import Rows
    from engine.journal import Journal
    from engine.loop import Loop
    from engine.models import Loaded, Located
    from engine.parts import Parts

__all__ = ["ENVIRONMENT", "Control", "Sources", "main", "run"]


@dataclass(frozen=True)
class Sources:
    """Where things lie when not where the spec says: data files, the model's directory, the studio's data folder.

    `start` is the folder of the adapter that the method starts from, `forgetting` the second dataset's file; `names`
    are what a person calls the files `train` and `eval`.
    """

    train: Path | None = None
    eval: Path | None = None
    start: Path | None = None
    forgetting: Path | None = None
    model: Path | None = None
    data_dir: Path | None = None
    names: Mapping[str, str] = field(default_factory=dict[str, str])

    def told(self, part: Literal["train", "eval"], path: str) -> str:
        """Return which file a fault is in, as a person reads it; `path` is what the spec calls it."""
        name = self.names.get(part) or Path(path).name
        return f"{'evaluation' if part == 'eval' else 'training'} file {name}"


class Unexpected(StudioError):
    """{name}: {text}"""

    kind = "unexpected"
    try_this = "The log has the details. If the settings look right, report it."


class OutOfMemory(StudioError):
    """There was not enough memory to go on."""

    kind = "out_of_memory"
    try_this = "Use a smaller batch size or max length, gradient checkpointing, or a smaller or quantized base model."


@dataclass
class Attempt:
    """One try at a run: its folder, journal, clock and what is known so far for result.json."""

    spec: RunSpec
    out: Path
    journal: Journal
    sources: Sources
    resume: bool
    checkpoint_dirs: Sequence[Path]
    device: str
    rank: int = 0
    world: int = 1
    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    loop: Loop | None = None
    fingerprint: str = ""
    found: Checkpoint | None = None
    watch: Watch | None = None
    rows: Rows = field(init=False)
    parts: Parts = field(init=False)
    loaded: Loaded = field(init=False)
    located: Located = field(init=False)
    resolved: dict[str, Any] = field(default_factory=dict)
    studio: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, text: str = "") -> Any:
        """Announce a stage, time it, and stop before it when asked to."""
        Control.check()
        self.journal.write(StageEntered(name, text))
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def log(self, text: str, level: str = "info") -> None:
        """Write a line for the run's log."""
        self.journal.write(Logged(text, level))


def run(spec: RunSpec, out: Path, *, sources: Sources | None = None, resume: bool = True,
        checkpoint_dirs: Sequence[Path] = (), on_event: Callable[[Event], None] | None = None,
        device: str | None = None) -> dict[str, Any]:
    """Train as `spec` says and write everything into `out`; return result.json.

    `checkpoint_dirs` are earlier attempts' `checkpoints` folders; the newest valid one there and in `out` is
    gone on from. `result["state"]` is succeeded, cancelled, interrupted or failed; raises Refused (state failed is
    written too) when the run cannot start.
    """
    began = time.monotonic()
    prepare_process()
    out.mkdir(parents=True, exist_ok=True)
    rank, world = place()
    Control.begin(out, alone=world == 1)
    from engine import intake
    from engine.journal import Journal, Silent

    journal = Journal(out / "events.jsonl", on_event) if rank == 0 else Silent()
    attempt = Attempt(spec, out, journal, sources or Sources(), resume, checkpoint_dirs, device or "cpu", rank, world,
                      began)
    try:
        if rank == 0:
            (out / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        intake.gather(attempt)
        # torch, transformers and peft take seconds to import: only now is it worth it.
        from engine import finish, prepare, rate_test
        from engine.evaluation import forgetting

        attempt.device = prepare.device(device)
        attempt.seconds["start"] = time.monotonic() - began - sum(attempt.seconds.values())
        attempt.loop = prepare.loop(attempt)
        attempt.watch = forgetting.watch(attempt)
        attempt.loop.run()
        done = rate_test.conclude(attempt) if spec.rate_test else finish.succeed(attempt)
        journal.write(RunSucceeded(done))
        return done
    except Stopped as stopped:
        return _stop(attempt, stopped.mode)
    except Exception as error:
        refused = _as_studio_error(attempt, error)
        failed = result.write(attempt, "failed", error=refused.as_dict())
        journal.write(RunFailed(refused.as_dict()))
        if isinstance(refused, Refused):
            raise refused from error
        return failed
    finally:
        if attempt.loop is not None:
            # Whoever calls a model next in this process may do so without a task.
            from engine.attention import set_layout

            set_layout(None)
        journal.close()
        Control.end()


def _stop(attempt: Attempt, mode: Mode) -> dict[str, Any]:
    """End a run that was asked to stop: with a checkpoint to resume from, with its adapter, or with nothing."""
    if attempt.spec.rate_test:
        from engine import rate_test

        return rate_test.stop(attempt, mode)
    loop = attempt.loop
    step = loop.step if loop is not None else 0
    if mode == "interrupt":
        if loop is not None and step:
            loop.save_checkpoint()
        interrupted = result.write(attempt, "interrupted")
        attempt.journal.write(RunInterrupted(step))
        return interrupted
    saved = mode == "save" and step > 0
    if saved:
        from engine import finish

        done = finish.save_stopped(attempt)
    else:
        done = result.write(attempt, "cancelled")
    attempt.journal.write(RunCancelled(saved, done))
    return done


def _as_studio_error(attempt: Attempt, error: Exception) -> StudioError:
    """Return the error as one of ours, its traceback in the log."""
    if isinstance(error, StudioError):
        return error
    import traceback

    attempt.log("".join(traceback.format_exception(error)), level="error")
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return OutOfMemory("training.batch_size")
    if isinstance(error, OSError) and error.errno == 28:
        return NotEnough(str(attempt.out), resource="disk space", needed="more", available="none")
    return Unexpected("", name=type(error).__name__, text=str(error) or "no message")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a spec file; exit code 0 succeeded, 1 failed, 2 refused, 3 cancelled or interrupted."""
    parser = argparse.ArgumentParser(prog="python -m engine.train", description=__doc__)
    parser.add_argument("spec", type=Path, help="the run's spec.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter, events and result")
    parser.add_argument("--no-resume", action="store_true", help="start anew even where a checkpoint lies in --out")
    options = parser.parse_args(arguments)
    try:
        spec = specs.read(options.spec)
        if arguments is None and spec.model.quantization is None:
            # In a process of its own, as if not installed: peft would import it, a second of work, for nothing.
            from engine.models import QUANTIZER

            sys.modules.setdefault(QUANTIZER, cast(Any, None))
        ended = run(spec, options.out, resume=not options.no_resume, on_event=show)
    except StudioError as error:
        sys.stderr.write(json.dumps(error.as_dict(), ensure_ascii=False) + "\n")
        return error.exit_code
    if ended["state"] == "failed":
        sys.stderr.write(json.dumps(ended["error"], ensure_ascii=False) + "\n")
    return {"succeeded": 0, "failed": 1}.get(ended["state"], 3)


def show(event: Event) -> None:
    """Show an event as a line a person can follow."""
    from engine.events import Evaluated, StepsTrained

    if isinstance(event, StepsTrained):
        numbers = event.metrics
        print(f"step {event.step:>6}  epoch {event.epoch:6.2f}  loss {numbers['loss']:.4f}  "
              f"{numbers['examples_per_second']:.0f} rows/s", flush=True)
    elif isinstance(event, Evaluated):
        print(f"evaluation at {event.step}: " + "  ".join(
            f"{name} {value:.4f}" for name, value in event.metrics.items()), flush=True)
    elif isinstance(event, Logged):
        print(event.text, flush=True)
    elif isinstance(event, (StageEntered, RunStarted)):
        print(f"{getattr(event, 'stage', 'start')} {getattr(event, 'text', '')}".strip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
