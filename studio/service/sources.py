"""Adapters that a run starts from: whether the one that was named can be one, and which could."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from db import adapters
from db.blobs import Blobs
from db.errors import NotFound
from db.tables import Adapter
from db.users import User
from engine import methods
from engine.errors import SpecError, StudioError
from engine.methods import Method
from engine.shape import ModelShape
from engine.spec import RunSpec

#: Adapters that are looked at for a list to choose from.
LOOKED_AT = 100


class SourceMissing(SpecError):
    """There is no adapter '{adapter}' to start from."""

    kind = "source_missing"
    try_this = "Choose one of your adapters, by its id, or start without one."


class SourceElsewhere(SpecError):
    """'{name}' belongs to the base model {theirs}, this run to {mine}."""

    kind = "source_of_another_base"
    try_this = "Choose an adapter of this base model, or start without one."


def obstacle(user: User, spec: RunSpec, shape: ModelShape | None) -> StudioError | None:
    """Return what is wrong with the adapter that a run is to start from; None where there is nothing."""
    if not spec.method.origin:
        return None
    try:
        row = adapters.get(user, spec.method.origin)
        if row.model != spec.model.id:
            return SourceElsewhere("method.start_from", name=row.name, theirs=row.model, mine=spec.model.id)
        folder = _folder(row)
        if shape is not None:
            spec.method.check_source(folder, shape)
    except NotFound:
        return SourceMissing("method.start_from", adapter=spec.method.origin)
    except StudioError as problem:
        return problem
    return None


def choices(user: User, method: Method, model: str, shape: ModelShape | None) -> list[dict[str, Any]]:
    """Return the adapters of a base model that a method can start from, as options {value, label}, newest first."""
    made: list[dict[str, Any]] = [{"value": "", "label": "None"}]
    if model and shape is not None:
        rows = adapters.find(user, models=[model], methods=soft_prompts(), limit=LOOKED_AT)
        made += [{"value": row.id, "label": row.name} for row in rows if _fits(row, method, shape)]
    if method.origin and method.origin not in [one["value"] for one in made]:
        made.append({"value": method.origin, "label": f"{method.origin} (cannot be started from)"})
    return made


def soft_prompts() -> list[str]:
    """Return the methods that learn soft prompts."""
    return [name for name, kind in methods.every().items() if kind.card.family == "soft prompt"]


def _fits(row: Adapter, method: Method, shape: ModelShape) -> bool:
    """Return whether a run could start from an adapter; those in a store far away are only fetched when chosen."""
    if not Blobs().is_folder:
        return True
    try:
        method.check_source(_folder(row), shape)
    except (StudioError, OSError):
        return False
    return True


def _folder(row: Adapter) -> Path:
    """Return an adapter's folder; raises SourceMissing or NotFound."""
    if row.artifact != "adapter":
        raise SourceMissing("method.start_from", adapter=row.name)
    return Blobs().local(row.key)
