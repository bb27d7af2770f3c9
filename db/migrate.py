"""Brings the tables up to date: `upgrade()` is safe to call from every process at every start."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, event, text
from sqlalchemy.pool import NullPool

from db.session import configure_sqlite, normal
from db.settings import settings
from engine.errors import Refused

CONNECTION = "connection"
#: Any number that nothing else in the same PostgreSQL database uses as an advisory lock.
_LOCK = 7_355_608_001


class DatabaseNewer(Refused):
    """The database was written by a later version of PEFT Studio (revision {there}; this one knows up to {known})."""

    kind = "database_newer"
    try_this = "Start the later version, or use another data folder or database."


def upgrade(url: str | None = None, revision: str = "head") -> None:
    """Run every revision that is missing, all or none of them; a second process waits and finds nothing to do.

    Raises DatabaseNewer for tables that a later version wrote.
    """
    with _connection(url) as connection:
        there = current_of(connection)
        if there is not None and there not in revisions():
            raise DatabaseNewer("STUDIO_DATABASE_URL", there=there, known=head())
        if revision != "head" or there != head():
            command.upgrade(_config(connection), revision)
            _refuse_dangling(connection)


def current(url: str | None = None) -> str | None:
    """Return the revision the tables are at, None before the first."""
    with _connection(url) as connection:
        return current_of(connection)


def head() -> str | None:
    """Return the newest revision."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def revisions() -> list[str]:
    """Return every revision, oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions()][::-1]


def differences(url: str | None = None) -> list[Any]:
    """Return how the tables that are there differ from `db.tables`, as `alembic check` would say it; empty is good."""
    with _connection(url) as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), metadata()))


def draft(message: str, revision: str, url: str | None = None) -> None:
    """Write a new revision file from the differences, to be read and corrected by its author."""
    with _connection(url) as connection:
        command.revision(_config(connection), message=message, autogenerate=True, rev_id=revision)


def current_of(connection: Connection) -> str | None:
    """Return the revision of an open connection's tables."""
    return MigrationContext.configure(connection).get_current_revision()


def metadata() -> MetaData:
    """Return the tables as they should be."""
    from db.tables import Base

    return Base.metadata


def _same_type(context: Any, inspected: Any, wanted: Any, inspected_type: Any, wanted_type: Any) -> bool | None:
    """Tell Alembic that JSON stored as JSONB is no difference; None leaves the rest to Alembic."""
    names = {type(inspected_type).__name__.upper(), type(wanted_type).__name__.upper()}
    return False if names <= {"JSON", "JSONB"} else None


def _written(kind: str, item: Any, context: Any) -> str | Literal[False]:
    """Write our JSON columns in a revision as the constant its template defines."""
    return "JSON" if kind == "type" and type(item).__name__ == "JSON" else False


OPTIONS: dict[str, Any] = {"compare_type": _same_type, "compare_server_default": True, "render_item": _written}


def _refuse_dangling(connection: Connection) -> None:
    if connection.dialect.name == "sqlite" and connection.execute(text("PRAGMA foreign_key_check")).first():
        raise RuntimeError("a migration left rows that point at nothing; nothing was changed")


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes[CONNECTION] = connection
    return config


@contextmanager
def _connection(url: str | None) -> Generator[Connection]:
    """Open one transaction that nobody else migrates in."""
    engine = create_engine(normal(url or settings().database_url), poolclass=NullPool)
    sqlite = engine.dialect.name == "sqlite"
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    try:
        with engine.begin() as connection:
            if not sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection
    finally:
        engine.dispose()


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None
    configure_sqlite(connection)
    # Changing a table on SQLite replaces it; with foreign keys on, dropping the old one would delete what points at it.
    connection.execute("PRAGMA foreign_keys = OFF")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
