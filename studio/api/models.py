"""Base models: add by id or upload, look, delete."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict

from db import models
from db.settings import settings
from engine.starter import STARTERS, installed
from studio import records, service
from studio.api import documents, upload
from studio.api.deps import Me, Offset
from studio.api.errors import BadRequest

router = APIRouter(prefix="/models", tags=["models"])


class Reference(BaseModel):
    """A base model by its id: starter/<name>, local/<name> or <org>/<name> on the Hub."""

    model_config = ConfigDict(extra="forbid")

    id: str
    revision: str | None = None
    title: str = ""


BODY = {"required": True, "content": {
    "application/json": {"schema": Reference.model_json_schema()},
    "multipart/form-data": {"schema": {"type": "object", "required": ["name", "file"], "properties": {
        "name": {"type": "string", "description": "The model's name: it becomes local/<name>."},
        "title": {"type": "string"},
        "file": {"type": "array", "items": {"type": "string", "format": "binary"},
                 "description": "Weights (.safetensors or .gguf), config.json and tokenizer files."}}}}}}


@router.post("", status_code=201, openapi_extra={"requestBody": BODY})
async def create(request: Request, response: Response, user: Me) -> dict[str, Any]:
    """Add a base model; a worker finds and measures it: look at `state` until it is ready or failed."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        form = await upload.receive(request, settings().data_dir / "uploads", settings().max_upload_bytes)
        try:
            row = await run_in_threadpool(_add_files, user, form)
        finally:
            await run_in_threadpool(form.discard)
    else:
        row = await run_in_threadpool(_add, user, await documents.read(request, Reference))
    response.headers["Location"] = f"/api/v1/models/{row['id']}"
    return row


@router.get("")
def find(user: Me, search: str = "", state: list[str] | None = Query(None), source: list[str] | None = Query(None),
         limit: int = Query(100, ge=0, le=1000), offset: Offset = 0) -> dict[str, Any]:
    """List the models that were added, newest first, and the starter models there are."""
    rows = models.find(user, search=search, states=state, sources=source, limit=limit, offset=offset)
    starters = [{"id": s.id, "title": s.title, "summary": s.summary, "tasks": list(s.tasks), "licence": s.licence,
                 "parameters": s.size, "bytes": s.bytes, "installed": installed(s)} for s in STARTERS.values()]
    return {"items": [records.model(row, full=False) for row in rows], "starters": starters}


@router.get("/{id}")
def get(id: str, user: Me) -> dict[str, Any]:
    """Return a model with its shape: where its parameters are."""
    return records.model(models.get(user, id))


@router.post("/{id}/cancel")
def cancel(id: str, user: Me) -> dict[str, Any]:
    """Stop fetching or measuring a model."""
    return records.model(service.cancel_model(user, id))


@router.delete("/{id}", status_code=204)
def delete(id: str, user: Me) -> None:
    """Forget a model, and delete its files when they were uploaded."""
    service.delete_model(user, id)


def _add(user: Me, reference: Reference) -> dict[str, Any]:
    return records.model(service.add_model(user, reference.id, revision=reference.revision, title=reference.title))


def _add_files(user: Me, form: upload.Form) -> dict[str, Any]:
    parts = [part for group in form.files.values() for part in group]
    files = [(part.filename or part.name, part.path) for part in parts if part.path is not None]
    if not form.fields.get("name"):
        raise BadRequest("name", problem="it has no field 'name'")
    return records.model(service.add_model_files(user, form.fields["name"], files, move=True,
                                                 title=form.fields.get("title", "")))
