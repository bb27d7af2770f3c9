"""What was learned: by an adapter, by a run, and how alike prompts are."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from db import adapters, runs
from db.errors import NotFound
from studio import service
from studio.api.deps import Me

router = APIRouter(tags=["insight"])


@router.get("/adapters/{id}/insight")
def of_adapter(id: str, user: Me) -> dict[str, Any]:
    """Return what an adapter learned: sections of figures and tables, each with how to read it.

    `insight` is null until `state` is ready: where the run did not write it down, a worker works it out now.
    """
    return service.learned(user, id).as_dict()


@router.post("/adapters/{id}/insight", status_code=202)
def again(id: str, user: Me) -> dict[str, Any]:
    """Have what an adapter learned worked out once more after that failed."""
    return service.learned(user, id, again=True).as_dict()


@router.get("/adapters/{id}/similar")
def similar(id: str, user: Me) -> dict[str, Any]:
    """List the soft prompts of other adapters of the same base model, the most alike first (cosines)."""
    return {"items": service.similar_prompts(user, id)}


@router.get("/adapters/{id}/sources")
def sources(id: str, user: Me) -> dict[str, Any]:
    """List the prompts that a run like this adapter's could start from, the most alike first, each with its spec."""
    return {"items": service.prompt_sources(user, id)}


@router.get("/runs/{id}/insight")
def of_run(id: str, user: Me) -> dict[str, Any]:
    """Return what a run's newest adapter learned; 404 while it has none."""
    runs.get(user, id)
    row = adapters.of_run(user, id)
    if row is None:
        raise NotFound(id, noun="adapter of the run", id=id)
    return service.learned(user, row.id).as_dict()
