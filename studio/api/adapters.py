"""Adapters: look, rename, merge, delete. Their files are under /download."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from db import adapters, exports
from studio import records, service
from studio.api.deps import Me, Offset

router = APIRouter(tags=["adapters"])


class Name(BaseModel):
    """A new name."""

    model_config = ConfigDict(extra="forbid")

    name: str


@router.get("/adapters")
def find(user: Me, search: str = "", task: list[str] | None = Query(None), method: list[str] | None = Query(None),
         model: list[str] | None = Query(None), run: list[str] | None = Query(None),
         limit: int = Query(100, ge=0, le=1000), offset: Offset = 0) -> dict[str, Any]:
    """List adapters, newest first."""
    wanted: dict[str, Any] = {"search": search, "tasks": task, "methods": method, "models": model, "runs": run}
    rows = adapters.find(user, **wanted, limit=limit, offset=offset)
    return {"items": [records.adapter(row) for row in rows], "total": adapters.count(user, **wanted)}


@router.get("/adapters/{id}")
def get(id: str, user: Me) -> dict[str, Any]:
    """Return an adapter: where it came from, its metrics, and the files made from it."""
    made = [records.export(row) for row in exports.find(user, adapter_id=id)]
    return records.adapter(adapters.get(user, id)) | {"exports": made}


@router.patch("/adapters/{id}")
def rename(id: str, name: Name, user: Me) -> dict[str, Any]:
    """Give an adapter another name."""
    return records.adapter(adapters.rename(user, id, name.name))


@router.post("/adapters/{id}/merge", status_code=202)
def merge(id: str, user: Me) -> dict[str, Any]:
    """Have the adapter merged into its base model; look at the export until it is ready, then download it."""
    return records.export(service.export(user, id, "merge"))


@router.post("/adapters/{id}/zip", status_code=202)
def pack(id: str, user: Me) -> dict[str, Any]:
    """Have the adapter packed; downloading it does this by itself."""
    return records.export(service.export(user, id, "zip"))


@router.delete("/adapters/{id}", status_code=204)
def delete(id: str, user: Me) -> None:
    """Delete an adapter and the files made from it."""
    service.delete_adapter(user, id)


@router.get("/exports/{id}")
def export(id: str, user: Me) -> dict[str, Any]:
    """Return an export: how far it is, and where to download it."""
    return records.export(exports.get(user, id))


@router.post("/exports/{id}/cancel")
def cancel(id: str, user: Me) -> dict[str, Any]:
    """Stop making an export."""
    return records.export(service.cancel_export(user, id))
