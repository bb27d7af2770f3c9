"""Datasets of the Hub: a look at what one holds, made by a worker, and adding one of its splits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from db import datasets, looks
from db.looks import Look
from db.tables import Dataset
from db.users import User
from engine.hub_data.client import good_id
from studio.service.roles import check_task
from worker import client

#: Seconds after which the same look asks the Hub again, when somebody asks `again`.
FRESH = 20.0
#: Rows of a preview.
ROWS = 20


def look(user: User, id: str, *, revision: str | None = None, config: str = "", split: str = "", rows: int = ROWS,
         again: bool = False) -> Look:
    """Return what a dataset on the Hub holds; raises BadDatasetId.

    `found` has `listing` (revision, licence, configs with their splits, each with files, bytes and rows), what is
    `chosen` of it (config, split, eval_split; null where nobody can tell), and `columns` and the first `rows`, or the
    `problem` that there are none. A worker asks the Hub: look at `state` until it is ready or failed.
    """
    asked = {"id": good_id(id), "revision": revision or None, "config": config, "split": split, "rows": rows}
    name = looks.name("hub", asked)
    found = looks.read(user.id, name)
    old = not found.working and time.time() - found.touched > FRESH
    if found.lost or (again and (old or found.state == "failed")):
        found = looks.write(user.id, name, Look(what="hub", asked=asked, state="queued"))
        client.hub_look(user.id, name)
    return found


def add_hub_dataset(user: User, id: str, *, config: str = "", split: str = "", eval_split: str | None = None,
                    revision: str | None = None, name: str = "", task: str | None = None,
                    columns: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None) -> Dataset:
    """Add a split of a dataset on the Hub, and the one to evaluate on, for a worker to fetch and read.

    What is left open is chosen by the names that the dataset's splits have; `eval_split` "none" takes none. Raises
    BadDatasetId, SpecError.
    """
    id = good_id(id)
    check_task(task, columns or {}, options or {})
    title = name.strip() or " ".join(part for part in (id.rpartition("/")[2], config) if part)
    origin = {"hub": id, "revision": revision or None, "config": config, "split": split, "eval_split": eval_split}
    row = datasets.create(user, name=title, filename=id, origin=origin, task=task, columns=dict(columns or {}),
                          options=dict(options or {}), confirmed=bool(task and columns))
    client.inspect_dataset(row.id)
    return row


def told(origin: Mapping[str, Any] | None) -> str:
    """Return which part of which dataset on the Hub rows are, and under what licence; "" for rows of a file."""
    if not origin or not origin.get("hub"):
        return ""
    commit, licence = (origin.get("revision") or "")[:10], origin.get("licence")
    return ", ".join(part for part in (
        f"{origin['hub']} on the Hub", origin.get("config"), origin.get("split"), commit and f"commit {commit}",
        licence and f"licence {licence}") if part)
