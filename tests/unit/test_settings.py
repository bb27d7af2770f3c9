"""Settings: sensible without any, private on disk, silent about secrets."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from db.errors import BadDataFolder, BadSetting
from db.session import normal
from db.settings import LONGEST_SOCKET, Settings, mask, settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STUDIO_")]:
        monkeypatch.delenv(name)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_data_folder_and_the_key_are_private_and_made_on_first_start(tmp_path: Path):
    folder = tmp_path / "deep" / "data"
    made = Settings(data_dir=folder).prepare()
    assert mode(folder) == 0o700 and mode(folder / "secret.key") == 0o600
    assert made.secret_key is not None and len(made.secret_key.get_secret_value()) >= 64
    again = Settings(data_dir=folder).prepare()
    assert again.secret_key == made.secret_key
    assert [path.name for path in folder.iterdir()] == ["secret.key"]


def test_two_processes_that_start_at_once_use_the_same_key(tmp_path: Path):
    keys: list[object] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        keys.append(Settings(data_dir=tmp_path / "data").prepare().secret_key)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8 and len(set(map(str, keys))) == 1
    assert len({key.get_secret_value() for key in keys}) == 1  # pyright: ignore[reportAttributeAccessIssue]


def test_a_folder_that_is_there_already_keeps_its_permissions(tmp_path: Path):
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o750)
    Settings(data_dir=folder).prepare()
    assert mode(folder) == 0o750


def test_without_variables_everything_lies_in_the_data_folder(tmp_path: Path):
    made = Settings(data_dir=tmp_path)
    assert made.database_url == f"sqlite:///{tmp_path}/studio.db"
    assert Path(normal(made.database_url).database or "") == tmp_path / "studio.db"
    assert made.blob_url == str(tmp_path)
    assert made.broker_bundled and made.broker == f"unix://{tmp_path}/broker.sock"
    assert made.celery_broker == f"redis+socket://{tmp_path}/broker.sock"
    assert (made.host, made.lease_seconds, made.orphan_seconds, made.heartbeat_seconds) == ("127.0.0.1", 60, 40, 10)


def test_variables_set_everything_and_empty_ones_count_as_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STUDIO_BROKER_URL", "redis://:secret@valkey:6379/0")
    monkeypatch.setenv("STUDIO_SLOTS", "4")
    monkeypatch.setenv("STUDIO_THREADS", "")
    monkeypatch.setenv("STUDIO_SECRET_KEY", "given")
    settings.cache_clear()
    try:
        found = settings()
        assert found is settings()
        assert (found.slots, found.threads, found.broker_bundled) == (4, None, False)
        assert found.broker == found.celery_broker == "redis://:secret@valkey:6379/0"
        assert found.secret_key is not None and found.secret_key.get_secret_value() == "given"
        assert not (tmp_path / "data" / "secret.key").exists()
    finally:
        settings.cache_clear()


@pytest.mark.parametrize("length", [20, 60, 90, 120, 200])
def test_the_brokers_socket_fits_into_a_socket_address(tmp_path: Path, length: int):
    folder = tmp_path / ("d" * length)
    made = Settings(data_dir=folder).prepare()
    assert len(os.fsencode(made.broker_socket)) < LONGEST_SOCKET
    assert mode(made.broker_socket.parent) == 0o700
    assert made.broker_socket == Settings(data_dir=folder).broker_socket
    assert made.broker_socket != Settings(data_dir=tmp_path / ("e" * length)).broker_socket
    if made.broker_socket.parent != folder:
        made.broker_socket.parent.rmdir()


def test_a_socket_folder_that_others_could_enter_is_refused(tmp_path: Path):
    made = Settings(data_dir=tmp_path / ("d" * 120))
    made.broker_socket.parent.mkdir(mode=0o755)
    try:
        with pytest.raises(PermissionError, match="not a private folder"):
            made.prepare()
    finally:
        made.broker_socket.parent.rmdir()


def test_masked_settings_show_no_secret(tmp_path: Path):
    made = Settings(data_dir=tmp_path, database_url="postgresql://studio:hunter2@db/studio",
                    broker_url="redis://:hunter2@valkey:6379/0", blob_url="s3://bucket/p?secret=hunter2").prepare()
    shown = str(made.masked())
    assert "hunter2" not in shown and made.secret_key is not None
    assert made.secret_key.get_secret_value() not in shown and made.secret_key.get_secret_value() not in repr(made)
    assert made.masked()["database_url"] == "postgresql://studio:********@db/studio"
    assert made.masked()["broker_url"] == "redis://:********@valkey:6379/0"


@pytest.mark.parametrize(("url", "shown"), [
    ("postgresql://u:p%40ss/w:ord@host/db", "postgresql://u:********@host/db"), ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ("redis://localhost:6379/0", "redis://localhost:6379/0"), ("unix:///tmp/x@y:z.sock", "unix:///tmp/x@y:z.sock"),
    ("postgresql:///db?host=/tmp&password=x", "postgresql:///db?host=/tmp&password=********")])
def test_passwords_in_addresses_are_masked_and_nothing_else_is(url: str, shown: str):
    assert mask(url) == shown


def test_times_that_would_let_two_children_train_one_run_are_refused(tmp_path: Path):
    for wrong in ({"orphan_seconds": 60}, {"heartbeat_seconds": 40}):
        with pytest.raises(ValidationError):
            Settings(data_dir=tmp_path, **wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("name", "value", "allowed"), [
    ("STUDIO_PORT", "many", "a whole number from 0 to 65535"), ("STUDIO_PORT", "70000", "from 0 to 65535"),
    ("STUDIO_AUTH", "perhaps", "on or off"), ("STUDIO_LEASE_SECONDS", "-1", "a number above 0"),
    ("STUDIO_ORPHAN_SECONDS", "70", "below STUDIO_LEASE_SECONDS, which is 60"), ("STUDIO_THREADS", "x", "from 1"),
    ("STUDIO_TRUSTED_PROXIES", "proxy.example", "IP addresses or networks"),
    ("STUDIO_DATABASE_URL", "mysql://h/d", "postgresql://"), ("STUDIO_BROKER_URL", "amqp://h", "redis://")])
def test_a_wrong_variable_is_named_with_its_value_and_what_is_allowed(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, allowed: str):
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    with pytest.raises(BadSetting) as caught:
        settings()
    assert caught.value.what.startswith(f"{name} is '{value}', but it must be ") and allowed in caught.value.what
    assert caught.value.where == name and name in caught.value.try_this


def test_a_wrong_variable_shows_no_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_DATABASE_URL", "mysql://me:hunter2@h/d")
    settings.cache_clear()
    with pytest.raises(BadSetting) as caught:
        settings()
    assert "hunter2" not in str(caught.value.as_dict()) and "mysql://me:" in caught.value.what


@pytest.mark.parametrize("folder", ["/proc/nowhere/data", "/etc/hostname", "/dev/null/data"])
def test_a_data_folder_that_cannot_be_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, folder: str):
    monkeypatch.setenv("STUDIO_DATA_DIR", folder)
    settings.cache_clear()
    with pytest.raises(BadDataFolder) as caught:
        settings()
    assert f"STUDIO_DATA_DIR is '{folder}'" in caught.value.what and "may write" in caught.value.try_this
    assert "Errno" not in caught.value.what


@pytest.mark.parametrize(("url", "driver"), [
    ("postgresql://h/d", "postgresql+psycopg"), ("postgres://h/d", "postgresql+psycopg"),
    ("postgresql+psycopg://h/d", "postgresql+psycopg"), ("sqlite:///a.db", "sqlite+pysqlite")])
def test_every_spelling_of_a_database_means_the_driver_used_here(url: str, driver: str):
    assert normal(url).drivername == driver


def test_another_database_is_refused_by_name():
    with pytest.raises(ValueError, match="mysql"):
        normal("mysql+pymysql://h/d")


def test_settings_that_are_not_at_their_defaults_are_named_also_where_another_process_handed_them_on(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("STUDIO_AUTH", "on")
    first = Settings()
    assert first.chosen() == ["data_dir", "auth"]
    handed = Settings(**first.model_dump() | {"broker_url": first.broker})
    assert handed.chosen() == first.chosen()
    assert Settings(broker_url="redis://far:6379/0").chosen() == ["data_dir", "broker_url", "auth"]
