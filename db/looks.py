"""What somebody asked about the rows of a dataset and what was found: a file each, beside the rows.

What was asked about data that is not here yet lies in a folder of the user's: an id is that of a dataset or a user.

A look may be lost: it is made again when somebody asks again. Its name says what was asked, so that it is made once.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from db.base import to_json
from db.blobs import Blobs
from db.errors import NotFound

#: A look that was asked for or worked on, and not touched for so many seconds, is to be asked for again.
SILENT = 20.0


class Look(BaseModel):
    """What is asked and how far it is. `state`: queued, running, ready, failed; `found` may be there before the end."""

    model_config = ConfigDict(frozen=True)

    what: str = ""
    asked: dict[str, Any] = {}
    state: str = "missing"
    progress: float = 0.0
    found: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    touched: float = 0.0

    @property
    def lost(self) -> bool:
        """Whether nobody works on it, so far as one can tell: it is to be asked for."""
        return self.state == "missing" or (self.working and time.time() - self.touched > SILENT)

    @property
    def working(self) -> bool:
        """Whether something is still to come."""
        return self.state in ("queued", "running")

    @property
    def waiting(self) -> bool:
        """Whether a worker should begin it."""
        return self.state == "queued" or (self.state == "running" and self.lost)


def name(what: str, *parts: Any) -> str:
    """Return the name of a look: what it is, and a mark of all that the answer depends on."""
    return f"{what}-{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]}"


def read(dataset_id: str, name: str) -> Look:
    """Return a look; in state "missing" where it was never asked for, or its file says nothing."""
    try:
        return Look.model_validate_json(Blobs().local(_key(dataset_id, name)).read_bytes())
    except (NotFound, OSError, ValidationError):
        return Look()


def write(dataset_id: str, name: str, look: Look) -> Look:
    """Store a look with the time of now, and return it."""
    look = look.model_copy(update={"touched": time.time()})
    with tempfile.TemporaryDirectory(prefix="look-") as folder:
        path = Path(folder) / "look.json"
        path.write_text(to_json(look.model_dump(mode="json")), encoding="utf-8")
        Blobs().put(path, _key(dataset_id, name))
    return look


def forget(dataset_id: str) -> None:
    """Remove all looks of a dataset."""
    Blobs().delete(f"datasets/{dataset_id}/looks")


def _key(dataset_id: str, name: str) -> str:
    return f"{'users' if dataset_id.startswith('us_') else 'datasets'}/{dataset_id}/looks/{name}.json"
