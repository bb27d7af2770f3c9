"""REST: the same use cases as the pages, described by OpenAPI at /api/v1/openapi.json."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request

from studio import downloads
from studio.api import (
    adapters,
    advice,
    batches,
    breakdown,
    compositions,
    datasets,
    errors,
    hub_datasets,
    insights,
    limit,
    models,
    predictions,
    preparation,
    rows,
    runs,
    users,
)
from studio.api.deps import known_parameters

PARTS = (datasets, hub_datasets, rows, preparation, models, runs, adapters, insights, compositions, batches,
         predictions, breakdown, advice, users)

#: Everything under /api/v1.
router = APIRouter()
for part in PARTS:
    router.include_router(part.router, dependencies=[Depends(known_parameters)])


@router.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
def nowhere(path: str, request: Request) -> None:
    """Answer for addresses and methods there are not, before the pages, which are mounted at /, would."""
    found = [route for route in _routes() if route.path_regex.match(f"/{path}")]
    allowed = sorted({method for route in found for method in route.methods or ()})
    if allowed:
        raise errors.MethodNotAllowed(f"/api/v1/{path}", path=f"/api/v1/{path}", method=request.method,
                                      allowed=", ".join(allowed))
    raise errors.NoSuchAddress(f"/api/v1/{path}", path=f"/api/v1/{path}")


def install(app: FastAPI) -> None:
    """Add the API, the downloads and problem JSON to an app; before anything is mounted at /."""
    errors.install(app)
    app.include_router(router, prefix="/api/v1")
    app.add_middleware(limit.Documents)
    app.include_router(downloads.router)


def _routes() -> list[Any]:
    return [route for part in PARTS for route in part.router.routes]
