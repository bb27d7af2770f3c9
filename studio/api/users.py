"""Users: who one is, and one's tokens."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from db import accounts
from studio import records
from studio.api.deps import Me

router = APIRouter(prefix="/users", tags=["users"])


class Label(BaseModel):
    """What a token is for."""

    model_config = ConfigDict(extra="forbid")

    label: str = ""


@router.get("/me")
def me(user: Me) -> dict[str, Any]:
    """Return who is asking."""
    return {"id": user.id, "name": user.name, "role": user.role}


@router.get("/me/tokens")
def tokens(user: Me) -> dict[str, Any]:
    """List one's tokens; what they are is shown only when they are made."""
    return {"items": [{"id": row.id, "label": row.label, "created_at": records.moment(row.created_at),
                       "used_at": records.moment(row.used_at)} for row in accounts.tokens(user)]}


@router.post("/me/tokens", status_code=201)
def make_token(user: Me, label: Label | None = None) -> dict[str, Any]:
    """Make a token; it is shown only now."""
    made = accounts.make_token(user, (label or Label()).label)
    return {"id": made.id, "label": made.label, "token": made.secret}


@router.delete("/me/tokens/{id}", status_code=204)
def revoke(id: str, user: Me) -> None:
    """Make one of one's tokens useless."""
    accounts.revoke(id, user)
