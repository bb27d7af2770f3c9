"""What the model writes to the same few prompts at every evaluation, kept by step in `samples.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.events import SamplesWritten

if TYPE_CHECKING:
    from engine.parts import Parts

NAME = "samples.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    """Return the samples of a file by step: {step, epoch, samples: [{row, input, expected, written}]}.

    A line that a killed process left half written is passed over, and of two of one step the later one counts.
    """
    found: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            found[int(entry["step"])] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return [found[step] for step in sorted(found)]


class Samples:
    """The samples of a run under way. They draw no random numbers, so training is the same without them."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.path = parts.out / NAME
        self.steps: set[int] = set()

    def go_on(self, folders: Iterable[Path], step: int) -> None:
        """Keep what was written up to `step` here, or in the `folders` of earlier attempts; the rest comes again."""
        known: dict[int, dict[str, Any]] = {}
        for folder in [*folders, self.parts.out]:
            known |= {entry["step"]: entry for entry in read(folder / NAME) if entry["step"] <= step}
        self._write([known[number] for number in sorted(known)])

    def take(self, step: int, epoch: float) -> None:
        """Let the model answer, unless it did at this step; raises Stopped when the run is to stop at once."""
        parts = self.parts
        if parts.eval is None or parts.share.rank or step in self.steps:
            return
        if not step:
            # Whatever lies here is of a run that began anew.
            self.path.unlink(missing_ok=True)
        from engine import evaluate

        found = evaluate.sample(parts)
        self.steps.add(step)
        if found:
            self._append({"step": step, "epoch": epoch, "samples": found})
            parts.journal.write(SamplesWritten(step=step, count=len(found)))

    def _write(self, entries: list[dict[str, Any]]) -> None:
        self.steps = {entry["step"] for entry in entries}
        if not entries:
            self.path.unlink(missing_ok=True)
            return
        partial = self.path.with_name(f".tmp-{NAME}")
        partial.write_text("".join(_line(entry) for entry in entries), encoding="utf-8")
        partial.replace(self.path)

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
