"""Whether the parts the web process depends on answer, and figures about them for Prometheus."""

from __future__ import annotations

import os
from typing import Any

import psutil
from sqlalchemy import text

from db.session import database


def problems() -> list[str]:
    """Return what keeps this process from doing its work; empty when it is ready.

    A broker that does not answer is no reason: runs wait in the database until it is back.
    """
    try:
        with database().read() as session:
            session.execute(text("SELECT 1"))
    except Exception as problem:
        return [f"The database does not answer: {type(problem).__name__}."]
    return []


def metrics() -> str:
    """Return Prometheus text: runs by state, workers, queue length, memory of this process."""
    process = psutil.Process()
    lines = [*_gauge("studio_web_memory_bytes", "Resident memory of the web process.", process.memory_info().rss),
             *_gauge("studio_web_cpu_seconds_total", "CPU time of the web process.", sum(process.cpu_times()[:2])),
             *_gauge("studio_web_pid", "Process id of the web process.", os.getpid())]
    lines += _labelled("studio_runs", "Runs by state.", "state", _run_counts())
    lines += _gauge("studio_database_up", "1 when the database answers.", int(not problems()))
    queue = _queue()
    lines += _gauge("studio_broker_up", "1 when the broker answers.", int(queue is not None))
    for name, value in (queue or {}).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            lines += _gauge(f"studio_queue_{name}", f"Queue: {name.replace('_', ' ')}.", value)
    return "\n".join(lines) + "\n"


def _run_counts() -> dict[str, int]:
    from db import runs
    try:
        return runs.totals()
    except Exception:
        return {}


def _queue() -> dict[str, Any] | None:
    try:
        from worker import client
        return client.queue_state() if client.broker_ok() else None
    except Exception:
        return None


def _gauge(name: str, help_text: str, value: float) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} gauge", f"{name} {value}"]


def _labelled(name: str, help_text: str, label: str, values: dict[str, int]) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} gauge",
            *(f'{name}{{{label}="{key}"}} {value}' for key, value in sorted(values.items()))]
