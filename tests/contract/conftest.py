"""Both databases, migrated and empty, for the one suite that every storage must pass; and one thread to compute on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from postgres_server import connect, new_database
from stories import make_spec, take

from db import journal, leases, migrate, runs, session, users
from db.settings import settings
from db.tables import Run
from engine import events as happened
from engine.spec import RunSpec


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("empty") / "studio.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql() -> str:
    """The URL of a migrated PostgreSQL database."""
    url = new_database("contract")
    migrate.upgrade(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path,
             monkeypatch: pytest.MonkeyPatch) -> Iterator[session.Database]:
    """An empty database of each kind, in use by every repository."""
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path / "data"))
    if request.param == "sqlite":
        (tmp_path / "data").mkdir()
        shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / "data" / "studio.db")
    else:
        url = request.getfixturevalue("postgresql")
        with connect(url) as connection:
            connection.execute("TRUNCATE users, workers CASCADE")
        monkeypatch.setenv("STUDIO_DATABASE_URL", url)
    settings.cache_clear()
    opened = session.database()
    yield opened
    if request.param == "sqlite":
        opened.dispose()
    settings.cache_clear()


@pytest.fixture
def ada(database: session.Database) -> users.User:
    """A user."""
    return users.create("Ada")


@pytest.fixture
def bob(database: session.Database) -> users.User:
    """Another user."""
    return users.create("Bob")


@pytest.fixture
def spec() -> RunSpec:
    """A small run's settings."""
    return make_spec()


@pytest.fixture
def claimed(ada: users.User, spec: RunSpec) -> leases.Claimed:
    """A run of Ada's that a worker has just claimed."""
    runs.create(ada, spec, name="Claimed")
    return take()


@pytest.fixture
def tell(ada: users.User) -> Callable[[leases.Claimed, Sequence[happened.Event]], Run]:
    """A function that ingests events for a claimed run and returns its row."""
    def ingest(holder: leases.Claimed, events: Sequence[happened.Event]) -> Run:
        journal.ingest(holder.run_id, holder.token, events)
        return runs.get(ada, holder.run_id)

    return ingest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute the same way each time, as child processes do, so that results are equal to the bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
