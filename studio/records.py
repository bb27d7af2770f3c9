"""Rows as the JSON that API and command line give out; the database's own bookkeeping stays inside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from db.tables import Adapter, Batch, Composition, Dataset, Export, Model, Prediction, Run


def moment(seconds: float | None) -> str | None:
    """Return Unix seconds as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def dataset(row: Dataset, *, full: bool = True) -> dict[str, Any]:
    """Return a dataset; in lists (`full=False`) without findings and statistics."""
    values = _pick(row, "id", "name", "state", "progress", "filename", "bytes", "sha256", "rows", "task", "columns",
                   "options", "steps", "confirmed", "sample", "eval_of_id", "version", "version_of_id",
                   "origin", "error") | _times(row, "created_at", "updated_at")
    levels = [finding.get("level") for finding in row.findings]
    values["errors"], values["warnings"] = levels.count("error"), levels.count("warning")
    return values | _pick(row, "source", "guess", "findings", "stats") if full else values


def model(row: Model, *, full: bool = True) -> dict[str, Any]:
    """Return a base model; in lists without file hashes and the modules of its shape."""
    values = _pick(row, "id", "ref", "revision", "title", "state", "progress", "source", "licence", "bytes",
                   "error") | _times(row, "created_at", "updated_at")
    shape = row.shape or {}
    if full:
        return values | {"files": row.files, "shape": row.shape}
    return values | {"architecture": shape.get("architecture"), "family": shape.get("family"),
                     "total_parameters": shape.get("total"), "tasks": sorted(shape.get("task_heads") or {})}


def run(row: Run, *, full: bool = True) -> dict[str, Any]:
    """Return a run; in lists without its spec and result."""
    values = _pick(row, "id", "name", "state", "stage", "task", "method", "model", "dataset_id", "eval_dataset_id",
                   "step", "total_steps", "epoch", "eta", "loss", "metric_name", "metric_value", "metric_step",
                   "latest", "trained_parameters", "total_parameters", "train_rows", "eval_rows", "truncated",
                   "estimated_bytes", "attempts", "stop_mode", "checkpoint_step", "worker_id", "error")
    values |= _times(row, "created_at", "queued_at", "started_at", "finished_at", "heartbeat_at")
    return values | _pick(row, "parameters", "resolved", "spec", "data_names", "result") if full else values


def adapter(row: Adapter) -> dict[str, Any]:
    """Return an adapter with its lineage."""
    values = _pick(row, "id", "name", "run_id", "model", "model_revision", "model_hash", "dataset_id", "dataset_sha256",
                   "task", "method", "artifact", "bytes", "sha256", "labels", "metrics", "parameters", "parents",
                   "composed")
    return values | _times(row, "created_at") | {"download": f"/download/adapters/{row.id}"}


def export(row: Export) -> dict[str, Any]:
    """Return an export."""
    values = _pick(row, "id", "adapter_id", "kind", "state", "progress", "bytes", "error")
    ready = f"/download/exports/{row.id}" if row.state == "ready" else None
    return values | _times(row, "created_at", "updated_at") | {"download": ready}


def composition(row: Composition) -> dict[str, Any]:
    """Return a combination of adapters: how far it is and what came of it."""
    values = _pick(row, "id", "name", "state", "progress", "adapter_id", "dataset_id", "parents", "recipe", "live",
                   "result", "error")
    return values | _times(row, "created_at", "updated_at")


def batch(row: Batch, *, full: bool = True) -> dict[str, Any]:
    """Return a batch; in lists without what came of it, which of an evaluation is its report."""
    values = _pick(row, "id", "kind", "state", "progress", "adapter_id", "adapter_name", "adapter_sha256", "model",
                   "task", "dataset_id", "dataset_sha256", "filename", "format", "rows", "columns", "options", "steps",
                   "quantization", "error")
    values |= _times(row, "created_at", "updated_at")
    done = row.result_key is not None and row.state in ("ready", "cancelled")
    values["download"] = f"/download/batches/{row.id}" if done else None
    if full:
        return values | _pick(row, "result")
    metrics = ((row.result or {}).get("evaluation") or {}).get("metrics") or {}
    return values | {"metrics": {name: one["value"] for name, one in metrics.items()}}


def prediction(row: Prediction) -> dict[str, Any]:
    """Return a prediction with question and answer; of images name and size, not where they lie."""
    asked = {key: value for key, value in row.request.items() if key != "files"}
    if asked.get("rows"):
        asked["rows"] = [{role: {"name": value["name"], "bytes": value["bytes"]} if isinstance(value, dict) else value
                          for role, value in one.items()} for one in asked["rows"]]
    return _pick(row, "id", "state") | {"request": asked} | _pick(row, "result", "error") | _times(
        row, "created_at", "updated_at")


def _pick(row: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _times(row: Any, *names: str) -> dict[str, str | None]:
    return {name: moment(getattr(row, name)) for name in names}
