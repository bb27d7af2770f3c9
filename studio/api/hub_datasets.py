"""Datasets on the Hub: what one holds, before it is added."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from studio import service
from studio.api.deps import Me
from studio.service.predictions import told

#: What the Hub's refusals are as an answer of our own; all others are 422.
STATUSES = {"hub_dataset_unreachable": 502, "hub_dataset_missing": 404, "hub_config_unknown": 404,
            "hub_split_unknown": 404, "hub_dataset_gated": 403}

router = APIRouter(prefix="/hub", tags=["datasets"])


@router.get("/datasets/{id:path}")
def look(id: str, user: Me, revision: Annotated[str | None, Query(max_length=100)] = None,
         config: Annotated[str, Query(max_length=200, description="Its configuration; the usual one.")] = "",
         split: Annotated[str, Query(max_length=200, description="Its split; the one to learn from.")] = "",
         rows: Annotated[int, Query(ge=0, le=100, description="First rows to show of the split.")] = 0,
         wait: Annotated[float, Query(ge=0, le=600, description="Seconds to wait for a worker.")] = 30,
         again: Annotated[bool, Query(description="Ask the Hub once more.")] = False) -> dict[str, Any]:
    """Return a dataset's configurations and splits with their sizes, its licence, and the first rows of a split.

    A worker asks the Hub, or the mirror that HF_ENDPOINT names; without one it looks into the cache. `found` is null
    until `state` is ready. What forbids it comes back as 404, 403, 502 where the Hub cannot be reached, or 422;
    `again` asks the Hub once more.
    """
    def ask(once_more: bool = False) -> Any:
        return service.hub_data.look(user, id, revision=revision, config=config, split=split, rows=rows,
                                     again=once_more)

    ask(again)
    found = service.settled(ask, ("ready", "failed"), wait)
    if found.state == "failed":
        problem = told(found.error)
        problem.status = STATUSES.get(problem.kind, problem.status)  # pyright: ignore[reportAttributeAccessIssue]
        raise problem
    return found.model_dump(mode="json", include={"state", "progress", "found", "error"})
