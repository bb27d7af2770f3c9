"""Rings for a question to the playground."""

from __future__ import annotations

from worker import station
from worker.app import app


@app.task(name="predict")
def predict(prediction_id: str) -> None:
    """A question waits for its answer."""
    station.current().stage.ask(prediction_id)
