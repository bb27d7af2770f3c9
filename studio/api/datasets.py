"""Datasets: upload, look, say which column plays which part, delete."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from db import datasets
from db.settings import settings
from studio import records, service
from studio.api import documents, upload
from studio.api.deps import Me, Offset
from studio.api.errors import BadRequest

router = APIRouter(prefix="/datasets", tags=["datasets"])


#: What to do when a body of JSON names no dataset.
NOTHING_SENT = 'Send a form with a part "file", or JSON such as {{"hub": "organisation/name"}}.'


class HubReference(BaseModel):
    """A split of a dataset on the Hub, to be fetched by a worker; what is left out is chosen by the splits' names."""

    model_config = ConfigDict(extra="forbid")

    hub: str = Field(title="The dataset's id on the Hub", description="Its id: <organisation>/<name>.")
    config: str = Field("", max_length=200)
    split: str = Field("", max_length=200, description="The rows to learn from.")
    eval_split: str | None = Field(None, max_length=200, description="The rows to evaluate on; \"none\" for none.")
    revision: str | None = Field(None, max_length=100)
    name: str = Field("", max_length=200)
    task: str | None = None
    columns: dict[str, str] | None = None
    options: dict[str, Any] | None = None


FORM = {"required": True, "content": {"application/json": {"schema": HubReference.model_json_schema()},
                                      "multipart/form-data": {"schema": {
    "type": "object", "required": ["file"], "properties": {
        "file": {"type": "string", "format": "binary",
                 "description": "csv, tsv, json, jsonl, parquet, arrow, xlsx, text, CoNLL or YAML, or a zip archive of "
                                "such files or of images; recognised by content."},
        "eval": {"type": "string", "format": "binary", "description": "A file to evaluate on, if any."},
        "name": {"type": "string", "description": "Name; the file's without its ending when left out."},
        "header": {"type": "string", "enum": ["auto", "yes", "no"],
                   "description": "Whether the first row of csv or tsv holds names; recognised when left out."},
        "part": {"type": "string", "description": "The sheet of a workbook, or the file or part of an archive, to "
                                                  "read; found when left out."},
        "task": {"type": "string", "description": "Task; guessed from the columns when left out."},
        "columns": {"type": "string", "description": "JSON: column of each role, such as {\"text\": \"sentence\"}."},
        "options": {"type": "string", "description": "JSON: settings of the task."}}}}}}


#: What may be said of the first row of delimited text.
HEADER = {"auto": None, "yes": True, "no": False}

EVAL_FORM = {"required": True, "content": {"multipart/form-data": {"schema": {
    "type": "object", "required": ["file"], "properties": {
        "file": {"type": "string", "format": "binary", "description": "Rows with the columns of the dataset."}}}}}}


class Roles(BaseModel):
    """Which column plays which role, for which task."""

    model_config = ConfigDict(extra="forbid")

    columns: dict[str, str] | None = Field(None, description="Column of each role.")
    task: str | None = None
    options: dict[str, Any] | None = None
    name: str | None = Field(None, description="A new name.")
    part: str | None = Field(None, description="Another sheet, file or part to read; empty: found by itself.")


@router.post("", status_code=201, openapi_extra={"requestBody": FORM})
async def create(request: Request, response: Response, user: Me) -> dict[str, Any]:
    """Upload a dataset, or name one on the Hub; a worker reads it: look at `state` until it is ready or failed."""
    if request.headers.get("content-type", "").startswith("application/json"):
        row = await run_in_threadpool(_add_hub, user, await documents.read(request, HubReference, NOTHING_SENT))
    else:
        form = await upload.receive(request, settings().data_dir / "uploads", settings().max_upload_bytes)
        try:
            row = await run_in_threadpool(_add, user, form)
        finally:
            await run_in_threadpool(form.discard)
    response.headers["Location"] = f"/api/v1/datasets/{row['id']}"
    return row


@router.get("")
def find(user: Me, search: str = "", state: list[str] | None = Query(None), task: list[str] | None = Query(None),
         limit: int = Query(100, ge=0, le=1000), offset: Offset = 0) -> dict[str, Any]:
    """List datasets, newest first."""
    rows = datasets.find(user, search=search, states=state, tasks=task, limit=limit, offset=offset)
    return {"items": [records.dataset(row, full=False) for row in rows],
            "total": datasets.count(user, search=search, states=state, tasks=task)}


@router.get("/{id}")
def get(id: str, user: Me, preview: int = Query(0, ge=0, le=200, description="Rows to show.")) -> dict[str, Any]:
    """Return a dataset: state, findings, statistics, and a preview of its first rows when asked for."""
    row = datasets.get(user, id)
    shown = records.dataset(row)
    shown["eval_datasets"] = [other.id for other in datasets.find(user, eval_of_id=id)]
    if preview:
        head = service.preview(user, id, preview)
        shown["preview"] = {"columns": head.columns, "rows": head.rows}
    return shown


@router.post("/{id}/eval", status_code=201, openapi_extra={"requestBody": EVAL_FORM})
async def add_eval(id: str, request: Request, response: Response, user: Me) -> dict[str, Any]:
    """Upload a file to evaluate on, in place of any the dataset had; runs that name no other use it."""
    await run_in_threadpool(datasets.get, user, id)
    form = await upload.receive(request, settings().data_dir / "uploads", settings().max_upload_bytes)
    try:
        row = await run_in_threadpool(_add_eval, user, id, form)
    finally:
        await run_in_threadpool(form.discard)
    response.headers["Location"] = f"/api/v1/datasets/{row['id']}"
    return row


@router.patch("/{id}")
def change(id: str, roles: Roles, user: Me) -> dict[str, Any]:
    """Say which column plays which role; findings and statistics are made anew. Or rename it."""
    row = datasets.get(user, id)
    if roles.name is not None:
        row = datasets.rename(user, id, roles.name)
    if roles.part is not None:
        return records.dataset(service.set_part(user, id, roles.part))
    if roles.columns is not None or roles.task is not None or roles.options is not None:
        columns = roles.columns if roles.columns is not None else dict(row.columns)
        row = service.set_roles(user, id, columns, task=roles.task, options=roles.options)
    return records.dataset(row)


@router.post("/{id}/cancel")
def cancel(id: str, user: Me) -> dict[str, Any]:
    """Stop reading a dataset."""
    return records.dataset(service.cancel_dataset(user, id))


@router.post("/{id}/retry")
def retry(id: str, user: Me) -> dict[str, Any]:
    """Have a dataset read again that failed or was cancelled."""
    return records.dataset(service.retry_dataset(user, id))


@router.delete("/{id}", status_code=204)
def delete(id: str, user: Me) -> None:
    """Delete a dataset and its files."""
    service.delete_dataset(user, id)


def _add(user: Me, form: upload.Form) -> dict[str, Any]:
    _only(form, "file", "eval", "name", "header", "part", "task", "columns", "options")
    main, other = form.file("file"), form.perhaps("eval")
    assert main.path is not None
    row = service.add_dataset(
        user, main.path, name=form.fields.get("name", ""), filename=main.filename or "",
        eval_path=other.path if other else None, eval_filename=(other.filename or "") if other else "",
        header=_header(form), part=form.fields.get("part", ""), task=form.fields.get("task") or None,
        columns=_json(form, "columns"), options=_json(form, "options"), move=True)
    return records.dataset(row)


def _add_hub(user: Me, asked: HubReference) -> dict[str, Any]:
    given = asked.model_dump(exclude={"hub"})
    return records.dataset(service.add_hub_dataset(user, asked.hub, **given))


def _add_eval(user: Me, id: str, form: upload.Form) -> dict[str, Any]:
    _only(form, "file")
    file = form.file("file")
    assert file.path is not None
    return records.dataset(service.add_eval(user, id, file.path, filename=file.filename or "", move=True))


def _only(form: upload.Form, *known: str) -> None:
    for name in {*form.fields, *form.files} - {*known}:
        raise BadRequest(name[:80], problem=f"it has a part '{name[:80]}' that nobody asked for")


def _header(form: upload.Form) -> bool | None:
    said = form.fields.get("header", "").strip() or "auto"
    if said not in HEADER:
        raise BadRequest("header", problem=f"header is '{said[:80]}', not auto, yes or no")
    return HEADER[said]


def _json(form: upload.Form, name: str) -> dict[str, Any] | None:
    text = form.fields.get(name, "").strip()
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadRequest(name, problem=f"{name} is not a JSON object")
    return value
