"""Files stay where they are in a folder store, travel once from a remote one, and never leave their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from db.blobs import Blobs
from db.errors import BadKey, NotFound


@pytest.fixture(params=["folder", "remote"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blobs]:
    """A store in a folder, and one that is not (kept in memory)."""
    if request.param == "folder":
        yield Blobs(str(tmp_path / "store"), cache=tmp_path / "cache")
    else:
        memory = fsspec.filesystem("memory")
        yield Blobs("memory://studio/blobs", cache=tmp_path / "cache")
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder with a file and a folder in it."""
    folder = tmp_path / "made"
    (folder / "inner").mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "inner" / "weights").write_bytes(b"x" * 1000)
    return folder


def test_a_file_comes_back_as_it_was_and_is_replaced_whole(blobs: Blobs, tmp_path: Path):
    source = tmp_path / "rows.parquet"
    for content in (b"first", b"second, longer"):
        source.write_bytes(content)
        assert blobs.put(source, "datasets/ds_1/rows.parquet") == "datasets/ds_1/rows.parquet"
        with blobs.open("datasets/ds_1/rows.parquet") as file:
            assert file.read() == content
        assert blobs.local("datasets/ds_1/rows.parquet").read_bytes() == content
        assert blobs.size("datasets/ds_1/rows.parquet") == len(content)


def test_a_folder_comes_back_as_it_was_and_is_replaced_whole(blobs: Blobs, adapter: Path):
    blobs.put(adapter, "runs/run_1/attempt-1/adapter")
    assert (blobs.local("runs/run_1/attempt-1/adapter") / "inner" / "weights").read_bytes() == b"x" * 1000
    assert blobs.size("runs/run_1/attempt-1/adapter") == 1002
    (adapter / "adapter_config.json").unlink()
    blobs.put(adapter, "runs/run_1/attempt-1/adapter")
    local = blobs.local("runs/run_1/attempt-1/adapter")
    assert sorted(path.name for path in local.iterdir()) == ["inner"]


def test_moving_leaves_nothing_behind(blobs: Blobs, adapter: Path, tmp_path: Path):
    blobs.put(adapter, "exports/ex_1/files", move=True)
    assert not adapter.exists()
    assert blobs.exists("exports/ex_1/files/adapter_config.json")
    leftovers = [path for path in tmp_path.rglob("*") if path.name.startswith((".put-", ".fetch-"))]
    assert leftovers == []


def test_in_a_folder_store_nothing_is_copied(tmp_path: Path):
    blobs = Blobs(str(tmp_path))
    place = blobs.place("runs/run_1/attempt-1")
    place.mkdir()
    (place / "spec.json").write_text("{}")
    assert place == tmp_path / "runs" / "run_1" / "attempt-1" == blobs.local("runs/run_1/attempt-1")
    blobs.put(place, "runs/run_1/attempt-1")
    assert (place / "spec.json").read_text() == "{}"


def test_a_remote_file_is_fetched_once_until_it_changes(tmp_path: Path):
    blobs = Blobs("memory://once", cache=tmp_path / "cache")
    source = tmp_path / "source"
    source.write_text("one")
    blobs.put(source, "a/b")
    first = blobs.local("a/b")
    assert blobs.local("a/b") == first
    source.write_text("two!")
    blobs.put(source, "a/b")
    assert blobs.local("a/b").read_text() == "two!"


def test_deleting_takes_files_and_folders_and_does_not_mind_their_absence(blobs: Blobs, adapter: Path):
    blobs.put(adapter, "runs/run_1/adapter")
    blobs.delete("runs/run_1/adapter/adapter_config.json")
    assert not blobs.exists("runs/run_1/adapter/adapter_config.json")
    assert blobs.exists("runs/run_1/adapter/inner/weights")
    blobs.delete("runs/run_1")
    assert not blobs.exists("runs/run_1/adapter/inner/weights")
    blobs.delete("runs/run_1")


def test_what_is_not_there_is_named(blobs: Blobs):
    for call in (blobs.open, blobs.local, blobs.size):
        with pytest.raises(NotFound, match=r"runs/run_9/spec\.json"):
            call("runs/run_9/spec.json")


@pytest.mark.parametrize("key", ["", "studio.db", "secret.key", "/etc/passwd", "runs/../secret.key", "../x/y",
                                 "runs//x", "runs/./x", "runs/.hidden", "runs/x/", "runs/a\\b/c\n", "runs/\x00", "~/x"])
def test_a_key_cannot_leave_its_store_or_reach_what_is_not_a_blob(blobs: Blobs, key: str, tmp_path: Path):
    with pytest.raises(BadKey):
        blobs.put(tmp_path, key)
    for call in (blobs.open, blobs.local, blobs.size, blobs.delete, blobs.exists, blobs.place):
        with pytest.raises(BadKey):
            call(key)
