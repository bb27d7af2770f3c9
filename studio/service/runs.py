"""Starting a run once nothing stands in its way; stopping, resuming and deleting it, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from db import datasets, models, runs
from db.blobs import Blobs
from db.errors import NotFound
from db.tables import Run
from db.users import User
from engine import spec as specs
from engine.evaluation.report import NEUTRAL
from engine.spec import RunSpec
from studio.service.checks import check
from studio.service.models import add_model
from studio.service.waiting import settled
from worker import client

#: States in which a worker is still busy with a dataset or model.
READING = ("uploaded", "ingesting", "queued", "inspecting")


class NoSuchRunFile(NotFound):
    """The run has no file '{name}' (yet)."""

    kind = "run_file_missing"
    try_this = "Files appear while the run goes on: see its page."


def start_run(user: User, document: RunSpec | Mapping[str, Any], *, name: str = "", wait: float = 0) -> Run:
    """Queue a run and tell the workers; a base model that was never added is added first.

    Waits up to `wait` seconds for dataset and model to be ready. Raises the first obstacle that `check` finds.
    """
    spec = document if isinstance(document, RunSpec) else specs.parse(dict(document))
    if models.by_ref(user, spec.model.id, spec.model.revision) is None:
        add_model(user, spec.model.id, revision=spec.model.revision)
    if wait:
        _await(user, spec, wait)
    found = check(user, spec)
    if found.obstacles:
        raise found.obstacles[0]
    row = runs.create(user, found.spec, name=name, dataset_id=found.dataset.id if found.dataset else None,
                      eval_dataset_id=found.eval_dataset.id if found.eval_dataset else None)
    client.submit(row.id)
    return row


def stop_run(user: User, id: str, mode: runs.StopMode = "save") -> Run:
    """Ask a run to stop and keep its adapter ("save") or not ("discard"); raises NotFound, RunEnded."""
    row = runs.ask_stop(user, id, mode)
    client.stop(id)
    return row


def resume_run(user: User, id: str) -> Run:
    """Put a stopped, failed or interrupted run back into the queue; raises NotFound, NotResumable."""
    row = runs.resume(user, id)
    client.submit(id)
    return row


def delete_run(user: User, id: str) -> None:
    """Delete a run that has ended, with its files; its adapters stay. Raises NotFound, RunActive."""
    for key in runs.delete(user, id):
        Blobs().delete(key)


def run_file(user: User, id: str, name: str) -> Path:
    """Return the path of a file that the newest attempt of a run wrote; raises NotFound, NoSuchRunFile."""
    row = runs.get(user, id)
    store = Blobs()
    for token in range(row.token, 0, -1):
        key = f"runs/{id}/attempt-{token}/{name}"
        if store.exists(key):
            return store.local(key)
    raise NoSuchRunFile(f"{id}/{name}", noun="file", id=name, name=name)


def _await(user: User, spec: RunSpec, seconds: float) -> None:
    """Wait until the worker has read the dataset and measured the model, or until time is up."""
    def busy() -> bool:
        model = models.by_ref(user, spec.model.id, spec.model.revision)
        second = None if spec.data.forgetting == NEUTRAL else spec.data.forgetting
        rows = [datasets.get(user, id) for id in (spec.data.train, spec.data.eval, second) if id is not None]
        return any(row is not None and row.state in READING for row in (model, *rows))

    class Waiting:
        @property
        def state(self) -> str:
            return "busy" if busy() else "settled"

    settled(Waiting, ("settled",), seconds)
