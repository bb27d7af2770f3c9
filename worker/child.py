"""The first function that runs in a child: own process group, own log, own share of the cores, then the order."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engine.errors import StudioError
from worker import wire
from worker.line import Line

#: Kind of order -> the module that carries it out.
ORDERS = {kind: f"worker.orders.{kind}" for kind in ("train", "inspect_dataset", "inspect_model", "export", "compose",
                                                     "batch", "insight", "look", "hub_look", "play")}


class ChildError(StudioError):
    """The work ended unexpectedly ({error})."""

    kind = "unexpected"
    try_this = "Look at the worker's log for the details."


def begin(link: Connection, order: dict[str, Any], frame: dict[str, Any]) -> None:
    """Carry out `order` and exit with its code; results and errors of everything but training go up the pipe."""
    os.setsid()
    _redirect(frame["log"])
    os.environ.update(frame["environment"])
    if order["kind"] == "ping":
        wire.put(link, "ready", missing=_missing(), modules=len(sys.modules))
        return
    _limit_threads(frame["threads"])
    line = Line(link, order.get("orphan_seconds"))
    line.put("ready")
    line.open()
    sys.exit(_carry_out(order, line))


def _carry_out(order: dict[str, Any], line: Line) -> int:
    try:
        outcome = importlib.import_module(ORDERS[order["kind"]]).carry_out(order, line)
    except StudioError as error:
        # A refused spec or refused data: the same last line on stderr that `python -m engine.train` writes.
        print(json.dumps(error.as_dict(), ensure_ascii=False), file=sys.stderr, flush=True)
        line.put("error", error=error.as_dict())
        return error.exit_code
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        traceback.print_exc()
        sys.stderr.flush()
        line.put("error", error=ChildError(order["kind"], error=f"{type(error).__name__}: {error}"[:300]).as_dict())
        return 1
    if isinstance(outcome, int):
        return outcome
    line.put("result", result=outcome)
    return 0


def _redirect(log: str | None) -> None:
    quiet = os.open(os.devnull, os.O_RDONLY)
    os.dup2(quiet, 0)
    os.close(quiet)
    if log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _limit_threads(threads: int) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    import torch

    torch.set_num_threads(threads)


def _missing() -> list[str]:
    warm = sys.modules.get("worker.warm")
    return list(warm.MISSING) if warm else ["worker.warm"]
