"""What every endpoint needs: who is asking, and that every parameter of the address is one it knows."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPBearer

from db.users import User
from engine.errors import Refused
from studio import session


class UnknownParameter(Refused):
    """'{name}' is not a parameter of {path}."""

    kind = "unknown_parameter"
    try_this = "{known}"


# Only for the OpenAPI document: `studio.login` is what reads tokens and cookies.
bearer = HTTPBearer(auto_error=False, description="A token of `peft-studio users token NAME`, where accounts are on.")


def current(request: Request, _: Annotated[object, Depends(bearer)]) -> User:
    """Return who is asking; raises NotSignedIn."""
    return session.user(request)


#: The largest number that every database's integers hold.
LARGEST = 2**31 - 1

Offset = Annotated[int, Query(ge=0, le=LARGEST, description="How many to leave out at the beginning.")]
Me = Annotated[User, Depends(current)]


def known_parameters(request: Request) -> None:
    """Raise UnknownParameter for a name after the ? of the address that the endpoint does not take."""
    known = _parameters(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in known:
            told = f"Use one of: {', '.join(known)}." if known else "Leave it out: it takes none."
            raise UnknownParameter(name[:80], name=name[:80], path=request.url.path, known=told)


def _parameters(dependant: Dependant) -> list[str]:
    own = [field.alias for field in dependant.query_params]
    return own + [name for inner in dependant.dependencies for name in _parameters(inner)]
