"""What every endpoint needs: who is asking."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from db.users import User
from studio import session

# Only for the OpenAPI document: `studio.login` is what reads tokens and cookies.
bearer = HTTPBearer(auto_error=False, description="A token of `peft-studio users token NAME`, where accounts are on.")


def current(request: Request, _: Annotated[object, Depends(bearer)]) -> User:
    """Return who is asking; raises NotSignedIn."""
    return session.user(request)


Me = Annotated[User, Depends(current)]
