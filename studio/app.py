"""The web app: our middleware, health and metrics, the API, and Gradio's pages mounted at /."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from db.settings import Settings, settings
from engine import __version__
from studio import api, health, login, nowhere, shell, theme
from studio.guard import Guard
from studio.pages import builder, pages

log = logging.getLogger("studio")

#: Files whose URL holds their hash never change.
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def create_app(chosen: Settings | None = None) -> FastAPI:
    """Return the whole web application; it holds no state that a restart would lose."""
    chosen = chosen or settings()
    app = FastAPI(title="PEFT Studio", version=__version__, docs_url=None, redoc_url=None, lifespan=_lifespan,
                  openapi_url="/api/v1/openapi.json")
    _plumbing(app)
    api.install(app)
    # Gradio warns that it does not render several pages on the server, which nobody asked for.
    warnings.filterwarnings("ignore", message="SSR mode is not supported", category=UserWarning)
    gr.mount_gradio_app(
        app, draw(), path="/", server_name=chosen.host, server_port=chosen.port, show_error=False, footer_links=[],
        run_history=False, mcp_server=False, enable_monitoring=False, pwa=False,
        max_file_size=chosen.max_upload_bytes, allowed_paths=[], theme=theme.Studio(), head=shell.head(),
        favicon_path=str(theme.STATIC / "icon.png"))
    app.add_middleware(nowhere.Nowhere)
    app.add_middleware(Guard, secret=chosen.secret_key, host=chosen.host)
    if chosen.auth:
        app.add_middleware(login.Accounts, secret=chosen.secret_key, host=chosen.host)
    if chosen.proxies:
        # Outermost: what a trusted proxy says of scheme and client holds for cookies, origins and password tries.
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=chosen.proxies)
    return app


def draw() -> gr.Blocks:
    """Return the Blocks with every page drawn into it."""
    home, *rest = pages()
    with gr.Blocks(title="PEFT Studio", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86_400)) as demo:
        builder(home)()
    for page in rest:
        with demo.route(page.title, page.path, show_in_navbar=False):
            builder(page)()
    return demo.queue(default_concurrency_limit=16, max_size=256, api_open=False)


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    log.info("PEFT Studio %s is ready", __version__)
    yield


def _plotly() -> Path:
    """Return plotly's script inside the installed package, without importing it."""
    spec = importlib.util.find_spec("plotly")
    return Path(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else "",
                "package_data", "plotly.min.js")


def _plumbing(app: FastAPI) -> None:
    @app.get("/static-studio/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name == "studio.css":
            return Response(theme.css(), media_type="text/css", headers=FOR_EVER)
        found = _plotly() if name == "plotly.min.js" else theme.STATIC / name
        if "/" in name or name.startswith(".") or not found.is_file():
            return PlainTextResponse("Not found", 404)
        return FileResponse(found, headers=FOR_EVER)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        problems = health.problems()
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return PlainTextResponse(health.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
