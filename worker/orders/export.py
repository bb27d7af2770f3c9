"""Order `export`: make a file of an adapter to take away: the adapter itself, or the whole merged model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from worker.line import Line

#: Share of the progress bar that merging takes; packing takes the rest.
MERGING = 0.7


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Write `order["out"]` (a zip) and return its size. `order`: what (zip, merge), adapter (folder), out, facts,
    model, revision, quantization, task, data_dir. Raises Refused errors, Cancelled.
    """
    from engine.export import package

    out, start = Path(order["out"]), 0.0
    out.parent.mkdir(parents=True, exist_ok=True)
    folder, merged, facts = Path(order["adapter"]), out.parent / "merged", dict(order["facts"])
    try:
        if order["what"] == "merge":
            folder, start = _merge(order, merged, line), MERGING
            # Unpacked beside the adapter, the whole model must not be mixed up with it.
            facts["name"] = f"{facts.get('name') or 'model'}-merged"
        package.zip_adapter(folder, out, facts=facts, cancelled=line.cancelled,
                            progress=lambda part: line.progress(start + (1 - start) * part, "Packing"))
    finally:
        shutil.rmtree(merged, ignore_errors=True)
    return {"bytes": out.stat().st_size}


def _merge(order: dict[str, Any], out: Path, line: Line) -> Path:
    from engine import merge, models

    shutil.rmtree(out, ignore_errors=True)
    base = models.locate(order["model"], revision=order.get("revision"), data_dir=Path(order["data_dir"]),
                         cancelled=line.cancelled)
    merge.merge(Path(order["adapter"]), base.path, out, task_name=order["task"], quantization=order.get("quantization"),
                progress=lambda part: line.progress(MERGING * part, "Merging"), cancelled=line.cancelled)
    return out
