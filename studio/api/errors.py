"""Every failure of the API as problem JSON (RFC 9457), with the four fields of our errors as members."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from engine import complaints
from engine.errors import Refused, StudioError

log = logging.getLogger(__name__)

#: The paths whose failures are problem JSON; the pages render their own.
PREFIXES = ("/api/", "/download/", "/healthz", "/readyz", "/metrics")

#: What stands before the place of a field, for where in a request it was.
PARTS = ("body", "query", "path", "header", "cookie")


class NoSuchAddress(StudioError):
    """There is nothing at {path}."""

    kind = "no_such_address"
    try_this = "See /api/v1/openapi.json for what there is."
    status = 404


class MethodNotAllowed(StudioError):
    """{path} does not take {method}."""

    kind = "method_not_allowed"
    try_this = "It takes: {allowed}."
    status = 405


class BadRequest(Refused):
    """The request is not valid: {problem}"""

    kind = "request_invalid"
    try_this = "Correct it and send it again; /api/v1/openapi.json describes what is expected."


class Internal(StudioError):
    """Something went wrong inside the studio."""

    kind = "internal"
    try_this = "Try again; if it stays, look at the log of the web process."
    status = 500


def problem(error: StudioError, *, instance: str = "", headers: dict[str, str] | None = None) -> Response:
    """Return the response that tells of `error`: application/problem+json with kind, what, where and try_this."""
    body: dict[str, Any] = {"type": "about:blank", "title": title(error.status), "status": error.status,
                            "detail": error.what, "instance": instance, **error.as_dict()}
    findings = error.facts.get("findings")
    if isinstance(findings, list):
        body["findings"] = [f.model_dump(mode="json") if hasattr(f, "model_dump") else f for f in findings]
    return Response(json.dumps(body, ensure_ascii=False), error.status, headers, "application/problem+json")


def not_json(said: str, text: Any, position: int) -> BadRequest:
    """Return the error for a body that is not JSON at a character: its line and column, counted from 1."""
    before = str(text or "")[:position]
    line, column = before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
    return BadRequest(f"body, line {line}, column {column}", problem=f"it is not JSON ({said})",
                      try_this="Correct it there and send it again.")


def title(status: int) -> str:
    """Return the usual phrase for an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def install(app: FastAPI) -> None:
    """Render every error raised under our addresses as problem JSON; others keep the framework's answer."""
    app.add_exception_handler(StudioError, _studio_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _studio_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StudioError)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    if error.status == 405:
        headers = {"Allow": str(error.facts.get("allowed", ""))}
    return problem(error, instance=request.url.path, headers=headers)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        told = not_json(first["ctx"]["error"], error.body, first["loc"][-1])
        return problem(told, instance=request.url.path)
    listed = [{**one, "loc": one["loc"][int(bool(one["loc"]) and one["loc"][0] in PARTS):]} for one in error.errors()]
    found = complaints.first(listed)
    return problem(BadRequest(found.where or "body", problem=f"{found.problem}."), instance=request.url.path)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    headers = dict(error.headers or {})
    if not path.startswith(PREFIXES):
        return JSONResponse({"detail": error.detail}, error.status_code, headers)
    if error.status_code == 404:
        return problem(NoSuchAddress(path, path=path), instance=path, headers=headers)
    if error.status_code == 405:
        return problem(MethodNotAllowed(path, path=path, method=request.method, allowed=headers.get("Allow", "others")),
                       instance=path, headers=headers)
    told = StudioError(path, try_this="Correct the request and send it again.")
    told.what, told.status = str(error.detail), error.status_code  # pyright: ignore[reportAttributeAccessIssue]
    return problem(told, instance=path, headers=headers)


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(Internal(request.url.path), instance=request.url.path)
