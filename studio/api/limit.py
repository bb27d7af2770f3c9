"""Documents are held in memory while they are read, so they must be small; uploads go to disk instead."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import Refused
from studio.api.errors import problem

DOCUMENT_BYTES = 16 * 2**20


class DocumentTooLarge(Refused):
    """The document is larger than {limit} bytes."""

    kind = "document_too_large"
    try_this = "Send data as a file: multipart/form-data."
    status = 413


class Documents:
    """ASGI middleware that refuses bodies under /api/ above `DOCUMENT_BYTES`, multipart ones excepted."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it with 413."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if not scope.get("path", "").startswith("/api/") or headers.get("content-type", "").startswith("multipart/"):
            await self.app(scope, receive, send)
            return
        announced = headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > DOCUMENT_BYTES:
            error = DocumentTooLarge("body", limit=DOCUMENT_BYTES)
            await problem(error, instance=scope["path"])(scope, receive, send)
            return
        await self.app(scope, _counting(receive), send)


def _counting(receive: Receive) -> Receive:
    """Return a `receive` that breaks off a body whose length was not announced."""
    left = DOCUMENT_BYTES

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise DocumentTooLarge("body", limit=DOCUMENT_BYTES)
        return message

    return counted
