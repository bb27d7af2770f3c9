"""The page for addresses where there is nothing: in the studio's look, with ways on. Programs get problem JSON."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio import cards, shell
from studio.api.errors import PREFIXES
from studio.pages import Page, pages
from studio.text import esc

#: Addresses that programs ask, as well as those of `studio.api.errors.PREFIXES`.
PROGRAMS = ("/gradio_api/", "/static-studio/", "/assets/", "/svelte/")
LONGEST_PATH = 120


class Nowhere:
    """ASGI middleware that turns a bare 404 of a page, or of a download opened in a browser, into a page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through; replace its answer where nothing was found and a person is asking."""
        if scope["type"] != "http" or not _for_people(scope):
            await self.app(scope, receive, send)
            return
        missing = False

        async def looking(message: Message) -> None:
            nonlocal missing
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                missing = message["status"] == 404 and not kind.startswith("text/html")
            if not missing:
                await send(message)

        await self.app(scope, receive, looking)
        if missing:
            await HTMLResponse(page(scope["path"]), 404, {"Cache-Control": "no-store"})(scope, receive, send)


def page(path: str) -> str:
    """Return the document that says that there is nothing at `path`, with links to what there is."""
    shown = path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + "…"
    gone = path.startswith("/download/")
    what = "There is nothing to download here" if gone else "There is no such page"
    hint = ("What it belonged to may have been deleted, or be somebody else's." if gone else
            "The address may be mistyped, or from another version.")
    ways = [("Home", "/"), *((other.title, other.path) for other in pages() if other.path != "/")]
    body = (f'<div class="ps-head"><h1 id="main" tabindex="-1">{esc(what)}</h1>'
            f'<p class="ps-lead">Nothing answers at <span class="ps-mono">{esc(shown)}</span>. {esc(hint)}</p></div>'
            + cards.card("Where to go", cards.links(ways)))
    return DOCUMENT.format(head=shell.head(), navigation=shell.navigation(Page("nowhere", "Not found")), body=body,
                           footer=shell.footer())


def _for_people(scope: Scope) -> bool:
    """Return whether a person reads the answer: a page's address, or a download that a browser opens as one."""
    path, accepted = scope["path"], Headers(scope=scope).get("accept", "")
    if scope["method"] not in ("GET", "HEAD") or path.startswith(PROGRAMS):
        return False
    if path.startswith("/download/"):
        return "text/html" in accepted
    return not path.startswith((*PREFIXES, "/api"))


#: Dressed as Gradio's pages are, so that the one stylesheet fits.
DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Not found · PEFT Studio</title>
{head}
<style>* {{ box-sizing: border-box; }} main.ps-page {{ display: grid; align-content: start; }}</style>
</head>
<body style="margin: 0">
<script>document.body.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);</script>
<div class="gradio-container">
<div class="block ps-header ps-html" id="ps-header"><div class="html-container"><div>{navigation}</div></div></div>
<main class="ps-page ps-normal">{body}{footer}</main>
</div>
</body>
</html>
"""
