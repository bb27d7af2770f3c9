"""The gate in front of everything: session cookie, Host and Origin checks, ownership of Gradio sessions and uploads.

Gradio lets one visitor read another's event stream by its `session_hash` and fetch files by path; here each session
hash and each uploaded file belongs to the cookie that first used it. Nothing here reads more of a body than it must.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
import secrets
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import Refused
from studio.session import SCOPE_KEY

COOKIE = "studio_session"
SAFE = ("GET", "HEAD", "OPTIONS")
API = "/gradio_api"
MAX_EVENT_BYTES = 32 * 2**20
KEPT = 50_000

#: Gradio's endpoints that our pages use; every other one is closed.
OPEN = re.compile(rf"{API}/(queue/(join|data)|run/predict|cancel|reset|heartbeat/\w+|upload|upload_progress"
                  rf"|startup-events|component_server|info|theme\.css|app_id|user|login_check|file[=/].+)/?")
#: What a browser may fetch before it has a session.
PUBLIC = re.compile(rf"{API}/(theme\.css|info|startup-events)/?")
CLOSED_PAGES = re.compile(r"/(login|logout|monitoring|gradio_api/deep_link)(/.*)?")

SECURITY = {
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"),
}


class NotLoopback(Refused):
    """PEFT Studio does not listen on {host}, which others can reach, while authentication is off."""

    kind = "not_loopback"
    try_this = "Listen on 127.0.0.1, or turn authentication on with STUDIO_AUTH=on."


class Forbidden(Refused):
    """The request was refused: {reason}."""

    kind = "forbidden"
    try_this = "Reload the page."
    status = 403


def check_address(host: str, auth: bool) -> None:
    """Raise NotLoopback when `host` is reachable from elsewhere and authentication is off."""
    if not is_loopback(host) and not auth:
        raise NotLoopback("host", host=host)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Guard:
    """ASGI middleware; see the module's docstring. `hosts` are further names the studio may be reached by."""

    def __init__(self, app: ASGIApp, secret: Any, host: str = "127.0.0.1", hosts: tuple[str, ...] = ()) -> None:
        self.app = app
        value = secret.get_secret_value() if hasattr(secret, "get_secret_value") else str(secret)
        self.key = hashlib.sha256(b"session" + value.encode()).digest()
        self.host, self.hosts = host, hosts
        self.owners: OrderedDict[str, str] = OrderedDict()
        self.uploads: OrderedDict[str, set[str]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it with 403 or 413."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        session, fresh = self.session_of(headers), False
        try:
            self.check_source(scope, headers)
            if session is None:
                if scope["path"].startswith(API) and not PUBLIC.fullmatch(scope["path"]):
                    raise Forbidden("session", reason="it carries no session of this studio")
                session, fresh = secrets.token_urlsafe(18), True
            scope[SCOPE_KEY] = session
            receive = await self._check_gradio(scope, receive, session)
        except Refused as problem:
            answer = JSONResponse(
                {"type": f"about:blank#{problem.kind}", "title": problem.what, "status": problem.status,
                 "detail": problem.what} | problem.as_dict(), problem.status, media_type="application/problem+json")
            await answer(scope, receive, self._finishing(send, scope, None))
            return
        upload = scope["method"] == "POST" and scope["path"].rstrip("/") == f"{API}/upload"
        if upload:  # the answer is read on its way out, so it must come uncompressed
            scope["headers"] = [(k, v) for k, v in scope["headers"] if k != b"accept-encoding"]
            receive = _whole_or_nothing(receive)
        finishing = self._finishing(send, scope, session if fresh else None)
        await self.app(scope, receive, self._remembering(finishing, session) if upload else finishing)

    # -- who -------------------------------------------------------------------------------------------------------

    def session_of(self, headers: Headers) -> str | None:
        """Return the id of the session whose cookie the browser sent, or None where there is none of ours."""
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        name, _, mark = (morsel.value if morsel else "").partition(".")
        return name if name and hmac.compare_digest(mark, self.sign(name)) else None

    def sign(self, name: str) -> str:
        """Return the mark that shows that a session id came from here."""
        return hmac.new(self.key, name.encode(), hashlib.sha256).hexdigest()

    # -- from where ------------------------------------------------------------------------------------------------

    def check_source(self, scope: Scope, headers: Headers) -> None:
        """Refuse a request for another host, or one that changes something and comes from another site."""
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        known = is_loopback(name) or name == self.host or name in self.hosts
        if is_loopback(self.host) and not known:
            raise Forbidden("Host", reason=f"this studio is not called '{name[:80]}'")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        writes = scope["method"] not in SAFE or scope["path"].startswith(API)
        if origin is not None and urlsplit(origin).netloc != host and (writes or scope["method"] == "OPTIONS"):
            raise Forbidden("Origin", reason="it comes from another site")
        if writes and site in ("cross-site", "same-site"):
            raise Forbidden("Sec-Fetch-Site", reason="it comes from another site")

    # -- whose -----------------------------------------------------------------------------------------------------

    async def _check_gradio(self, scope: Scope, receive: Receive, session: str) -> Receive:
        path = scope["path"]
        if CLOSED_PAGES.fullmatch(path) or (path.startswith(API) and not OPEN.fullmatch(path)):
            raise Forbidden(path[:80], reason="this way in is closed")
        if not path.startswith(API):
            return receive
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        named = [*query.get("session_hash", []), *re.findall(rf"{API}/heartbeat/(\w+)", path)]
        if file := re.fullmatch(rf"{API}/file[=/](.+)", path):
            self._own_file(file[1], session)
        if scope["method"] == "POST" and not path.rstrip("/").endswith("/upload"):
            body, receive = await _whole(receive)
            document = _json(body)
            if isinstance(document, dict) and isinstance(document.get("session_hash"), str):
                named.append(document["session_hash"])
            for sent in _files(document):
                self._own_file(sent, session)
        for name in named:
            self._own_hash(name, session)
        return receive

    def _own_hash(self, name: str, session: str) -> None:
        if self.owners.setdefault(name, session) != session:
            raise Forbidden("session_hash", reason="it belongs to somebody else's page")
        self.owners.move_to_end(name)
        while len(self.owners) > KEPT:
            self.owners.popitem(last=False)

    def _own_file(self, path: str, session: str) -> None:
        if session not in self.uploads.get(path, ()):
            raise Forbidden("file", reason="that file was not uploaded from here")

    # -- answers ---------------------------------------------------------------------------------------------------

    def _remembering(self, send: Send, session: str) -> Send:
        """Return a `send` that notes whose the uploaded files are: Gradio answers with the list of their paths."""
        parts: list[bytes] = []

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    for path in _json(b"".join(parts)) or []:
                        if isinstance(path, str):
                            self.uploads.setdefault(path, set()).add(session)
                    while len(self.uploads) > KEPT:
                        self.uploads.popitem(last=False)
            await send(message)
        return noting

    def _finishing(self, send: Send, scope: Scope, new_session: str | None) -> Send:
        async def finishing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name in [n for n in headers if n.lower().startswith("access-control-")]:
                    del headers[name]
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                if new_session and headers.get("content-type", "").startswith("text/html"):
                    secure = "; Secure" if scope.get("scheme") == "https" else ""
                    headers.append("Set-Cookie", f"{COOKIE}={new_session}.{self.sign(new_session)}; Path=/; HttpOnly; "
                                                 f"SameSite=Lax; Max-Age=31536000{secure}")
            await send(message)
        return finishing


def _whole_or_nothing(receive: Receive) -> Receive:
    """Return a `receive` that calls an upload malformed when the browser goes away in its middle.

    Gradio removes what it has written of a malformed upload, and nothing of one whose browser is gone.
    """
    whole = False

    async def receiving() -> Message:
        nonlocal whole
        message = await receive()
        if message["type"] == "http.disconnect" and not whole:
            raise MultiPartException("The upload was cancelled.")
        whole = whole or not message.get("more_body", False)
        return message
    return receiving


async def _whole(receive: Receive) -> tuple[bytes, Receive]:
    """Read a request's body (at most MAX_EVENT_BYTES) and return it with a `receive` that gives it once more."""
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        more = message.get("more_body", False)
        if length > MAX_EVENT_BYTES:
            raise TooMuch("body")
    body, given = b"".join(parts), False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}
    return body, again


class TooMuch(Refused):
    """The request is larger than 32 MiB."""

    kind = "too_much"
    try_this = "Send less at once; files go through the upload."
    status = 413


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _files(value: Any) -> list[str]:
    """Return the server-side paths of every file an event's data names."""
    if isinstance(value, list):
        return [path for item in value for path in _files(item)]
    if not isinstance(value, dict):
        return []
    meta, path = value.get("meta"), value.get("path")
    if isinstance(meta, dict) and str(meta.get("_type", "")).startswith("gradio.") and isinstance(path, str):
        return [path]
    return [found for item in value.values() for found in _files(item)]
