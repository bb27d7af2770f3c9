"""Old databases come up to date with their rows, on SQLite and PostgreSQL, from every revision there ever was."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import op

from db import migrate
from db.session import Database, normal

EARLIER: list[str | None] = [None, *migrate.revisions()]


def test_the_revisions_are_one_line_with_one_head():
    assert migrate.revisions()[-1] == migrate.head()
    assert len(set(migrate.revisions())) == len(migrate.revisions())


@pytest.mark.parametrize("revision", EARLIER)
def test_every_earlier_revision_comes_up_to_date_with_its_rows(url: str, revision: str | None):
    if revision is not None:
        migrate.upgrade(url, revision)
    assert migrate.current(url) == revision
    before = _fill(url)
    migrate.upgrade(url)
    assert migrate.current(url) == migrate.head()
    assert migrate.differences(url) == []
    after = _count(url)
    assert {table: after[table] for table in before} == before


def test_migrating_again_or_from_two_processes_at_once_does_it_once(url: str):
    errors: list[BaseException] = []
    together = threading.Barrier(3)

    def run() -> None:
        together.wait()
        try:
            migrate.upgrade(url)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert migrate.current(url) == migrate.head()


def test_tables_of_a_later_version_are_left_alone_and_named(url: str):
    migrate.upgrade(url)
    engine = sa.create_engine(normal(url))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(migrate.DatabaseNewer) as caught:
        migrate.upgrade(url)
    assert "9999" in caught.value.what and migrate.current(url) == "9999"


def test_a_column_that_nobody_migrated_is_noticed(url: str):
    migrate.upgrade(url)
    engine = sa.create_engine(normal(url))
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE runs ADD COLUMN forgotten TEXT"))
    engine.dispose()
    (difference,) = migrate.differences(url)
    assert difference[0] == "remove_column" and difference[3].name == "forgotten"


def test_a_migration_that_fails_halfway_leaves_the_database_as_it_was(url: str, monkeypatch: pytest.MonkeyPatch):
    original, made = op.create_table, []

    def fail_at_the_last(name: str, *args: Any, **kwargs: Any) -> Any:
        made.append(name)
        if name == "exports":
            raise RuntimeError("the power went out")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(op, "create_table", fail_at_the_last)
    with pytest.raises(RuntimeError, match="the power went out"):
        migrate.upgrade(url)
    assert len(made) > 5
    assert migrate.current(url) is None and _count(url) == {}
    monkeypatch.undo()
    migrate.upgrade(url)
    assert migrate.differences(url) == []


def test_metrics_are_stored_in_the_order_of_their_key(url: str):
    migrate.upgrade(url)
    database = Database(url)
    if database.sqlite:
        with database.read() as session:
            (sql,) = session.execute(sa.text("SELECT sql FROM sqlite_master WHERE name = 'metrics'")).one()
        assert "WITHOUT ROWID" in sql
    with database.read() as session:
        key = sa.inspect(session.connection()).get_pk_constraint("metrics")["constrained_columns"]
    assert key == ["run_id", "name", "step"]
    database.dispose()


def _count(url: str) -> dict[str, int]:
    engine = sa.create_engine(normal(url))
    with engine.connect() as connection:
        counts = {table: connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()
                  for table in sa.inspect(connection).get_table_names() if table != "alembic_version"}
    engine.dispose()
    return counts


def _fill(url: str) -> dict[str, int]:
    """Put one row into every table there is, following its foreign keys, and return the rows of each table."""
    engine = sa.create_engine(normal(url))
    metadata = sa.MetaData()
    with engine.begin() as connection:
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if table.name != "alembic_version":
                connection.execute(table.insert().values({column.name: _value(column) for column in table.columns}))
    engine.dispose()
    return _count(url)


def _value(column: sa.Column[Any]) -> Any:
    """Return something that fits; every text is the same, so that keys and foreign keys meet."""
    kind = column.type
    if isinstance(kind, sa.JSON):
        return {"kept": True}
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.Integer):
        return 7
    if isinstance(kind, sa.Float | sa.Numeric):
        return 0.5
    return "one"
