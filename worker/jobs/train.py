"""Rings for runs: fill the free slots from the queue in the database, or look at the run that was asked to stop."""

from __future__ import annotations

from worker import station
from worker.app import app


@app.task(name="train")
def train(run_id: str) -> None:
    """A run is waiting. Which one this worker takes is for the database to say."""
    station.current().fleet.fill()


@app.task(name="stop")
def stop(run_id: str) -> None:
    """A run was asked to stop; if it is not here, the worker that has it notices by itself within seconds."""
    station.current().fleet.look(run_id)
