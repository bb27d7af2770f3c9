"""One door to SQLite and PostgreSQL: `with database().write() as session:` and `.read()`."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.base import to_json
from db.settings import settings

P = ParamSpec("P")
T = TypeVar("T")

BUSY_MILLISECONDS = 10_000
#: PostgreSQL's serialization_failure and deadlock_detected: the transaction was rolled back and may be tried again.
_TRY_AGAIN = ("40001", "40P01")


class Database:
    """An engine and its two kinds of transaction.

    On SQLite readers BEGIN and writers BEGIN IMMEDIATE, so that a writer waits at its start (up to ten seconds)
    instead of failing in its middle. On PostgreSQL readers are read-only.
    """

    def __init__(self, url: str) -> None:
        self.url = normal(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url) if self.sqlite else _postgresql_engine(self.url)
        self._writer = self.engine.execution_options(begin="BEGIN IMMEDIATE") if self.sqlite else self.engine
        self._reader = self.engine if self.sqlite else self.engine.execution_options(postgresql_readonly=True)

    @contextmanager
    def write(self) -> Generator[Session]:
        """Open a transaction that commits at the end of the block and rolls back on any error."""
        with Session(self._writer, expire_on_commit=False) as session:
            _begin(session)
            yield session
            session.commit()

    @contextmanager
    def read(self) -> Generator[Session]:
        """Open a transaction that sees one moment (on SQLite) and writes nothing."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    def ping(self) -> None:
        """Ask the database for an answer; raises SQLAlchemy's errors when there is none."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def database() -> Database:
    """Return this process's database, as the settings name it."""
    return _opened(settings().database_url, os.getpid())


@functools.cache
def _opened(url: str, pid: int) -> Database:
    # The process id is part of the key: connections must not be shared with a forked child.
    return Database(url)


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Call a function of one transaction once more when the database rolled it back for a conflict with another."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except DBAPIError as error:
            if not may_try_again(error):
                raise
            return function(*args, **kwargs)

    return call


def may_try_again(error: DBAPIError) -> bool:
    """Return whether the transaction certainly had no effect and may succeed when tried again."""
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in _TRY_AGAIN


def normal(url: str) -> URL:
    """Return the URL with the drivers used here: the standard library's SQLite, psycopg 3 for PostgreSQL."""
    parsed = make_url(url)
    if parsed.get_backend_name() in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    raise ValueError(f"STUDIO_DATABASE_URL must begin with sqlite:/// or postgresql://, not {parsed.drivername}://")


def _begin(session: Session) -> None:
    try:
        session.connection()
    except DBAPIError as error:
        if not may_try_again(error):
            raise
        session.rollback()
        session.connection()


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, json_serializer=to_json, pool_size=16, max_overflow=32, pool_timeout=30,
                           connect_args={"isolation_level": None, "timeout": BUSY_MILLISECONDS / 1000,
                                         "cached_statements": 256})

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        configure_sqlite(connection)

    @event.listens_for(engine, "begin")
    def _start(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def configure_sqlite(connection: sqlite3.Connection) -> None:
    """Set what SQLite forgets between connections: waiting, foreign keys, write-ahead log, safe but quick syncs."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA cache_size = -16384")
    cursor.close()


def _postgresql_engine(url: URL) -> Engine:
    return create_engine(url, json_serializer=to_json, pool_size=8, max_overflow=16, pool_timeout=30,
                         pool_pre_ping=True, pool_recycle=1800,
                         connect_args={"connect_timeout": 10, "application_name": "peft-studio"})
