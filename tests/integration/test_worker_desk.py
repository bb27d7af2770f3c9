"""Short work: datasets are read, models measured, adapters packed; failures say why, and cancelling works."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, studio, until

from db import adapters, compositions, datasets, exports, models
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
    names = {}
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
        assert [one.name for one in path.parent.iterdir()] == [path.name], "nothing else is left lying about"
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "spec.json"} <= names["zip"]
    assert "model.safetensors" in names["merge"] and "adapter_config.json" not in names["merge"]


def test_adapters_are_combined_measured_packed_and_answer_like_trained_ones(rig: Rig) -> None:
    from engine.recipe import Recipe
    from studio import service

    pair = [adapters.of_run(rig.user, rig.ended(rig.train(name=name, seed=seed)).id)
            for name, seed in (("left", 1), ("right", 2))]
    ids = [one.id for one in pair if one is not None]
    datasets.update(rig.user, rig.dataset, columns={"text": "text", "label": "label"}, task="text_classification")
    made = service.compose(rig.user, ids, Recipe(how="lorahub", examples=20, evaluations=8), dataset_id=rig.dataset)
    row = settled(rig, compositions, made.id)
    assert row.state == "ready", row.error
    assert row.result is not None and len(row.result["tries"]) == 8
    adapter = adapters.get(rig.user, row.adapter_id)
    assert [parent["id"] for parent in adapter.parents] == ids and adapter.composed["way"] == "LoraHub"
    assert [parent["weight"] for parent in adapter.parents] == row.result["weights"]
    assert adapter.metrics == row.result["comparison"][-1]["metrics"] and adapter.dataset_id == rig.dataset
    assert sorted(path.name for path in (rig.folder / adapter.key).parent.iterdir()) == [
        "adapter", "environment.json", "result.json", "spec.json"]
    packed = service.export(rig.user, adapter.id, "zip")
    path = rig.folder / settled(rig, exports, packed.id).path
    with zipfile.ZipFile(path) as archive:
        readme = next(name for name in archive.namelist() if name.endswith("README.md"))
        assert "combined (LoraHub) of left (" in archive.read(readme).decode()
    asked = service.ask(rig.user, {"adapters": [*ids, adapter.id], "rows": [{"text": "What is a city ?"}]})
    answers = service.answer(rig.user, asked.id).result["answers"]
    assert len(answers) == 3 and all(sum(one[0]["probabilities"].values()) == pytest.approx(1) for one in answers)
    service.delete_adapter(rig.user, adapter.id)
    assert not (rig.folder / "composed" / made.id).exists()


def test_a_combination_is_cancelled_while_it_searches_and_leaves_nothing(rig: Rig) -> None:
    from engine.recipe import Recipe
    from studio import service

    ids = [row.id for row in adapters.find(rig.user) if row.method == "lora"][:2]
    made = service.compose(rig.user, ids, Recipe(how="lorahub", examples=100, evaluations=2000),
                           dataset_id=rig.dataset)
    until(lambda: compositions.get(rig.user, made.id).live.get("points"), 60, rig.tail)
    live = compositions.get(rig.user, made.id).live
    assert live["text"] == "Finding weights" and live["of"] == 2000 and len(live["weights"]) == 2
    service.cancel_composition(rig.user, made.id)
    row = settled(rig, compositions, made.id)
    assert row.state == "cancelled" and row.adapter_id is None
    assert not (rig.folder / "composed" / made.id).exists()


def test_what_does_not_fit_is_refused_before_anything_is_queued(rig: Rig) -> None:
    from engine.compose import NeedsExamples
    from engine.parents import TooFew
    from engine.recipe import Recipe
    from studio import service
    from studio.service.compositions import AdapterTwice

    first, other = [row.id for row in adapters.find(rig.user) if row.method == "lora"][:2]
    before = len(compositions.find(rig.user))
    for ids, recipe, kind in (([first], Recipe(), TooFew), ([first, first], Recipe(), AdapterTwice),
                              ([first, other], Recipe(how="lorahub"), NeedsExamples)):
        with pytest.raises(kind):
            service.compose(rig.user, ids, recipe)
    assert len(compositions.find(rig.user)) == before
