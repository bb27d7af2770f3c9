"""Preparation of datasets: the steps there are, those of a dataset, and what they do to its first rows."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from db import datasets
from engine import preparation
from studio import service
from studio.api.deps import Me

router = APIRouter(tags=["datasets"])

#: Each kind of step, as OpenAPI describes it.
SCHEMAS: list[Any] = [kind.model_json_schema() for kind in preparation.every().values()]
EXAMPLE = [{"name": "filter", "where": "length(text) > 20"}, {"name": "deduplicate", "columns": ["text"]}]


class Steps(BaseModel):
    """Steps of preparation, in the order in which they are taken."""

    model_config = ConfigDict(extra="forbid")

    steps: list[dict[str, Any]] = Field(examples=[EXAMPLE], json_schema_extra={"items": {"anyOf": SCHEMAS}})


class Trial(BaseModel):
    """Steps to try out; the dataset's own when they are left out."""

    model_config = ConfigDict(extra="forbid")

    steps: list[dict[str, Any]] | None = Field(default=None, examples=[EXAMPLE])
    rows: int = Field(default=6, ge=0, le=50, description="Rows to show of each step.")


@router.get("/steps")
def kinds() -> list[dict[str, Any]]:
    """List the kinds of steps with the schema of each."""
    return [{"name": name, "title": kind.card.title, "summary": kind.card.summary, "schema": schema,
             "evaluation": kind.evaluation or kind.splits}
            for (name, kind), schema in zip(preparation.every().items(), SCHEMAS, strict=True)]


@router.get("/datasets/{id}/steps")
def get(id: str, user: Me) -> dict[str, Any]:
    """Return the steps of a dataset, and the columns there are after them."""
    row = datasets.get(user, id)
    steps = service.preparation.steps_of(user, row)
    return {"steps": [step.model_dump(mode="json") for step in steps],
            "columns": service.preparation.columns_after(row, steps, evaluating=row.eval_of_id is not None)}


@router.put("/datasets/{id}/steps")
def put(id: str, given: Steps, user: Me) -> dict[str, Any]:
    """Replace the steps of a dataset. Roles follow their columns, statistics are made anew; runs keep what they had."""
    service.preparation.set_steps(user, id, given.steps)
    return get(id, user)


@router.post("/datasets/{id}/steps/preview")
def preview(id: str, user: Me, given: Trial | None = None) -> dict[str, Any]:
    """Return what steps do to the first rows of a dataset: counts, and rows before and after each; nothing is kept."""
    trial = given or Trial()
    return service.preparation.preview_steps(user, id, trial.steps, shown=trial.rows).as_dict()
