"""Advice: what to choose for a dataset and a base model, with the rule and source of each setting."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Body

from studio import service
from studio.api.deps import Me

router = APIRouter(prefix="/advice", tags=["runs"])

EXAMPLE = {"task": "text_classification", "model": {"id": "starter/minilm-l6"}, "data": {"train": "ds_…"}}


@router.post("")
def create(user: Me, spec: dict[str, Any] = Body(examples=[EXAMPLE])) -> dict[str, Any]:
    """Return the method and settings recommended for a RunSpec, and the spec with them; its method may be left out.

    Data or a base model that no method could train on come back as 404, 409 or 422.
    """
    document = {key: value for key, value in spec.items() if key != "name"}
    return service.advise(user, document).as_dict()
