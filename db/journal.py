"""A child's events become rows, exactly once: fenced on the token, with the cursor moved in the same transaction."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db import adapters
from db.base import now, plain
from db.errors import LeaseLost
from db.leases import note as add_note
from db.session import database, retried
from db.tables import LogLine, Metric, Run
from engine import events as happened
from engine.events import Event

LONGEST_LINE = 8000
_FREE: dict[str, Any] = {"worker_id": None, "lease_until": None, "eta": None, "stage": ""}


@retried
def ingest(run_id: str, token: int, events: Iterable[Event]) -> int:
    """Turn a batch of events into rows and return the `seq` of the last one that is in.

    Events that are in already are passed over, so a batch may be sent again. Raises LeaseLost when another attempt
    holds the run or it was deleted; then nothing of the batch is written.
    """
    with database().write() as session:
        run = session.scalar(select(Run).where(Run.id == run_id, Run.token == token).with_for_update())
        if run is None:
            raise LeaseLost(run_id, id=run_id)
        fresh = sorted((event for event in events if event.seq > run.journal_seq), key=lambda event: event.seq)
        if not fresh:
            return run.journal_seq
        batch = Batch(run)
        for event in fresh:
            batch.add(event)
        _store(session, run, batch)
        return fresh[-1].seq


def last_seq(run_id: str, token: int) -> int:
    """Return the `seq` of the last event that is in, -1 for none; raises LeaseLost."""
    with database().read() as session:
        seq = session.scalar(select(Run.journal_seq).where(Run.id == run_id, Run.token == token))
    if seq is None:
        raise LeaseLost(run_id, id=run_id)
    return seq


@retried
def note(run_id: str, token: int, text: str, level: str = "info") -> None:
    """Add a line of the worker's own to the run's log; raises LeaseLost."""
    with database().write() as session:
        run = session.scalar(select(Run).where(Run.id == run_id, Run.token == token).with_for_update())
        if run is None:
            raise LeaseLost(run_id, id=run_id)
        add_note(session, run, plain(text, LONGEST_LINE), level)


@dataclass
class Batch:
    """What a batch of events comes to: columns of the run, points, lines and whether an adapter is published."""

    run: Run
    columns: dict[str, Any] = field(default_factory=dict[str, Any])
    points: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict[tuple[str, int], dict[str, Any]])
    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    #: Points after this step belong to an attempt that is taken up again from before them.
    keep_until: int | None = None
    published: dict[str, Any] | None = None
    saved_at: int | None = None

    def add(self, event: Event) -> None:
        """Add one event."""
        self.columns["journal_seq"] = event.seq
        match event:
            case happened.RunStarted():
                self._started(event)
            case happened.StageEntered():
                self.columns["stage"] = event.stage
                if event.text:
                    self._line(event, event.text)
            case happened.RunPrepared():
                self._prepared(event)
            case happened.StepsTrained():
                self.columns |= {"step": event.step, "epoch": event.epoch, "eta": _finite(event.eta)}
                if "loss" in event.metrics:
                    self.columns["loss"] = _finite(event.metrics["loss"])
                self._points(event, "train/")
            case happened.Evaluated():
                self.columns |= {"step": event.step, "epoch": event.epoch}
                self._points(event, "eval/")
                value = _finite(event.metrics.get(self.run.metric_name))
                if event.best and value is not None:
                    self.columns |= {"metric_value": value, "metric_step": event.step}
            case happened.PredictionsRecorded():
                self.columns["examples"] = event.count
            case happened.SamplesWritten():
                pass  # They are read from their file; that something came shows in `journal_seq`.
            case happened.CheckpointSaved():
                self.columns["checkpoint_step"] = event.step
            case happened.Logged():
                self._line(event, event.text, event.level)
            case _:
                self._ended(event)

    def _started(self, event: happened.RunStarted) -> None:
        self.keep_until = event.resumed_from or 0
        self.points = {key: point for key, point in self.points.items() if key[1] <= self.keep_until}
        if self.run.state == "starting":
            self.columns["state"] = "running"
        if self.run.started_at is None:
            self.columns["started_at"] = event.at or now()
        if event.resumed_from is None:
            self.columns |= {"step": 0, "epoch": 0.0, "loss": None, "metric_value": None, "metric_step": None,
                             "checkpoint_step": None, "latest": {}}
        attempt = f"Attempt {self.run.attempts}" if self.run.attempts > 1 else "The run"
        self._line(event, f"{attempt} started." if event.resumed_from is None
                   else f"{attempt} went on from step {event.resumed_from}.")

    def _prepared(self, event: happened.RunPrepared) -> None:
        self.columns |= {
            "total_steps": event.total_steps, "parameters": event.parameters, "resolved": event.resolved,
            "trained_parameters": event.parameters.get("trained"), "total_parameters": event.parameters.get("total"),
            "train_rows": event.train_rows, "eval_rows": event.eval_rows, "truncated": event.truncated,
            "estimated_bytes": event.estimated_bytes}

    def _ended(self, event: Event) -> None:
        match event:
            case happened.RunSucceeded():
                self.columns |= _FREE | {"state": "succeeded", "finished_at": now(), "error": None}
                self._result(event.result)
                # A test of learning rates ends with a suggestion, not with an adapter.
                self.published = None if "rate_test" in event.result else event.result
            case happened.RunCancelled():
                self.columns |= _FREE | {"state": "cancelled", "finished_at": now()}
                self._result(event.result)
                if event.saved:
                    self.published = event.result
                    self.saved_at = int(self.columns.get("step", self.run.step))
                self._line(event, "Stopped; the adapter was saved." if event.saved else "Stopped; nothing was kept.")
            case happened.RunInterrupted() if self.run.state == "stopping":
                self.columns |= _FREE | {"state": "cancelled", "finished_at": now(), "step": event.step}
                self._line(event, f"Stopped at step {event.step}, together with its worker.")
            case happened.RunInterrupted():
                # Its worker went away in good order: that is no failed attempt.
                self.columns |= _FREE | {"state": "interrupted", "attempts": max(0, self.run.attempts - 1),
                                         "rung_at": now(), "step": event.step}
                self._line(event, f"Interrupted at step {event.step}; it goes on when a worker is free.", "warning")
            case happened.RunFailed():
                self.columns |= _FREE | {"state": "failed", "finished_at": now(), "error": dict(event.error)}
                said = (event.error.get("what"), event.error.get("try_this"))
                self._line(event, " ".join(filter(None, said)), "error")
            case _:
                raise TypeError(f"{type(event).__name__} is not an event of a run")

    def _result(self, result: dict[str, Any]) -> None:
        self.columns["result"] = result
        parameters = result.get("parameters")
        if parameters:
            self.columns |= {"parameters": parameters, "trained_parameters": parameters.get("trained"),
                             "total_parameters": parameters.get("total")}
        value = _finite(result.get("metrics", {}).get(self.run.metric_name))
        if value is not None:
            self.columns["metric_value"] = value
        if result.get("steps") is not None:
            self.columns["step"] = int(result["steps"])

    def _points(self, event: happened.StepsTrained | happened.Evaluated, prefix: str) -> None:
        latest: dict[str, Any] = dict(self.columns.get("latest", self.run.latest))
        for name, number in event.metrics.items():
            value = _finite(number)
            latest[prefix + name] = value
            self.points[prefix + name, event.step] = {
                "run_id": self.run.id, "name": prefix + name, "step": event.step, "value": value,
                "epoch": _finite(event.epoch), "at": event.at}
        self.columns["latest"] = latest

    def _line(self, event: Event, text: str, level: str = "info") -> None:
        number = self.run.log_lines + len(self.lines) + 1
        self.lines.append({"run_id": self.run.id, "number": number, "at": event.at, "level": level,
                           "text": plain(text, LONGEST_LINE)})
        self.columns["log_lines"] = number


def _store(session: Session, run: Run, batch: Batch) -> None:
    if batch.keep_until is not None:
        session.execute(delete(Metric).where(Metric.run_id == run.id, Metric.step > batch.keep_until))
    if batch.points:
        _upsert(session, list(batch.points.values()))
    if batch.lines:
        session.execute(_insert(session)(LogLine), batch.lines)
    if batch.published is not None:
        adapters.insert_of_run(session, run, batch.published, saved_at=batch.saved_at)
    session.execute(update(Run).where(Run.id == run.id, Run.token == run.token).values(batch.columns),
                    execution_options={"synchronize_session": False})


def _upsert(session: Session, points: list[dict[str, Any]]) -> None:
    """Write points; a step that is trained again after a resume replaces what it wrote before."""
    query = _insert(session)(Metric)
    session.execute(query.on_conflict_do_update(
        index_elements=[Metric.run_id, Metric.name, Metric.step],
        set_={"value": query.excluded.value, "epoch": query.excluded.epoch, "at": query.excluded.at}), points)


def _insert(session: Session) -> Any:
    """Return the dialect's `insert`, the one that knows ON CONFLICT."""
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert
    return insert


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
