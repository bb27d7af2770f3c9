"""Looks at datasets on the Hub, for somebody who thinks of adding one; what was found lies in a file of the user's."""

from __future__ import annotations

import time
from typing import Any

from db import datasets, looks, users
from db.errors import NotFound
from db.settings import settings
from worker import station
from worker.app import app
from worker.jobs.look import Look


class HubLook(Look):
    """Does one look. Its id is that of the user who asked, a full stop, and the name of the look."""

    noun, repository, waiting = "look at the Hub", datasets, "queued"

    def __init__(self, id: str, **extra: Any) -> None:
        self.id, self.extra = id, extra
        self.dataset_id, _, self.name = id.partition(".")
        self.user = users.get(self.dataset_id)
        self.row: Any = None
        self.file = looks.Look()

    def take(self) -> bool:
        """Take a look that somebody asked for and nobody does or has done."""
        self.file = looks.read(self.dataset_id, self.name)
        if not self.file.waiting:
            return False
        self._write(state="running", progress=0.0)
        return True

    def order(self) -> dict[str, Any]:
        """Return the order for the child."""
        return {"kind": "hub_look", "asked": self.file.asked, "data_dir": str(settings().data_dir)}

    def cancelled(self) -> bool:
        """Whether the user is gone."""
        try:
            users.get(self.dataset_id)
        except NotFound:
            return True
        if time.time() - self.file.touched > looks.SILENT / 4:
            self._write()
        return False


@app.task(name="hub_look")
def hub_look(user_id: str, name: str) -> None:
    """Somebody wants to know what a dataset on the Hub holds."""
    station.current().desk.offer(HubLook, f"{user_id}.{name}")
