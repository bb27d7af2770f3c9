"""Predicts the rows of a file, or evaluates an adapter on a dataset."""

from __future__ import annotations

from typing import Any

from db import adapters, batches, datasets
from db.blobs import Blobs
from db.settings import settings
from worker import station
from worker.app import app
from worker.desk import Errand


class RunBatch(Errand):
    """Does one batch. A file whose prediction is stopped is kept as far as it came."""

    noun, repository, waiting, dropped = "batch", batches, "queued", "cancelled"

    def __init__(self, id: str, **extra: Any) -> None:
        super().__init__(id, **extra)
        self.blobs = Blobs()

    @property
    def key(self) -> str:
        """The key of the file of predictions."""
        return f"batches/{self.id}/predictions.{self.row.format}"

    def order(self) -> dict[str, Any]:
        """Return the order for the child; raises NotFound when adapter, dataset or file are gone."""
        row = self.row
        adapter = adapters.get(self.user, row.adapter_id or "") if row.adapter_name else None
        out = {"out": str(self.blobs.place(self.key))} if row.kind == "predict" else {}
        return {"kind": "batch", "what": row.kind, "name": row.filename, "columns": row.columns,
                "options": row.options, "format": row.format, "model": row.model, "task": row.task,
                "revision": adapter.model_revision if adapter is not None else None,
                "prepare": row.steps, "quantization": row.quantization,
                "adapter": str(self.blobs.local(adapter.key)) if adapter is not None else None,
                "data_dir": str(settings().data_dir), **self._rows(), **out}

    def _rows(self) -> dict[str, Any]:
        if self.row.original_key:
            return {"original": str(self.blobs.local(self.row.original_key))}
        dataset = datasets.get(self.user, self.row.dataset_id or "")
        return {"parquet": str(self.blobs.local(dataset.parquet_key or "")), "steps": dataset.steps,
                "names": (dataset.source or {}).get("columns")}

    def advance(self, fraction: float, heard: dict[str, Any]) -> None:
        """Store how far the work is, and the first rows with their predictions."""
        facts = heard.get("facts") or {}
        known = {"rows": facts["total"]} if "total" in facts else {}
        self.update(progress=fraction, result={"text": heard.get("text", ""), **facts}, **known)

    def keep(self, result: dict[str, Any]) -> None:
        """Store the file and what is told of it, or the report."""
        stopped = bool(result.get("stopped"))
        values: dict[str, Any] = {"rows": result.get("total", result["rows"]), "result": result, "error": None}
        if self.row.kind == "predict" and (result["rows"] or not stopped):
            values["result_key"] = self.blobs.put(self.blobs.place(self.key), self.key)
        if not stopped:
            values["progress"] = 1.0
        self.update(state="cancelled" if stopped else "ready", cancel=False, **values)

    def fail(self, error: dict[str, str], cancelled: bool) -> None:
        """Store why there is no result, and remove what there is of it."""
        self.blobs.place(self.key).unlink(missing_ok=True)
        super().fail(error, cancelled)


@app.task(name="batch")
def batch(batch_id: str) -> None:
    """Rows are to be predicted, or an adapter evaluated."""
    station.current().desk.take(RunBatch, batch_id)
