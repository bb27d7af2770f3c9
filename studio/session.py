"""Who is asking: the one door from a request to a user."""

from __future__ import annotations

from typing import Any

from db import users
from db.users import User
from engine.errors import Refused

SCOPE_KEY = "studio.session"
USER_KEY = "studio.user"


class NotSignedIn(Refused):
    """This page's session has ended."""

    kind = "not_signed_in"
    try_this = "Reload the page."
    status = 401


def user(request: Any) -> User:
    """Return the user behind a gr.Request or a Starlette request; raises NotSignedIn without a session of ours.

    `studio.guard` has checked the session's cookie and left its id in the request's scope; where people have accounts,
    `studio.login` has left theirs.
    """
    scope = getattr(getattr(request, "request", None) or request, "scope", None) or {}
    if isinstance(scope.get(USER_KEY), User):
        return scope[USER_KEY]
    if not scope.get(SCOPE_KEY):
        raise NotSignedIn("session")
    return users.local()
