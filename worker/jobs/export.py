"""Makes files of adapters: a zip of the adapter or of the whole merged model, or what was found by looking into it."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from typing import Any

from db import adapters, datasets, exports, models, runs
from db.blobs import Blobs
from db.errors import NotFound
from db.settings import settings
from engine import insight
from worker import station
from worker.app import app
from worker.desk import Errand


class MakeExport(Errand):
    """Packs, merges and packs, or looks into one adapter. The row's `path` is the file's key in the blob store."""

    noun, repository, waiting, dropped = "export", exports, "queued", "cancelled"

    def __init__(self, id: str, **extra: Any) -> None:
        super().__init__(id, **extra)
        self.blobs = Blobs()
        self.key = f"exports/{id}/adapter.zip"

    def order(self) -> dict[str, Any]:
        """Return the order for the child; raises NotFound when adapter or files are gone."""
        adapter = adapters.get(self.user, self.row.adapter_id)
        if self.row.kind == "insight":
            return self._look(adapter)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", adapter.name).strip("-._") or "adapter"
        self.key = f"exports/{self.id}/{name}{'-merged' if self.row.kind == 'merge' else ''}.zip"
        facts: dict[str, Any] = {
            "name": name, "method": adapter.method, "metrics": adapter.metrics, "parameters": adapter.parameters,
            "model_id": adapter.model, **self._run_files(adapter.key), **self._about(adapter)}
        spec = facts.get("spec") or {}
        return {"kind": "export", "what": self.row.kind, "adapter": str(self.blobs.local(adapter.key)),
                "out": str(self.blobs.place(self.key)), "facts": facts, "model": adapter.model,
                "revision": adapter.model_revision, "task": adapter.task, "data_dir": str(settings().data_dir),
                "quantization": (spec.get("model") or {}).get("quantization")}

    def keep(self, result: dict[str, Any]) -> None:
        """Store where the file is."""
        self.blobs.put(self.blobs.place(self.key), self.key)
        self.update(state="ready", progress=1.0, error=None, cancel=False, path=self.key, bytes=result["bytes"])

    def fail(self, error: dict[str, str], cancelled: bool) -> None:
        """Store why there is no file, and remove what there is of it."""
        shutil.rmtree(self.blobs.place(self.key).parent, ignore_errors=True)
        super().fail(error, cancelled)

    def _look(self, adapter: Any) -> dict[str, Any]:
        self.key = f"exports/{self.id}/{insight.FILE}"
        spec = self._run_files(adapter.key).get("spec") or {}
        return {"kind": "insight", "adapter": str(self.blobs.local(adapter.key)),
                "out": str(self.blobs.place(self.key)), "model": adapter.model, "revision": adapter.model_revision,
                "task": adapter.task, "labels": adapter.labels, "data_dir": str(settings().data_dir),
                "method": spec.get("method"), "quantization": (spec.get("model") or {}).get("quantization")}

    def _about(self, adapter: Any) -> dict[str, Any]:
        """Return licence and the names of dataset and file as far as they are still known."""
        found = models.by_ref(self.user, adapter.model, adapter.model_revision)
        known = {"licence": found.licence} if found is not None and found.licence else {}
        with suppress(NotFound):
            if adapter.dataset_id:
                row = datasets.get(self.user, adapter.dataset_id)
                return known | {"dataset": _named(row.name, row.filename)}
        with suppress(NotFound):
            told = runs.get(self.user, adapter.run_id or "").data_names.get("train")
            return known | ({"dataset": _named(told["name"], told["file"])} if told else {})
        return known

    def _run_files(self, adapter_key: str) -> dict[str, Any]:
        """Return the run's spec and environment, which lie beside its adapter."""
        import json

        found = {}
        for name in ("spec", "environment", "result"):
            try:
                with self.blobs.open(f"{adapter_key.rpartition('/')[0]}/{name}.json") as file:
                    found[name] = json.load(file)
            except (NotFound, ValueError):
                continue
        return found


def _named(name: str, file: str) -> str:
    return f"{name} ({file})" if file and file != name else name


@app.task(name="export")
def export(export_id: str) -> None:
    """A file is to be made of an adapter."""
    station.current().desk.take(MakeExport, export_id)
