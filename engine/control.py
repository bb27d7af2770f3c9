"""How a run is asked to stop: a signal, and a file that says what is to become of the work."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal, get_args

Mode = Literal["save", "discard", "interrupt"]


class Stopped(Exception):
    """The run was asked to stop; `mode` says how."""

    def __init__(self, mode: Mode) -> None:
        super().__init__(mode)
        self.mode: Mode = mode


class Control:
    """Remembers that somebody asked this process's run to stop. SIGTERM and SIGINT ask by themselves."""

    _mode: ClassVar[Mode | None] = None
    _folder: ClassVar[Path | None] = None
    #: Whether the processes of a run that several share agreed to stop; before that, none of them leaves the others.
    _agreed: ClassVar[bool] = True
    _before: ClassVar[dict[int, Any]] = {}

    @classmethod
    def begin(cls, folder: Path, *, alone: bool = True) -> None:
        """Listen for signals from now on; `folder` is where `stop.json` may lie. Only the main thread can listen.

        Processes that are not `alone` at their run stop where they `agree` to.
        """
        cls._mode, cls._folder, cls._agreed = None, folder, alone
        (folder / "stop.json").unlink(missing_ok=True)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                cls._before[number] = signal.signal(number, cls._heard)

    @classmethod
    def end(cls) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in cls._before.items():
            signal.signal(number, handler)
        cls._before, cls._folder, cls._agreed = {}, None, True

    @classmethod
    def request(cls, mode: Mode | None = None) -> None:
        """Ask the run to stop as `mode` says; without one, as `stop.json` says; without that, to be resumed."""
        cls._mode = mode or cls._written() or "interrupt"

    @classmethod
    def check(cls) -> None:
        """Raise Stopped when somebody asked."""
        if cls._mode is not None and cls._agreed:
            raise Stopped(cls._mode)

    @classmethod
    def agree(cls) -> None:
        """Stop at the next check: a process of this run was asked to."""
        cls._agreed = True
        if cls._mode is None:
            cls.request()

    @classmethod
    def asked(cls) -> bool:
        """Whether somebody asked."""
        return cls._mode is not None

    @classmethod
    def urgent(cls) -> bool:
        """Whether the run is to stop without finishing what it is at: anything but stop-and-save."""
        return cls._agreed and cls._mode in ("discard", "interrupt")

    @classmethod
    def _heard(cls, number: int, frame: FrameType | None) -> None:
        cls.request()

    @classmethod
    def _written(cls) -> Mode | None:
        if cls._folder is None:
            return None
        try:
            mode = json.loads((cls._folder / "stop.json").read_text(encoding="utf-8"))["mode"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return mode if mode in get_args(Mode) else None
