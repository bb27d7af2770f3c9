"""A studio with its tables and nobody who works, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from byhand import Hand
from fastapi import FastAPI
from fastapi.testclient import TestClient

from db import migrate, users
from db.session import database
from db.settings import settings
from studio import api, downloads
from studio.guard import Guard
from worker import client as rings


@pytest.fixture
def fresh(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty data folder with its tables, and nobody who works."""
    for name in ("STUDIO_BROKER_URL", "STUDIO_DATABASE_URL", "STUDIO_AUTH"):
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()
    migrate.upgrade()
    yield
    database().dispose()
    settings.cache_clear()


@pytest.fixture
def user(fresh: None) -> users.User:
    """The local user of an empty data folder."""
    return users.local()


@pytest.fixture
def client(fresh: None) -> Iterator[TestClient]:
    """A client of a studio without accounts."""
    app = FastAPI()
    api.install(app)
    app.include_router(downloads.router)
    app.add_middleware(Guard, secret=settings().secret_key, host="127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def hand(fresh: None, monkeypatch: pytest.MonkeyPatch) -> Hand:
    """The same studio, where what workers would be rung for is done by hand."""
    made = Hand()
    monkeypatch.setattr(rings, "_ring", made.ring)
    return made
