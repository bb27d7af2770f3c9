"""Order `inspect_model`: find a base model, fetching or converting it first if need be, and measure its shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.line import Line

#: Share of the progress bar that finding and fetching takes.
FINDING = 0.9


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Return what to store with the model named by `order` (ref, revision, data_dir). Raises ModelError, Cancelled."""
    from engine import models

    doing = "Converting" if order["ref"].startswith("local/") else "Fetching"
    found = models.locate(order["ref"], revision=order.get("revision"), data_dir=Path(order["data_dir"]),
                          progress=lambda part: line.progress(FINDING * part, doing), cancelled=line.cancelled)
    line.progress(FINDING, "Measuring")
    shape = models.inspect(found.path)
    line.progress(1.0, "Done")
    return {"path": str(found.path), "source": found.source, "licence": found.licence, "files": dict(found.files),
            "bytes": sum(path.stat().st_size for path in found.path.rglob("*") if path.is_file()),
            "shape": shape.model_dump(mode="json")}
