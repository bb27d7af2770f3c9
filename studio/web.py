"""`python -m studio.web`: serve the pages and the API."""

from __future__ import annotations

import argparse
import os

import uvicorn

from db.settings import settings
from studio import guard


def serve(host: str | None = None, port: int | None = None) -> None:
    """Serve until stopped; raises guard.NotLoopback for an address others can reach while authentication is off."""
    chosen = settings()
    address, number = host or chosen.host, port or chosen.port
    guard.check_address(address, chosen.auth)
    # Arrow's own allocator keeps memory for each of the server's threads: 60 MB more with twenty open pages.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from studio.app import create_app
    uvicorn.run(create_app(), host=address, port=number, log_level="warning", access_log=False, server_header=False,
                timeout_graceful_shutdown=5, proxy_headers=False)


def main(arguments: list[str] | None = None) -> None:
    """Parse --host and --port, then serve."""
    parser = argparse.ArgumentParser(prog="studio.web", description="Serve the pages and the API of PEFT Studio.")
    parser.add_argument("--host", help="Address to listen on; from STUDIO_HOST or 127.0.0.1.")
    parser.add_argument("--port", type=int, help="Port to listen on; from STUDIO_PORT or 7860.")
    given = parser.parse_args(arguments)
    serve(given.host, given.port)


if __name__ == "__main__":
    main()
