"""Order `insight`: look into a trained result and write down what it learned, for those whose run did not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.line import Line

if TYPE_CHECKING:
    from engine.methods.base import Method

#: Share of the progress bar that finding the base model takes.
FINDING = 0.3


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Write `order["out"]` (insight.json) and return its size. `order`: adapter (folder), out, model, revision, task,
    labels, method (settings, or null), quantization, data_dir. Raises Refused errors, Cancelled.
    """
    from engine import insight, models

    out, folder = Path(order["out"]), Path(order["adapter"])
    base = models.locate(order["model"], revision=order.get("revision"), data_dir=Path(order["data_dir"]),
                         cancelled=line.cancelled, progress=lambda part: line.progress(FINDING * part, "Fetching"))
    line.progress(FINDING, "Looking")
    shape = models.inspect(base.path).for_task(order["task"])
    heads = [head.name for head in shape.task_heads.get(order["task"], [])]
    method = _method(order.get("method"))
    found = insight.describe(folder, shape, base=base.path, method=method, heads=heads)
    if found.kind != "model" and {section.name for section in found.sections} == {"parameters"}:
        # Its files alone say nothing: it is put on the base model to see what it would change there.
        found = insight.describe(folder, shape, base=base.path, method=method, heads=heads,
                                 model=_attached(folder, base.path, order))
    out.parent.mkdir(parents=True, exist_ok=True)
    insight.write(found, out.parent)
    line.progress(1.0, "Done")
    return {"bytes": out.stat().st_size}


def _method(settings: dict[str, Any] | None) -> Method | None:
    """Return the method with a run's settings; None where they are unknown, or no longer understood."""
    from pydantic import ValidationError

    from engine import methods

    try:
        return methods.get(settings["name"]).model_validate(settings) if settings else None
    except (ValidationError, KeyError):
        return None


def _attached(folder: Path, base: Path, order: dict[str, Any]) -> Any:
    from engine import adapter, models

    trained = adapter.read(folder)
    loaded = models.load(base, trained.make_task(order["task"]), order["labels"], dtype="fp32")
    return adapter.attach(loaded.model, trained, share=False, task_name=order["task"])
