"""Makes one adapter of several."""

from __future__ import annotations

import shutil
from typing import Any

from db import adapters, compositions, datasets
from db.blobs import Blobs
from db.settings import settings
from engine.recipe import Recipe
from worker import station
from worker.app import app
from worker.desk import Errand


class Compose(Errand):
    """Combines adapters; what it makes is an adapter with a lineage. While it works, `live` tells what was found."""

    noun, repository, waiting, dropped = "composition", compositions, "queued", "cancelled"

    def __init__(self, id: str, **extra: Any) -> None:
        super().__init__(id, **extra)
        self.blobs = Blobs()
        self.key = f"composed/{id}/adapter"
        self.points: list[list[float]] = []
        #: The first parent, whose base model and task are the result's; it may be deleted meanwhile.
        self.first: Any = None

    def order(self) -> dict[str, Any]:
        """Return the order for the child; raises NotFound when an adapter, its files or the dataset are gone."""
        chosen = [adapters.get(self.user, parent["id"]) for parent in self.row.parents]
        self.first = first = chosen[0]
        return {"kind": "compose", "out": str(self.blobs.place(self.key)), "recipe": self.row.recipe,
                "adapters": [{"name": row.name, "folder": str(self.blobs.local(row.key))} for row in chosen],
                "model": first.model, "revision": first.model_revision, "task": first.task, "data": self._data(),
                "data_dir": str(settings().data_dir)}

    def advance(self, fraction: float, heard: dict[str, Any]) -> None:
        """Store how far the work is, what it is at, and the best weights so far with the curve that led there."""
        facts = heard.get("facts") or {}
        if facts.get("best") is not None and (not self.points or self.points[-1][0] != facts["tried"]):
            self.points.append([facts["tried"], facts["best"]])
        self.update(progress=fraction, live={"text": heard.get("text", ""), "points": self.points} | facts)

    def keep(self, result: dict[str, Any]) -> None:
        """Store files, adapter and result."""
        folder = self.key.rpartition("/")[0]
        self.blobs.put(self.blobs.place(folder), folder)
        first = self.first
        parents = [parent | {"weight": weight}
                   for parent, weight in zip(self.row.parents, result["weights"], strict=True)]
        recipe = Recipe.model_validate(self.row.recipe)
        lineage = {"composition": self.id, "recipe": self.row.recipe, "way": recipe.way.title, "rank": result["rank"],
                   "notes": result["notes"], "comparison": result["comparison"]}
        known = {"dataset_id": self.row.dataset_id, "dataset_sha256": self._sha256()} if result["metrics"] else {}
        compositions.finish(
            self.user, self.id, result, name=self.row.name, model=first.model, model_revision=first.model_revision,
            model_hash=first.model_hash, task=first.task, method=first.method, key=self.key, bytes=result["bytes"],
            sha256=result["sha256"], labels=result["labels"], parameters=result["parameters"], parents=parents,
            composed=lineage, **known,
            metrics={name: value for name, value in result["metrics"].items() if value is not None})

    def fail(self, error: dict[str, str], cancelled: bool) -> None:
        """Store why there is no adapter, and remove what there is of it."""
        shutil.rmtree(self.blobs.place(self.key).parent, ignore_errors=True)
        super().fail(error, cancelled)

    def _data(self) -> dict[str, Any] | None:
        if self.row.dataset_id is None:
            return None
        row = datasets.get(self.user, self.row.dataset_id)
        held = datasets.find(self.user, eval_of_id=row.id, states=["ready"], limit=1)
        return {"train": str(self.blobs.local(row.parquet_key or "")), "columns": row.columns,
                "steps": row.steps,
                "held": str(self.blobs.local(held[0].parquet_key)) if held and held[0].parquet_key else None}

    def _sha256(self) -> str | None:
        return datasets.get(self.user, self.row.dataset_id).sha256 if self.row.dataset_id else None


@app.task(name="compose")
def compose(composition_id: str) -> None:
    """Adapters are to be combined."""
    station.current().desk.take(Compose, composition_id)
