"""Runs: start, watch, stop, resume, delete."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict

from db import adapters, metrics, runs
from db.states import State
from engine.evaluation.report import Evaluation
from studio import records, service
from studio.api.deps import LARGEST, Me, Offset
from studio.api.errors import BadRequest
from studio.service import pictures

router = APIRouter(prefix="/runs", tags=["runs"])

#: How long starting a run waits for a dataset or base model that is still being read.
WAIT_SECONDS = 20.0

EXAMPLE = {"task": "text_classification", "model": {"id": "starter/minilm-l6"}, "data": {"train": "ds_…"},
           "method": {"name": "lora", "r": 8}, "training": {"epochs": 3}, "name": "My first run"}


class Stop(BaseModel):
    """How to stop: keep the adapter as it is, or not."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["save", "discard"] = "save"


class Name(BaseModel):
    """A new name."""

    model_config = ConfigDict(extra="forbid")

    name: str


@router.post("", status_code=201)
def create(response: Response, user: Me, spec: dict[str, Any] = Body(examples=[EXAMPLE]),
           name: str = Query("", description="The run's name; also taken from the body.")) -> dict[str, Any]:
    """Start a run of a RunSpec whose `data.train` is a dataset id. What forbids it comes back as 422 or 409."""
    document = dict(spec)
    told = document.pop("name", "")
    if not isinstance(told, str):
        raise BadRequest("name", problem="name is not a text")
    row = service.start_run(user, document, name=name or told, wait=WAIT_SECONDS)
    response.headers["Location"] = f"/api/v1/runs/{row.id}"
    found = service.check(user, row.spec)
    warnings = [f for f in (*found.warnings, *found.findings) if f.get("level") == "warning"]
    return records.run(row) | {"warnings": warnings}


@router.get("")
def find(user: Me, search: str = "", state: list[State] | None = Query(None), method: list[str] | None = Query(None),
         task: list[str] | None = Query(None), model: list[str] | None = Query(None),
         dataset: list[str] | None = Query(None), order: Literal["newest", "oldest", "name"] = "newest",
         limit: int = Query(50, ge=0, le=1000), offset: Offset = 0) -> dict[str, Any]:
    """List runs; every word of `search` must occur in name, method, model, task, state, id or dataset name."""
    wanted: dict[str, Any] = {"search": search, "states": state, "methods": method, "tasks": task, "models": model,
                              "datasets": dataset}
    rows = runs.find(user, **wanted, order=order, limit=limit, offset=offset)
    return {"items": [records.run(row, full=False) for row in rows], "total": runs.count(user, **wanted),
            "counts": runs.counts(user)}


@router.get("/{id}")
def get(id: str, user: Me) -> dict[str, Any]:
    """Return a run: state, progress, parameters, result, and the adapters that came out of it."""
    found = adapters.find(user, runs=[id])
    return records.run(runs.get(user, id)) | {"adapters": [row.id for row in found]}


@router.patch("/{id}")
def rename(id: str, name: Name, user: Me) -> dict[str, Any]:
    """Give a run another name."""
    return records.run(runs.rename(user, id, name.name))


@router.get("/{id}/metrics")
def points(id: str, user: Me, since: str = Query("", description="The `cursor` of the answer before; or a step."),
           name: list[str] | None = Query(None, description="Only these metrics."),
           limit: int = Query(10_000, ge=1, le=100_000)) -> dict[str, Any]:
    """Return the points of a run's metrics; pass `cursor` back as `since` to get only newer ones."""
    row, after = runs.get(user, id), _cursor(since)
    if isinstance(after, int):
        after = dict.fromkeys(row.latest, after)
    read = runs.metrics(user, id, names=name, after=after, limit=limit)
    seen = metrics.cursor(read, after)
    return {"points": [point._asdict() for point in read], "state": row.state,
            "cursor": ",".join(f"{key}:{step}" for key, step in sorted(seen.items()))}


@router.get("/{id}/log")
def log(id: str, user: Me, since: int = Query(0, ge=0, le=LARGEST, description="Number of the last line seen."),
        limit: int = Query(1000, ge=1, le=10_000)) -> dict[str, Any]:
    """Return the lines of a run's log after number `since`."""
    lines = runs.log(user, id, after=since, limit=limit)
    return {"lines": [line._asdict() | {"at": records.moment(line.at)} for line in lines],
            "cursor": lines[-1].number if lines else since}


@router.get("/{id}/samples")
def samples(id: str, user: Me) -> dict[str, Any]:
    """Return what a run's model wrote to the same prompts at each evaluation, by step; empty where it writes none."""
    return {"steps": service.samples(user, id)}


@router.get("/{id}/examples/{row}/image", response_class=Response)
def example(id: str, row: Annotated[int, InPath(ge=0, le=LARGEST, description="Row of the evaluation, from 0.")],
            user: Me, size: int = Query(160, ge=16, le=512)) -> Response:
    """Return the image of one of the best or worst predictions of a run, as a small JPEG."""
    # A run that goes on keeps other images after its next evaluation.
    return Response(pictures.example(user, id, row, size), media_type="image/jpeg",
                    headers={"Cache-Control": "private, no-cache"})


@router.get("/{id}/evaluation")
def evaluation(id: str, user: Me) -> Evaluation:
    """Return the last evaluation of a run: metrics with intervals, slices, charts, likely label errors, forgetting."""
    return service.evaluation(user, id)


@router.get("/{id}/spec")
def spec(id: str, user: Me) -> dict[str, Any]:
    """Return the RunSpec that started a run."""
    return runs.duplicate_spec(user, id)


@router.post("/{id}/stop")
def stop(id: str, user: Me, how: Stop | None = None) -> dict[str, Any]:
    """Stop a run, keeping its adapter (save) or not (discard)."""
    return records.run(service.stop_run(user, id, (how or Stop()).mode))


@router.post("/{id}/resume")
def resume(id: str, user: Me) -> dict[str, Any]:
    """Go on with a stopped, failed or interrupted run from its newest checkpoint."""
    return records.run(service.resume_run(user, id))


@router.delete("/{id}", status_code=204)
def delete(id: str, user: Me) -> None:
    """Delete a run that has ended, with its files; its adapters stay."""
    service.delete_run(user, id)


def _cursor(since: str) -> int | dict[str, int] | None:
    """Return what `since` means: nothing, a step, or the last step seen of each metric (name:step,name:step)."""
    if not since:
        return None
    try:
        if ":" not in since:
            return _step(since)
        return {name: _step(step) for name, _, step in (part.rpartition(":") for part in since.split(","))}
    except ValueError:
        raise BadRequest("since", problem="since is neither a step nor the cursor of an earlier answer") from None


def _step(text: str) -> int:
    step = int(text)
    if abs(step) > LARGEST:
        raise ValueError("no run has so many steps")
    return step
