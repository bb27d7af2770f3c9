"""Signing in, where STUDIO_AUTH is on: the page, the cookie, bearer tokens, and who is behind a request.

`Accounts` stands outside `studio.guard.Guard`: it answers /login and /logout itself and lets nobody else through
without an account. The cookie is the guard's own, its session name carrying the account and a mark of its password, so
that a changed password ends every session. With STUDIO_AUTH off it is not there and everybody is the local user.
"""

from __future__ import annotations

import html
import secrets
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db import accounts
from db.accounts import WrongPassword
from db.settings import settings
from db.users import User
from engine.errors import Refused
from studio.api.errors import problem
from studio.guard import COOKIE, SAFE, SECURITY, Guard
from studio.session import USER_KEY, NotSignedIn

#: What is answered without an account.
OPEN = ("/healthz", "/readyz", "/static-studio/")
COOKIE_SECONDS = 30 * 86_400
LONGEST_FORM = 8192
#: An account that was looked up is believed for so many seconds.
BELIEVED_SECONDS = 5.0
#: Wrong passwords for one name from one address before it has to wait, and for how long.
TRIES, WAIT_SECONDS = 8, 300.0
KEPT = 10_000


class TooManyTries(Refused):
    """There were too many wrong passwords."""

    kind = "too_many_tries"
    try_this = "Wait five minutes and try again."
    status = 429


def enabled() -> bool:
    """Return whether people have to sign in."""
    return settings().auth


class Accounts:
    """ASGI middleware; see the module's docstring. `secret` and `host` are those of the guard."""

    def __init__(self, app: ASGIApp, secret: Any, host: str = "127.0.0.1") -> None:
        self.app = app
        self.guard = Guard(app, secret, host)
        self.tries: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self.believed: dict[str, tuple[float, tuple[User, str] | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the sign-in page, or let a request of an account through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        if path.rstrip("/") in ("/login", "/logout"):
            answer = await self._sign(scope, receive, headers)
            await answer(scope, receive, _safe(send))
            return
        user = await run_in_threadpool(self._who, headers)
        if user is None and not path.startswith(OPEN):
            await self._turn_away(scope, headers)(scope, receive, _safe(send))
            return
        if user is not None:
            scope[USER_KEY] = user
        await self.app(scope, receive, send)

    def _who(self, headers: Headers) -> User | None:
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return accounts.of_token(secret.strip())
        name = self.guard.session_of(headers)
        _, _, rest = (name or "").partition("~")
        id, _, mark = rest.partition("~")
        known = self._account(id) if id else None
        return known[0] if known is not None and secrets.compare_digest(known[1], mark) else None

    def _account(self, id: str) -> tuple[User, str] | None:
        since, known = self.believed.get(id, (0.0, None))
        if time.monotonic() - since > BELIEVED_SECONDS:
            known = accounts.stamp(id)
            if len(self.believed) > KEPT:
                self.believed.clear()
            self.believed[id] = (time.monotonic(), known)
        return known

    def _turn_away(self, scope: Scope, headers: Headers) -> Response:
        if scope["method"] == "GET" and "text/html" in headers.get("accept", "") \
                and "authorization" not in headers and not scope["path"].startswith("/api/"):
            query = scope.get("query_string", b"").decode("latin-1")
            there = scope["path"] + (f"?{query}" if query else "")
            return RedirectResponse("/login?next=" + quote(there, safe=""), 303)
        return problem(NotSignedIn("session", try_this="Sign in at /login, or send a token as Authorization: Bearer."),
                       instance=scope["path"], headers={"WWW-Authenticate": "Bearer"})

    # -- /login and /logout ----------------------------------------------------------------------------------------

    async def _sign(self, scope: Scope, receive: Receive, headers: Headers) -> Response:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        target = _inside(query.get("next", ["/"])[0])
        if scope["method"] in SAFE:
            return HTMLResponse(page(target)) if scope["path"].startswith("/login") else RedirectResponse("/login", 303)
        try:
            self.guard.check_source(scope, headers)
            if scope["path"].startswith("/logout"):
                answer = RedirectResponse("/login", 303)
                answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
                return answer
            form = parse_qs((await _body(receive)).decode("utf-8", "replace"), keep_blank_values=True)
            name, password = form.get("name", [""])[0], form.get("password", [""])[0]
            target = _inside(form.get("next", [target])[0])
            address = (scope.get("client") or ("", 0))[0]
            user = await run_in_threadpool(self._check, name, password, address)
        except Refused as error:
            return HTMLResponse(page(target, error), error.status)
        return await run_in_threadpool(self._welcome, user, target, scope.get("scheme") == "https")

    def _check(self, name: str, password: str, address: str) -> User:
        key, now = (name[:200].casefold(), address), time.monotonic()
        recent = [moment for moment in self.tries.get(key, []) if now - moment < WAIT_SECONDS]
        if len(recent) >= TRIES:
            raise TooManyTries("password")
        try:
            user = accounts.check_password(name, password)
        except WrongPassword:
            self.tries[key] = [*recent, now]
            self.tries.move_to_end(key)
            while len(self.tries) > KEPT:
                self.tries.popitem(last=False)
            raise
        self.tries.pop(key, None)
        return user

    def _welcome(self, user: User, target: str, secure: bool) -> Response:
        known = accounts.stamp(user.id)
        assert known is not None
        name = f"{secrets.token_urlsafe(18)}~{user.id}~{known[1]}"
        answer = RedirectResponse(target, 303)
        answer.set_cookie(COOKIE, f"{name}.{self.guard.sign(name)}", max_age=COOKIE_SECONDS, path="/", httponly=True,
                          samesite="lax", secure=secure)
        return answer


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
        if len(body) > LONGEST_FORM:
            raise WrongPassword("form")
    return body


def _inside(target: str) -> str:
    """Return where to go after signing in: an address of this studio, or its first page."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if plain and "\\" not in target and target.isprintable() else "/"


def _safe(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)
    return sending


def page(target: str = "/", error: Refused | None = None) -> str:
    """Return the sign-in page; it needs no script and nothing from elsewhere."""
    told = (f'<p class="bad" role="alert" id="login-error">{html.escape(error.what)} {html.escape(error.try_this)}</p>'
            if error is not None else "")
    return PAGE.replace("{error}", told).replace("{next}", html.escape(target, quote=True))


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/static-studio/icon.svg">
<title>Sign in - PEFT Studio</title>
<style>
:root { color-scheme: light dark; --paper: #f6f4ef; --panel: #fffefb; --line: #8b8577; --ink: #1f2528; --muted: #5c6063;
  --accent: #0b6b5d; --on-accent: #ffffff; --bad: #8f1d17; --bad-soft: #fae3df; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181a; --panel: #1c2225; --line: #78848a; --ink: #e9e6df;
  --muted: #a6aeb0; --accent: #5fc2ae; --on-accent: #06231e; --bad: #f7b6ae; --bad-soft: #46211e; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 16px; background: var(--paper);
  color: var(--ink); font: 16px/1.5 ui-sans-serif, system-ui, sans-serif; }
main { width: min(380px, 100%); background: var(--panel); border: 1px solid var(--line); border-radius: 12px;
  padding: 28px; }
h1 { font: 600 1.6rem/1.2 ui-serif, Georgia, serif; margin: 0 0 4px; }
p { margin: 0 0 20px; color: var(--muted); }
label { display: block; font-weight: 600; margin-bottom: 4px; }
input { width: 100%; font: inherit; padding: 10px 12px; margin-bottom: 16px; border: 1px solid var(--line);
  border-radius: 8px; background: var(--paper); color: var(--ink); }
button { width: 100%; font: inherit; font-weight: 600; padding: 11px; border: 0; border-radius: 8px; cursor: pointer;
  background: var(--accent); color: var(--on-accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.bad { background: var(--bad-soft); color: var(--bad); padding: 10px 12px; border-radius: 8px; }
</style>
</head>
<body>
<main>
<h1>PEFT Studio</h1>
<p>Sign in with the account you were given.</p>
{error}
<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="name">Name</label>
<input id="name" name="name" autocomplete="username" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Sign in</button>
</form>
</main>
</body>
</html>
"""
