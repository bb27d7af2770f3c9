"""What was learned: found beside an adapter's files, or worked out by a worker the first time somebody asks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from db import adapters, exports, runs
from db.blobs import Blobs
from db.errors import NotFound
from db.tables import Adapter
from db.users import User
from engine import insight as engine
from engine.errors import Refused, StudioError
from engine.insight import Insight, similarity
from studio.service.sources import soft_prompts
from worker import client

#: Other prompts of the same base model that are compared, the newest first.
COMPARED = 30


class NoSources(Refused):
    """{name} is not the prompt of a run that could start from another one."""

    kind = "no_prompt_sources"
    try_this = "Choose an adapter of {known} that came out of a run."


@dataclass(frozen=True)
class Learned:
    """What is known of an adapter: `insight` once `state` is ready; else queued, running, failed or cancelled."""

    adapter_id: str
    state: str
    insight: Insight | None = None
    progress: float = 0.0
    error: dict[str, Any] | None = None

    @property
    def working(self) -> bool:
        """Whether it is still to come."""
        return self.state in ("queued", "running")

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found = self.insight.model_dump(mode="json") if self.insight else None
        return {"adapter_id": self.adapter_id, "state": self.state, "progress": self.progress, "error": self.error,
                "insight": found}


def learned(user: User, adapter_id: str, *, again: bool = False) -> Learned:
    """Return what an adapter learned; where nobody worked it out yet, a worker is told to.

    What failed is tried anew only with `again`. Raises NotFound.
    """
    row = adapters.get(user, adapter_id)
    if found := _beside(row):
        return Learned(row.id, "ready", found)
    made = next((one for one in exports.find(user, adapter_id=row.id) if one.kind == "insight"), None)
    if made is not None and made.state == "ready":
        if made.path and (found := _read(made.path)):
            return Learned(row.id, "ready", found, 1.0)
        # Its file is gone, or was written by an older version.
        exports.delete(user, made.id)
        made = None
    if made is None or (again and made.state in ("failed", "cancelled")):
        made = exports.create(user, row.id, "insight")
        client.export(made.id)
    return Learned(row.id, made.state, None, made.progress, made.error)


def similar_prompts(user: User, adapter_id: str) -> list[dict[str, Any]]:
    """Return how alike an adapter's soft prompt is to those of other adapters of its base model, the most alike first.

    Empty for adapters that are no prompts. Raises NotFound.
    """
    row = adapters.get(user, adapter_id)
    mine = _folder(row)
    if mine is None or not similarity.is_prompt(mine):
        return []
    found: list[dict[str, Any]] = []
    for other in adapters.find(user, models=[row.model], methods=soft_prompts(), limit=COMPARED + 1):
        folder = _folder(other) if other.id != row.id else None
        if folder is None or other.model_revision != row.model_revision:
            continue
        if (alike := similarity.between(mine, folder)) is not None:
            found.append({"id": other.id, "name": other.name, "method": other.method, **alike.model_dump()})
    return sorted(found, key=lambda one: -one["averaged"])


def prompt_sources(user: User, adapter_id: str) -> list[dict[str, Any]]:
    """Return the prompts that a run like that of an adapter could start from, the most alike first (SPoT).

    Each comes with `spec`, the document of that run: the adapter's own with the other prompt as its source. Source: Vu
    et al. (2022), section 4. Raises NotFound, NoSources for adapters whose run cannot start from a prompt.
    """
    row = adapters.get(user, adapter_id)
    if row.method not in sourced() or row.run_id is None:
        raise NoSources(adapter_id, name=row.name, known=" or ".join(sourced()))
    document = runs.duplicate_spec(user, row.run_id)
    length = document["method"].get("length")
    return [one | {"spec": document | {"method": document["method"] | {"start_from": one["id"]}}}
            for one in similar_prompts(user, adapter_id)
            if one["method"] == row.method and _length(user, one["id"]) == length]


def sourced() -> list[str]:
    """Return the methods whose runs can start from the prompt of another adapter."""
    from engine import methods

    return [name for name, kind in methods.every().items() if "start_from" in kind.model_fields]


def _length(user: User, adapter_id: str) -> Any:
    """Return how many virtual tokens the run of an adapter was asked for; None where the run is gone."""
    run_id = adapters.get(user, adapter_id).run_id
    try:
        return runs.get(user, run_id).spec["method"].get("length") if run_id else None
    except NotFound:
        return None


def _beside(row: Adapter) -> Insight | None:
    """Return what the run wrote beside its adapter."""
    return _read(f"{row.key.rpartition('/')[0]}/{engine.FILE}") if "/" in row.key else None


def _read(key: str) -> Insight | None:
    try:
        path = Blobs().local(key)
        return _parsed(path, path.stat().st_mtime_ns)
    except (StudioError, OSError):
        return None


@lru_cache(maxsize=16)
def _parsed(path: Path, changed: int) -> Insight | None:
    return engine.read(path)


def _folder(row: Adapter) -> Path | None:
    try:
        return Blobs().local(row.key) if row.artifact == "adapter" else None
    except NotFound:
        return None
