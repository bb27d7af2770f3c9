"""Breakdowns: what a run would be, before it starts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Body

from studio import service
from studio.api.deps import Me
from studio.api.runs import EXAMPLE

router = APIRouter(prefix="/breakdown", tags=["runs"])


@router.post("")
def create(user: Me, spec: dict[str, Any] = Body(examples=[EXAMPLE])) -> dict[str, Any]:
    """Return the parameters, file size, memory and updates of a RunSpec, and all that stands in its way."""
    document = {key: value for key, value in spec.items() if key != "name"}
    return service.check(user, document).as_dict()
