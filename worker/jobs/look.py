"""Looks into datasets for their pages; what was found lies in a file beside the rows, as `db.looks` keeps it."""

from __future__ import annotations

import time
from typing import Any

from db import datasets, looks
from db.blobs import Blobs
from db.errors import NotFound
from db.settings import settings
from engine import preparation
from worker import station
from worker.app import app
from worker.desk import Errand


class Look(Errand):
    """Does one look. Its id is that of the dataset, a full stop, and the name of the look."""

    noun, repository, waiting = "look", datasets, "queued"

    def __init__(self, id: str, **extra: Any) -> None:
        dataset_id, _, self.name = id.partition(".")
        super().__init__(dataset_id, **extra)
        # The dataset itself may be at the desk at the same time.
        self.dataset_id, self.id = dataset_id, id
        self.file = looks.Look()

    def take(self) -> bool:
        """Take a look that somebody asked for and nobody does or has done."""
        self.row = datasets.get(self.user, self.dataset_id)
        self.file = looks.read(self.dataset_id, self.name)
        if not self.file.waiting:
            return False
        self._write(state="running", progress=0.0)
        return True

    def order(self) -> dict[str, Any]:
        """Return the order for the child; raises NotFound when the rows are gone."""
        row, blobs = self.row, Blobs()
        beside = datasets.find(self.user, eval_of_id=self.dataset_id, states=["ready"], limit=1)
        other = beside[0].parquet_key if beside else None
        return {"kind": "look", "what": self.file.what, "asked": self.file.asked,
                "parquet": str(blobs.local(row.parquet_key or f"datasets/{self.dataset_id}/rows.parquet")),
                "eval_parquet": str(blobs.local(other)) if other else None, "task": row.task, "columns": row.columns,
                "options": row.options, "data_dir": str(settings().data_dir), **self._steps()}

    def _steps(self) -> dict[str, Any]:
        """Return the steps of preparation of the rows, and of those to evaluate on, which go through some of them."""
        own = self.row if self.row.eval_of_id is None else datasets.get(self.user, self.row.eval_of_id)
        held = [step.model_dump(mode="json") for step in preparation.for_evaluation(preparation.parse(own.steps))]
        return {"steps": own.steps if own is self.row else held, "eval_steps": held}

    def keep(self, result: dict[str, Any]) -> None:
        """Store what was found."""
        self._write(state="ready", progress=1.0, found=result, error=None)

    def advance(self, fraction: float, heard: dict[str, Any]) -> None:
        """Store how far the look is, and what was found so far."""
        found = (heard.get("facts") or {}).get("found")
        self._write(progress=fraction, **({"found": found} if found else {}))

    def fail(self, error: dict[str, str], cancelled: bool) -> None:
        """Store why nothing was found."""
        self._write(state="failed", error=error)

    def cancelled(self) -> bool:
        """Whether the dataset was deleted."""
        try:
            datasets.get(self.user, self.dataset_id)
        except NotFound:
            return True
        if time.time() - self.file.touched > looks.SILENT / 4:
            self._write()
        return False

    def put_back(self) -> None:
        """Let the look wait again."""
        self._write(state="queued", progress=0.0)

    def _write(self, **values: Any) -> None:
        self.file = looks.write(self.dataset_id, self.name, self.file.model_copy(update=values))


@app.task(name="look")
def look(dataset_id: str, name: str) -> None:
    """Somebody wants to know something about a dataset's rows."""
    station.current().desk.offer(Look, f"{dataset_id}.{name}")
