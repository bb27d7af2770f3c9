"""Keeps processes from outliving the one that started them (Linux; elsewhere the pipes and groups have to do)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_LIBC: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def tied_to(parent: int, number: int = signal.SIGTERM) -> Callable[[], None]:
    """Return what a new process runs before its program starts, so that it gets signal `number` when `parent` dies.

    The kernel watches the thread that started the process: start it from one that lives as long as the program.
    """
    def tie() -> None:
        if _LIBC is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:
                os._exit(1)

    return tie


def adopt_orphans() -> None:
    """Make processes whose parent dies children of this one, so that none of them can be lost."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants() -> list[psutil.Process]:
    """Return every living process below this one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process().children(recursive=True)
    return []


def bury(known: Iterable[int]) -> None:
    """Collect ended processes that were adopted; `known` are those somebody else waits for."""
    keep = set(known)
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
                if one.pid not in keep and one.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(one.pid, os.WNOHANG)


def end_all(processes: Iterable[psutil.Process], seconds: float = 3.0) -> int:
    """End processes by force; returns how many were still there."""
    ended = 0
    left = list(processes)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.status() != psutil.STATUS_ZOMBIE:
                one.kill()
                ended += 1
    psutil.wait_procs(left, timeout=seconds)
    return ended
