"""Batches: a file in, the same rows with predictions out; and adapters evaluated on datasets."""

from __future__ import annotations

import json
from typing import Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from db import batches
from db.settings import settings
from db.users import User
from studio import records, service
from studio.api import upload
from studio.api.deps import Me, Offset
from studio.api.errors import BadRequest

router = APIRouter(tags=["batches"])


class Wanted(BaseModel):
    """Who is asked about which rows, and in which form the file comes back."""

    model_config = ConfigDict(extra="forbid")

    adapter: str | None = Field(None, description="Id of the adapter that is asked.")
    model: str = Field("", description="Base model that is asked itself, where no adapter is named.")
    task: str = Field("", description="Its task, where no adapter is named.")
    dataset: str | None = Field(None, description="Id of a dataset whose rows are predicted, where no file is sent.")
    columns: dict[str, str] = Field(default_factory=dict, description=(
        "Column of each role, such as {\"text\": \"sentence\"}; found when left out."))
    options: dict[str, Any] = Field(default_factory=dict, description="What the task lets a person choose when asking.")
    format: Literal["csv", "parquet"] = Field("csv", description="Format of the file that comes back.")
    prepare: bool = Field(True, description=(
        "Whether rows go through the steps that the adapter's rows went through; those that pick rows are left out."))
    quantization: Literal["auto", "none", "int8", "nf4"] = Field("auto", description=(
        "How the base model is held; auto is as the adapter learned on it, where a worker can."))


class On(BaseModel):
    """What an adapter is evaluated on."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(description="Id of a dataset of the adapter's task.")


FORM = {"required": True, "content": {
    "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {
        "file": {"type": "string", "format": "binary",
                 "description": "Rows: csv, tsv, json, jsonl, parquet, arrow, xlsx, text, CoNLL, or a zip of images."},
        **{name: {"type": "string", "description": (field.description or "") + (
            " As JSON." if name in ("columns", "options") else "")}
           for name, field in Wanted.model_fields.items() if name != "dataset"}}}},
    "application/json": {"schema": Wanted.model_json_schema()}}}


@router.post("/batches", status_code=202, openapi_extra={"requestBody": FORM})
async def create(request: Request, response: Response, user: Me) -> dict[str, Any]:
    """Have every row of a file (a form), or of a dataset (JSON), predicted; look at it until it is ready."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await upload.receive(request, settings().data_dir / "uploads", settings().max_upload_bytes)
        try:
            row = await run_in_threadpool(_from_form, user, form)
        finally:
            await run_in_threadpool(form.discard)
    else:
        wanted = _wanted(await _document(request))
        row = await run_in_threadpool(_start, user, wanted)
    response.headers["Location"] = f"/api/v1/batches/{row['id']}"
    return row


@router.get("/batches")
def find(user: Me, kind: list[Literal["predict", "evaluate"]] | None = Query(None),
         adapter: list[str] | None = Query(None), dataset: list[str] | None = Query(None),
         state: list[str] | None = Query(None), limit: int = Query(100, ge=0, le=1000),
         offset: Offset = 0) -> dict[str, Any]:
    """List files of predictions and evaluations, newest first."""
    asked: dict[str, Any] = {"kinds": kind, "adapters": adapter, "datasets": dataset, "states": state}
    found = batches.find(user, **asked, limit=limit, offset=offset)
    return {"items": [records.batch(row, full=False) for row in found], "total": batches.count(user, **asked)}


@router.get("/batches/{id}")
def get(id: str, user: Me) -> dict[str, Any]:
    """Return a batch: how far it is, its first rows, where to download it; of an evaluation its report."""
    return records.batch(batches.get(user, id))


@router.post("/batches/{id}/cancel")
def cancel(id: str, user: Me) -> dict[str, Any]:
    """Stop a batch; the rows of a file that were predicted so far can be downloaded."""
    return records.batch(service.cancel_batch(user, id))


@router.delete("/batches/{id}", status_code=204)
def delete(id: str, user: Me) -> None:
    """Delete a batch with its files."""
    service.delete_batch(user, id)


@router.post("/adapters/{id}/evaluations", status_code=202)
def evaluate(id: str, on: On, user: Me) -> dict[str, Any]:
    """Have an adapter measured on a dataset; look at the batch until it is ready."""
    return records.batch(service.evaluate(user, id, on.dataset))


@router.get("/adapters/{id}/evaluations")
def evaluations(id: str, user: Me) -> dict[str, Any]:
    """List what an adapter was evaluated on, with the newest metrics of each dataset."""
    return {"items": [records.batch(row, full=False) for row in service.evaluations(user, id)]}


async def _document(request: Request) -> Any:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise BadRequest("body", problem=f"it is neither a form with a file nor JSON ({error})") from None


def _wanted(document: Any) -> Wanted:
    try:
        return Wanted.model_validate(document)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from None


def _from_form(user: User, form: upload.Form) -> dict[str, Any]:
    fields: dict[str, Any] = dict(form.fields)
    for name in ("columns", "options"):
        if name in fields:
            try:
                fields[name] = json.loads(fields[name])
            except ValueError as error:
                raise BadRequest(name, problem=f"the field '{name}' is not JSON ({error})") from None
    part = form.perhaps("file")
    return _start(user, _wanted(fields), part)


def _start(user: User, wanted: Wanted, part: upload.Part | None = None) -> dict[str, Any]:
    sent: dict[str, Any] = {"path": part.path, "filename": part.filename or "", "move": True} if part else {}
    return records.batch(service.predict_file(
        user, adapter_id=wanted.adapter, model=wanted.model, task=wanted.task, dataset_id=wanted.dataset,
        columns=wanted.columns, options=wanted.options, format=wanted.format, prepare=wanted.prepare,
        quantization=wanted.quantization, **sent))
