"""`peft-studio demo`: the main path without a browser, from sample data to an adapter on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from db import adapters, datasets, models
from db.blobs import Blobs
from db.tables import Run
from db.users import User
from engine.errors import StudioError
from studio import cli_print as out
from studio import records, service
from studio.cli_session import me, stored
from studio.cli_stack import stack
from studio.cli_train import follow

SAMPLE, MODEL = "support_tickets", "starter/minilm-l6"
#: Longest wait for the sample to be read and the model to be measured, in seconds.
PREPARE_SECONDS = 300.0
SETTINGS: dict[str, Any] = {"method": {"name": "lora", "r": 8, "alpha": 16},
                            "training": {"epochs": 4, "learning_rate": 2e-3, "batch_size": 16, "max_length": 64,
                                         "seed": 42}}


class DemoFailed(StudioError):
    """The sample run ended as {state}."""

    kind = "demo_failed"
    try_this = "Look at its log: peft-studio runs show {run} --log 50"


def show(*, as_json: bool = False) -> int:
    """Train the sample run, print what came of it, and return the exit code: 0 only when it succeeded."""
    with stack(out.aside) as tick:
        facts = play(tick)
    if as_json:
        out.emit(facts)
        return 0
    counts = facts["parameters"]
    trained = f"{counts['trained']:,} of {counts['total']:,} ({counts['percent']:g} %)"
    out.facts([("Accuracy", facts["accuracy"]), ("Trained parameters", trained), ("Adapter", facts["adapter"]["path"]),
               ("Weight bytes", facts["adapter"]["bytes"]), ("Seconds", facts["seconds"]["total"]),
               ("of them training", facts["seconds"]["train"]), ("Run", facts["run"])])
    out.say("Everything works. See it in the browser: peft-studio up")
    return 0


def play(tick: Callable[..., None]) -> dict[str, Any]:
    """Prepare the sample, train it and return {accuracy, parameters, adapter, seconds, …}; raises DemoFailed."""
    began = time.monotonic()
    user = me()
    dataset, ref = _prepare(user, tick)
    prepared = time.monotonic()
    document = {"task": "text_classification", "model": {"id": ref}, "data": {"train": dataset}} | SETTINGS
    row = service.start_run(user, document, name="Demo: support tickets")
    row = follow(user, row.id, tick)
    if row.state != "succeeded" or row.result is None:
        if row.error:
            raise stored(row.error)
        raise DemoFailed(row.id, state=row.state, run=row.id)
    return _facts(user, row, {"total": time.monotonic() - began, "startup": prepared - began})


def _prepare(user: User, tick: Callable[..., None]) -> tuple[str, str]:
    """Return the id of the sample dataset and of the starter model, both ready."""
    dataset, model = service.add_sample(user, SAMPLE), service.add_model(user, MODEL)
    for repository, id in ((datasets, dataset.id), (models, model.id)):
        row: Any = service.settled(lambda repository=repository, id=id: repository.get(user, id), ("ready", "failed"),
                                   PREPARE_SECONDS, tick)
        if row.state == "failed":
            raise stored(row.error)
        out.aside(f"{records.moment(row.updated_at)} {row.id} is {row.state}.")
    return dataset.id, model.ref


def _facts(user: User, row: Run, seconds: dict[str, float]) -> dict[str, Any]:
    result = row.result or {}
    adapter = adapters.of_run(user, row.id)
    if adapter is None:
        raise DemoFailed(row.id, state="succeeded without an adapter", run=row.id)
    return {"state": row.state, "accuracy": result["metrics"]["accuracy"], "metrics": result["metrics"],
            "parameters": result["parameters"], "run": row.id,
            "adapter": {"id": adapter.id, "path": str(Blobs().local(adapter.key)), "bytes": adapter.bytes},
            "seconds": {name: round(value, 2) for name, value in (seconds | _times(result)).items()},
            "steps": result.get("steps"), "train_rows": row.train_rows, "eval_rows": row.eval_rows}


def _times(result: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in (result.get("seconds") or {}).items() if name != "total"}
