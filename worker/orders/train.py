"""Order `train`: one attempt of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine import spec as specs
from worker.line import Line

#: Exit code by the state a run ends in; anything else is a failure.
EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": 3, "interrupted": 3}


def carry_out(order: dict[str, Any], line: Line) -> int:
    """Train as `order` says (spec, out, checkpoint_dirs, device); returns the exit code of `engine.train`."""
    from engine import train

    # The engine writes a checkpoint and ends; a worker that is gone can no longer use anything else.
    line.on_orphaned = lambda: train.Control.request("interrupt")
    result = train.run(specs.read(Path(order["spec"])), Path(order["out"]), resume=True, device=order.get("device"),
                       checkpoint_dirs=[Path(folder) for folder in order["checkpoint_dirs"]])
    return EXIT_CODES.get(result["state"], 1)
