"""Reads base models: where their files are, and what they are made of."""

from __future__ import annotations

from typing import Any

from db import models
from db.settings import settings
from worker import station
from worker.app import app
from worker.desk import Errand


class InspectModel(Errand):
    """Finds, fetches and measures a base model."""

    noun, repository, waiting = "model", models, "queued"

    def order(self) -> dict[str, Any]:
        """Return the order for the child."""
        return {"kind": "inspect_model", "ref": self.row.ref, "revision": self.row.revision,
                "data_dir": str(settings().data_dir)}

    def keep(self, result: dict[str, Any]) -> None:
        """Store place, licence, hashes and shape."""
        self.update(state="ready", progress=1.0, error=None, cancel=False, **result)


@app.task(name="inspect_model")
def inspect_model(model_id: str) -> None:
    """A base model is to be found and measured."""
    station.current().desk.take(InspectModel, model_id)
