"""A process that must always run: started again, ever more slowly, when it ends by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker import tether

#: Seconds: the longest pause before another start, and how long one must run to count as healthy again.
LONGEST_PAUSE = 30.0

Say = Callable[[str], None]


@dataclass
class Daemon:
    """One such process: its name for people, its command, and the file its output goes to."""

    name: str
    command: list[str]
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    started_at: float = 0.0
    due: float = 0.0

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches only the one who stops all in order."""
        self.starts += 1
        self.started_at = time.monotonic()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            env=self.environment, start_new_session=True,
                                            preexec_fn=tether.tied_to(os.getpid()))

    def watch(self, say: Say) -> None:
        """Start the process again when it has ended and its pause is over."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.due:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            if now - self.started_at > LONGEST_PAUSE:
                self.starts = 1
            return
        pause = min(0.5 * 2 ** (self.starts - 1), LONGEST_PAUSE)
        self.process, self.due = None, now + pause
        say(f"The {self.name} ended with code {code}{_last_line(self.log)}. Starting it again in {pause:g} s; "
            f"see {self.log}.")

    def signal(self, number: int) -> None:
        """Send the process a signal if it is there."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait until the process has ended; returns whether it has."""
        if self.process is None:
            return True
        try:
            self.process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(log.stat().st_size - 2000, 0))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return f" ({lines[-1][:160]})" if lines else ""
    return ""
