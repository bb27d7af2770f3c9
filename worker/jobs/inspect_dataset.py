"""Reads uploaded datasets: to parquet once, then guesses and counts with the columns as they are."""

from __future__ import annotations

from typing import Any

from db import datasets, versions
from db.blobs import Blobs
from db.settings import settings
from db.tables import Dataset
from engine.data.findings import EVAL_UNREAD
from engine.findings import Finding
from worker import client, station
from worker.app import app
from worker.desk import Errand


class InspectDataset(Errand):
    """Ingests a dataset, or counts one again that is ready. `extra`: model and max_length, for lengths in tokens."""

    noun, repository, waiting = "dataset", datasets, "uploaded"

    def __init__(self, id: str, **extra: Any) -> None:
        super().__init__(id, **extra)
        self.again = False
        self.read_already = False
        self.evaluation: str | None = None
        self.blobs = Blobs()

    @property
    def key(self) -> str:
        """Where the parquet file is kept."""
        return f"datasets/{self.id}/rows.parquet"

    def take(self) -> bool:
        """Take a waiting dataset; one that is ready stays so while it is counted again."""
        row = datasets.get(self.user, self.id)
        self.again = row.state == "ready" and row.parquet_key is not None
        if self.again:
            self.row = self.update(progress=0.0, cancel=False)
            return True
        return super().take()

    def order(self) -> dict[str, Any]:
        """Return the order for the child; raises NotFound when the uploaded file is gone."""
        row, roles = self.row, self._roles()
        self.read_already = read_already = row.parquet_key is not None
        self.evaluation = self._eval_rows()
        base = None if read_already else self._base()
        # What comes from the Hub is kept in its client's cache only.
        fetched = None if read_already or base or not (row.origin or {}).get("hub") else row.origin
        original = None if read_already or base or fetched else str(
            self.blobs.local(row.original_key or f"datasets/{self.id}/original"))
        parquet = self.blobs.local(row.parquet_key) if read_already else self.blobs.place(self.key)
        return {"kind": "inspect_dataset", "original": original, "parquet": str(parquet),
                "hub": fetched, "data_dir": str(settings().data_dir),
                "base": base, "edits": versions.saved(row) if base else [],
                "source": row.source, "task": roles.task, "columns": roles.columns, "options": roles.options,
                "reading": self._noticed_reading(), "evaluates": row.eval_of_id is not None,
                "eval_parquet": self.evaluation, "steps": self._steps(),
                "model": self.extra.get("model"), "max_length": self.extra.get("max_length")}

    def cancelled(self) -> bool:
        """Whether the person changed their mind or deleted the dataset."""
        return datasets.get(self.user, self.id).cancel if self.again else super().cancelled()

    def advance(self, fraction: float, heard: dict[str, Any]) -> None:
        """Store how far the work is; of a large file, also its rows and what is counted so far, to be looked at."""
        found = heard.get("facts") or {}
        values = self._values(found) if found and not self.again else {}
        self.row = self.update(progress=fraction, **values)

    def keep(self, result: dict[str, Any]) -> None:
        """Store the rows' file and what was found; columns a person confirmed stay."""
        # Who waits for a dataset to be ready finds with it what it is evaluated on.
        self.row = self.update(**self._values(result))
        self._add_evaluation()
        self.row = self.update(state="ready", progress=1.0, error=None, cancel=False)
        self._ring_for_the_other()

    def _values(self, result: dict[str, Any]) -> dict[str, Any]:
        values = {name: result[name] for name in ("rows", "source", "sha256", "guess", "stats", "findings",
                                                     "origin", "bytes")
                  if name in result}
        if not datasets.get(self.user, self.id).confirmed:
            values |= {"columns": result["columns"], "task": result["task"] or None, "options": result["options"]}
        if self.read_already:
            values["findings"] = self._noticed_reading() + values["findings"]
        elif self.row.parquet_key is None:
            values["parquet_key"] = self.blobs.put(self.blobs.place(self.key), self.key)
        if "findings" in values:
            values["findings"] = [*values["findings"], *self._evaluation_unread()]
        return values

    def _add_evaluation(self) -> None:
        """Add the split to evaluate on of a dataset from the Hub, once; a worker fetches it in turn."""
        origin = self.row.origin or {}
        if self.read_already or not origin.get("eval_split") or datasets.find(self.user, eval_of_id=self.id, limit=1):
            return
        held = {**origin, "split": origin["eval_split"], "eval_split": "", "files": {}}
        other = datasets.create(self.user, name=f"{self.row.name[:180]} (evaluation)", filename=self.row.filename,
                                eval_of_id=self.id, origin=held, task=self.row.task, columns=dict(self.row.columns),
                                options=dict(self.row.options), confirmed=self.row.confirmed)
        client.inspect_dataset(other.id)

    def _ring_for_the_other(self) -> None:
        """Have counted again what this reading changes: overlap and unseen labels show once both files are read."""
        if self.row.eval_of_id is not None:
            if not self.again:
                client.inspect_dataset(self.row.eval_of_id)
            return
        if self._eval_rows() != self.evaluation:
            client.inspect_dataset(self.id)
        mine = datasets.get(self.user, self.id)
        for other in datasets.find(self.user, eval_of_id=self.id, states=["ready"]):
            # One that was read first went by a guess of its own.
            if (other.task, other.columns) != (mine.task, mine.columns):
                client.inspect_dataset(other.id)

    def fail(self, error: dict[str, str], cancelled: bool) -> None:
        """Store why there is no result; a dataset that was ready stays ready."""
        if error.get("where", "").startswith("original"):
            error = error | {"where": (self.row.filename or "the file") + error["where"].removeprefix("original")}
        if self.again:
            noticed = [] if cancelled else [Finding.model_validate({"level": "error"} | error).model_dump(mode="json")]
            before = [one for one in self.row.findings if one.get("kind") != EVAL_UNREAD]
            self.update(progress=1.0, cancel=False, findings=[*before, *noticed, *self._evaluation_unread()])
        else:
            # What was read before the counting failed belongs to nobody now.
            if self.row.parquet_key is None:
                self.blobs.place(self.key).unlink(missing_ok=True)
            super().fail(error, cancelled)
            if self.row.eval_of_id is not None:
                client.inspect_dataset(self.row.eval_of_id)

    def put_back(self) -> None:
        """Let the dataset wait again."""
        if not self.again:
            super().put_back()

    def _roles(self) -> Dataset:
        """Return whose columns to go by: a file to evaluate on is read as the dataset it belongs to."""
        if self.row.eval_of_id is None or self.row.confirmed:
            return self.row
        parent = datasets.get(self.user, self.row.eval_of_id)
        return parent if parent.columns else self.row

    def _base(self) -> str | None:
        """Return the rows of the version before, where this one is made of them; raises NotFound when they are gone."""
        before = versions.before(self.row)
        if before is None or self.row.original_key is not None:
            return None
        return str(self.blobs.local(datasets.get(self.user, before).parquet_key or f"datasets/{before}/rows.parquet"))

    def _steps(self) -> list[dict[str, Any]]:
        """Return the steps of preparation; a file to evaluate on goes through those of the dataset it belongs to."""
        if self.row.eval_of_id is None:
            return list(self.row.steps)
        return list(datasets.get(self.user, self.row.eval_of_id).steps)

    def _noticed_reading(self) -> list[dict[str, Any]]:
        """Return what was noticed while the file was read, which counting cannot see."""
        return [one for one in self.row.findings if one.get("reading")]

    def _evaluation_unread(self) -> list[dict[str, Any]]:
        """Return what forbids training where the file to evaluate on could not be read."""
        beside = datasets.find(self.user, eval_of_id=self.id, limit=1)
        if not beside or beside[0].state != "failed":
            return []
        error, name = beside[0].error or {}, beside[0].filename or beside[0].name
        advice = f"{error.get('try_this', '')} Or give another evaluation file, or delete it.".strip()
        where = error.get("where", "")
        told = Finding(kind=EVAL_UNREAD, level="error", try_this=advice,
                       what=f"The evaluation file '{name}' could not be read: {error.get('what', 'it failed.')}",
                       where=where if name in where else ", ".join(filter(None, (name, where))))
        return [told.model_dump(mode="json")]

    def _eval_rows(self) -> str | None:
        beside = datasets.find(self.user, eval_of_id=self.id, states=["ready"], limit=1)
        return str(self.blobs.local(beside[0].parquet_key)) if beside and beside[0].parquet_key else None


@app.task(name="inspect_dataset")
def inspect_dataset(dataset_id: str, model: str | None = None, max_length: int | None = None) -> None:
    """A dataset is to be read, or counted again with the columns it has now."""
    station.current().desk.take(InspectDataset, dataset_id, model=model, max_length=max_length)
