"""Order `train`: one attempt of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine import spec as specs
from worker.line import Line

#: Exit code by the state a run ends in; anything else is a failure.
EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": 3, "interrupted": 3}


def carry_out(order: dict[str, Any], line: Line) -> int:
    """Train; returns the exit code of `engine.train`. `order`: spec (document), out, train, eval, start (None or the
    folder of the adapter to start from), forgetting (None or a file), data_dir, checkpoint_dirs, device, names (of the
    files to learn from and to evaluate on). Raises Refused errors.
    """
    from engine import train

    # The engine writes a checkpoint and ends; without its worker nobody could use anything else.
    line.on_orphaned = lambda: train.Control.request("interrupt")
    held, start, second = (Path(order[name]) if order.get(name) else None for name in ("eval", "start", "forgetting"))
    sources = train.Sources(train=Path(order["train"]), eval=held, start=start, forgetting=second,
                            data_dir=Path(order["data_dir"]), names=order.get("names") or {})
    result = train.run(specs.parse(order["spec"]), Path(order["out"]), sources=sources, device=order["device"],
                       checkpoint_dirs=[Path(folder) for folder in order["checkpoint_dirs"]])
    return EXIT_CODES.get(result["state"], 1)
