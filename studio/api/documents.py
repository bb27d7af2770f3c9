"""A JSON document as the body of a request that may also be an upload."""

from __future__ import annotations

import json
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from engine import complaints
from studio.api import upload
from studio.api.errors import BadRequest, not_json

Document = TypeVar("Document", bound=BaseModel)


async def read(request: Request, kind: type[Document], hint: str | None = None) -> Document:
    """Return the body of a request; raises BadRequest, with a `hint` where a field is missing, and UploadTooLarge."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > upload.FIELD_BYTES:
            raise upload.UploadTooLarge("body", limit=upload.FIELD_BYTES)
    try:
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        found = complaints.first(error, kind)
        raise BadRequest(found.where or "body", problem=f"{found.problem}.",
                         try_this=hint if found.kind == "missing" else None) from None
    except json.JSONDecodeError as error:
        raise not_json(error.msg, error.doc, error.pos) from None
    except UnicodeDecodeError:
        raise BadRequest("body", problem="it is not UTF-8") from None
