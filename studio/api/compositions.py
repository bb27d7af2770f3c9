"""Combining adapters: start, look, stop. What comes of it is an adapter."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query
from pydantic import Field

from db import compositions
from engine.recipe import MOST, Recipe
from studio import records, service
from studio.api.deps import Me, Offset

router = APIRouter(tags=["adapters"])


class Combination(Recipe):
    """Which adapters are combined and how; a `dataset` compares the result with its parts, and LoraHub learns there."""

    adapters: list[str] = Field(max_length=MOST, description="Ids of two or more adapters of one base model.")
    name: str = Field("", description="Name of the new adapter.")
    dataset: str | None = Field(None, description="Id of a dataset to find weights on and to compare on.")


@router.post("/adapters/compose", status_code=202)
def compose(asked: Combination, user: Me) -> dict[str, Any]:
    """Combine adapters into a new one; look at the composition until it is ready and names the adapter."""
    recipe = Recipe.model_validate(asked.model_dump(include=set(Recipe.model_fields)))
    row = service.compose(user, asked.adapters, recipe, name=asked.name, dataset_id=asked.dataset)
    return records.composition(row)


@router.get("/compositions")
def find(user: Me, limit: int = Query(100, ge=0, le=1000), offset: Offset = 0) -> dict[str, Any]:
    """List combinations, newest first."""
    return {"items": [records.composition(row) for row in compositions.find(user, limit=limit, offset=offset)]}


@router.get("/compositions/{id}")
def get(id: str, user: Me) -> dict[str, Any]:
    """Return a combination: how far it is, what was found so far, and what came of it."""
    return records.composition(compositions.get(user, id))


@router.post("/compositions/{id}/cancel")
def cancel(id: str, user: Me) -> dict[str, Any]:
    """Stop combining."""
    return records.composition(service.cancel_composition(user, id))
