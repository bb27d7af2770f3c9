"""A studio without worker or broker: what workers would be rung for is done by hand, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from db import datasets, migrate, users
from db.blobs import Blobs
from db.session import database
from db.settings import settings
from db.tables import Dataset
from engine.errors import StudioError
from studio import session
from worker import client as rings
from worker.desk import Errand
from worker.jobs.hub_look import HubLook
from worker.jobs.inspect_dataset import InspectDataset
from worker.jobs.look import Look
from worker.orders import hub_look, inspect_dataset, look

LABELS = ["money", "travel", "food"]
COLUMNS = {"text": "text", "label": "label"}


class Quiet:
    """The line of an order nobody listens to."""

    def progress(self, fraction: float, text: str = "", **facts: Any) -> None:
        """Tell nobody."""

    def cancelled(self) -> bool:
        """Nobody changes their mind."""
        return False


class Hand:
    """Does by hand, in order, what a worker would have been rung for."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str, dict[str, Any]]] = []

    def ring(self, job: str, queue: str, id: str, **arguments: Any) -> bool:
        """Note what a worker is to do."""
        self.rung.append((job, id, arguments))
        return True

    def work(self) -> None:
        """Do it all, and what comes of it."""
        while self.rung:
            self.work_once()

    def work_once(self) -> None:
        """Do the first of it."""
        job, id, arguments = self.rung.pop(0)
        module, errand = self._errand(job, id, arguments)
        if errand.take():
            try:
                found = module.carry_out(errand.order(), Quiet())
            except StudioError as error:
                errand.fail(error.as_dict(), cancelled=False)
            else:
                errand.keep(json.loads(json.dumps(found)))

    def _errand(self, job: str, id: str, arguments: dict[str, Any]) -> tuple[Any, Errand]:
        if job == "inspect_dataset":
            return inspect_dataset, InspectDataset(id)
        module, kind = (hub_look, HubLook) if job == "hub_look" else (look, Look)
        return module, kind(f"{id}.{arguments['name']}")


@contextmanager
def by_hand(patch: pytest.MonkeyPatch) -> Iterator[Hand]:
    """Open an empty studio with its tables in the data folder that is set."""
    patch.delenv("STUDIO_BROKER_URL", raising=False)
    settings.cache_clear()
    migrate.upgrade()
    made = Hand()
    patch.setattr(rings, "_ring", made.ring)
    yield made
    database().dispose()
    settings.cache_clear()


def add(hand: Hand, columns: dict[str, Any], /, **values: Any) -> Dataset:
    """Return a dataset of these columns that was read and counted."""
    key = f"datasets/{values.get('name', 'tickets')}/rows.parquet"
    pq.write_table(pa.table(columns), Blobs().place(key), row_group_size=7)
    given = {"name": "tickets", "task": "text_classification", "columns": COLUMNS, "confirmed": True} | values
    row = datasets.create(users.local(), parquet_key=key, state="ready", progress=1.0,
                          rows=len(next(iter(columns.values()))), source={"columns": list(columns)}, **given)
    rings.inspect_dataset(row.id)
    hand.work()
    return datasets.get(users.local(), row.id)


def tickets(count: int = 20) -> dict[str, list[Any]]:
    """Return the columns of a small dataset."""
    return {"text": [f"ticket number {i} says this" for i in range(1, count + 1)],
            "label": [LABELS[i % 3] for i in range(count)], "score": [float(i) for i in range(count)]}


def at(row: Dataset, /, **query: Any) -> Any:
    """Return the request of an open page of a dataset."""
    address = "&".join(f"{name}={value}" for name, value in {"dataset": row.id, **query}.items())
    return SimpleNamespace(request=SimpleNamespace(scope={session.SCOPE_KEY: "one"}), query_params={},
                           headers={"referer": f"/data?{address}"})
