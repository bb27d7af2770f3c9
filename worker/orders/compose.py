"""Order `compose`: combine adapters of one base model into a new one, and measure it against its parts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from worker.line import Line


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Write the adapter `order["out"]`, with spec.json, environment.json and result.json beside it; return the result.

    `order`: adapters ([{name, folder}]), out (folder), recipe, model, revision, task, data_dir, and data (null, or
    {train, held (or null), columns, steps}: parquet files, roles and preparation). Raises Refused errors, Cancelled.
    """
    from engine import compose, environment, models, recipe

    told: dict[str, Any] = {}

    def report(fraction: float, text: str, facts: dict[str, Any]) -> None:
        told.update(facts)
        line.progress(fraction, text, **told)

    located = models.locate(order["model"], revision=order.get("revision"), data_dir=Path(order["data_dir"]),
                            cancelled=line.cancelled, progress=lambda part: line.progress(0, "Fetching"))
    out = Path(order["out"])
    made = compose.compose(
        [Path(one["folder"]) for one in order["adapters"]], out, recipe.parse(order["recipe"]),
        names=[one["name"] for one in order["adapters"]], model_path=located.path, data=_data(order["data"]),
        task_name=order["task"], report=report, cancelled=line.cancelled)
    result = {key: value for key, value in dataclasses.asdict(made).items() if key != "folder"}
    beside = {
        "spec": {"compose": order["recipe"], "weights": made.weights, "task": order["task"],
                 "adapters": [one["name"] for one in order["adapters"]],
                 "model": {"id": order["model"], "revision": order.get("revision")}},
        "environment": environment.describe("cpu", "fp32", {"id": located.id, "files": located.files}, {}),
        "result": result}
    for name, value in beside.items():
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        (out.parent / f"{name}.json").write_text(text, encoding="utf-8")
    return result


def _data(files: dict[str, Any] | None) -> Any:
    if files is None:
        return None
    from engine import preparation
    from engine.comparison import Rows
    from engine.compose import Data
    from engine.data import read
    from engine.spec import Training

    train, held = (read.read(Path(files[name])) if files[name] else None for name in ("train", "held"))
    if train is not None and files.get("steps"):
        # Rows are not drawn anew: they are few, and some of them are kept to measure on.
        steps = preparation.for_evaluation(preparation.parse(files["steps"]))
        made = preparation.apply(train, steps, Training().seed, held=held)
        train, held = made.train, made.eval
    parts = [Rows(table, files["columns"]) if table is not None else None for table in (train, held)]
    return Data(*parts)  # type: ignore[arg-type]
