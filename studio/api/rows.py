"""The rows of a dataset: pages of them, their images, changes, versions, and what was found in them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field

from db import datasets, looks, versions
from db.users import User
from engine.journal import finite
from studio import records, service
from studio.api.deps import LARGEST, Me, Offset

router = APIRouter(prefix="/datasets", tags=["datasets"])

#: Small images may be kept by the browser: the rows of a dataset never change.
KEPT = {"Cache-Control": "private, max-age=86400, immutable"}

Number = Annotated[int, InPath(ge=1, le=LARGEST, description="Number of the row, counted from 1.")]


class Changes(BaseModel):
    """Changes of rows: {row, column, value} gives a cell another value, {row, exclude: true} leaves a row out."""

    model_config = ConfigDict(extra="forbid")

    edits: list[dict[str, Any]] = Field(max_length=10_000, examples=[[
        {"row": 12, "column": "label", "value": "refund"}, {"row": 40, "exclude": True}]])


class NewVersion(BaseModel):
    """What the next version of a dataset changes; without `edits`, what was changed and not saved yet."""

    model_config = ConfigDict(extra="forbid")

    edits: list[dict[str, Any]] | None = Field(None, max_length=10_000)
    name: str = Field("", max_length=200, description="Name; that of the first version with the number when left out.")


class Asked(BaseModel):
    """For which base model the first batch is made."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=400, description="Id of a base model, such as starter/minilm-l6.")
    max_length: int = Field(128, description="Tokens after which a row is cut.")
    wait: float = Field(60, ge=0, le=600, description="Seconds to wait for a worker; 0 waits for none.")


@router.get("/{id}/rows")
def find(id: str, user: Me, offset: Offset = 0, limit: int = Query(50, ge=0, le=500),
         search: str = Query("", max_length=500, description="Text that any cell must hold, case aside."),
         sort: str | None = Query(None, max_length=400, description="Column; with a minus before it, largest first."),
         ) -> dict[str, Any]:
    """Return a page of rows with their numbers; `clipped` tells the length of cells that were cut."""
    descending = sort is not None and sort.startswith("-")
    column = sort[1:] if descending and sort else sort
    shown = service.rows.page(user, id, offset, limit, search=search, sort=column or None, descending=descending)
    items = [{"row": number, "cells": row} | ({"clipped": cut} if cut else {})
             for number, row, cut in zip(shown.numbers, shown.rows, shown.clipped, strict=True)]
    return {"items": finite(items), "total": shown.total, "rows": shown.rows_there, "offset": shown.offset,
            "columns": shown.columns}


@router.get("/{id}/rows/{row}/image", response_class=Response)
def image(id: str, row: Number, user: Me, size: int = Query(160, ge=16, le=512),
          column: str | None = Query(None, max_length=400)) -> Response:
    """Return the image of a row as a small JPEG."""
    made = service.rows.thumbnail(user, id, row, size, column)
    return Response(made, media_type="image/jpeg", headers=KEPT)


@router.post("/{id}/edits")
def edit(id: str, changes: Changes, user: Me) -> dict[str, Any]:
    """Add changes that are not saved yet; the dataset itself stays as it is."""
    return _drafts(user, service.versions.edit(user, id, changes.edits).id)


@router.get("/{id}/edits")
def edits(id: str, user: Me) -> dict[str, Any]:
    """List changes that were not saved yet."""
    return _drafts(user, id)


@router.delete("/{id}/edits")
def undo(id: str, user: Me, everything: bool = Query(False, alias="all", description="Take back all of them."),
         ) -> dict[str, Any]:
    """Take back the last change that was not saved yet."""
    return _drafts(user, service.versions.undo(user, id, everything=everything).id)


@router.get("/{id}/versions")
def family(id: str, user: Me) -> dict[str, Any]:
    """List all versions of a dataset, the first one first."""
    rows = service.versions.family(user, id)
    return {"items": [records.dataset(row, full=False) | _version(row) for row in rows]}


@router.post("/{id}/versions", status_code=201)
def save(id: str, new: NewVersion, response: Response, user: Me) -> dict[str, Any]:
    """Make changes the next version of the dataset; a worker writes it: look at `state`."""
    row = service.versions.save(user, id, new.edits, name=new.name)
    response.headers["Location"] = f"/api/v1/datasets/{row.id}"
    return records.dataset(row) | _version(row)


@router.get("/{id}/diff")
def diff(id: str, user: Me, against: str | None = Query(None, max_length=40, description="The version before when "
                                                                                       "left out.")) -> dict[str, Any]:
    """Return how a version differs from another one of its family."""
    return service.versions.diff(user, id, against).as_dict()


@router.get("/{id}/samples")
def samples(id: str, user: Me, wait: float = Query(30, ge=0, le=600)) -> dict[str, Any]:
    """Return the numbers of a few rows of each label; `found` is null until `state` is ready."""
    return _look(service.settled(lambda: service.looks.samples(user, id), ("ready", "failed"), wait))


@router.get("/{id}/leaks")
def leaks(id: str, user: Me, wait: float = Query(30, ge=0, le=600, description="Seconds to wait for a worker."),
          again: bool = False) -> dict[str, Any]:
    """Return repeated rows, near-duplicates, and evaluation rows that are like training rows.

    `found` holds a part of it before `state` is ready; `again` tries once more what failed.
    """
    if again:
        service.looks.problems(user, id, again=True)
    return _look(service.settled(lambda: service.looks.problems(user, id), ("ready", "failed"), wait))


@router.get("/{id}/suspects")
def suspects(id: str, user: Me) -> dict[str, Any]:
    """List likely label errors: rows that the newest runs evaluated on this dataset did worst on."""
    return {"items": [vars(one) for one in service.suspects.suspects(user, id)]}


@router.post("/{id}/batch")
def batch(id: str, asked: Asked, user: Me) -> dict[str, Any]:
    """Return the first rows as tokens with what is learned of them, and how many rows the maximum length cuts."""
    service.looks.batch(user, id, asked.model, asked.max_length, again=True)
    return _look(service.settled(lambda: service.looks.batch(user, id, asked.model, asked.max_length),
                                 ("ready", "failed"), asked.wait))


def _look(look: looks.Look) -> dict[str, Any]:
    return look.model_dump(mode="json", include={"state", "progress", "found", "error"})


def _drafts(user: User, id: str) -> dict[str, Any]:
    return {"edits": versions.drafted(datasets.get(user, id))}


def _version(row: Any) -> dict[str, Any]:
    return {"before_id": versions.before(row), "edits": versions.saved(row)}
