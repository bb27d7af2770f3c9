"""The only way out for files: authorised, as attachments, never sniffed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import FileResponse, Response

from db import adapters, batches, exports, runs
from engine.spec import parse
from studio import service
from studio.api.deps import Me
from studio.service.adapters import ExportNotReady

router = APIRouter(prefix="/download", tags=["downloads"])

#: How long a download waits for the worker to pack an adapter that was never packed.
PACKING_SECONDS = 60.0
#: Files of a run that a person may take.
RUN_FILES = ("spec.json", "result.json", "environment.json", "examples.json", "samples.jsonl", "events.jsonl")

TYPES = {".zip": "application/zip", ".json": "application/json", ".jsonl": "application/x-ndjson",
         ".csv": "text/csv; charset=utf-8"}

RunFile = Annotated[str, InPath(pattern="^[a-z]+[.]jsonl?$")]


@router.get("/adapters/{id}")
def adapter(id: str, user: Me) -> Response:
    """Download an adapter as a zip that loads with plain peft; packed by a worker on first demand."""
    row = adapters.get(user, id)
    made = service.export(user, id, "zip")
    made = service.settled(lambda: exports.get(user, made.id), ("ready", "failed", "cancelled"), PACKING_SECONDS)
    if made.state not in ("ready", "failed", "cancelled"):
        raise ExportNotReady(made.id, state=made.state)
    return attachment(service.export_file(user, made.id), f"{row.name}.zip")


@router.get("/exports/{id}")
def export(id: str, user: Me) -> Response:
    """Download a file made from an adapter: its zip, the merged model's, or what was found by looking into it."""
    path = service.export_file(user, id)
    made = exports.get(user, id)
    ending = {"zip": ".zip", "merge": " merged.zip"}.get(made.kind, f" {path.name}")
    return attachment(path, f"{adapters.get(user, made.adapter_id).name}{ending}")


@router.get("/batches/{id}")
def batch(id: str, user: Me) -> Response:
    """Download rows with their predictions; of a batch that was stopped, the rows up to there."""
    path, row = service.batch_file(user, id), batches.get(user, id)
    name = row.filename if row.dataset_id else Path(row.filename).stem
    return attachment(path, f"{name or 'rows'} predictions{path.suffix}")


@router.get("/runs/{id}/{name}")
def run(id: str, name: RunFile, user: Me) -> Response:
    """Download a file of a run: spec, result, environment or examples (.json), samples or events (.jsonl)."""
    row = runs.get(user, id)
    if name not in RUN_FILES:
        raise service.NoSuchRunFile(f"{id}/{name}", noun="file", id=name, name=name)
    if name == "spec.json":
        # The one on disk names files of this machine; the one that started the run names datasets.
        return Response(parse(row.spec).to_json(), media_type=TYPES[".json"], headers=_headers(f"{row.name} spec.json"))
    return attachment(service.run_file(user, id, name), f"{row.name} {name}")


def attachment(path: Path, name: str) -> FileResponse:
    """Return a file to be saved under `name`."""
    return FileResponse(path, media_type=TYPES.get(path.suffix, "application/octet-stream"), headers=_headers(name))


def _headers(name: str) -> dict[str, str]:
    safe = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]+', "-", name).strip(" .-") or "download"
    plain = safe.encode("ascii", "ignore").decode().strip() or "download"
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(safe)}",
            "X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
