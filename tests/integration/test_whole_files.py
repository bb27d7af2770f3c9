"""Files of predictions and evaluations on a real worker: from the service, the REST API and the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from rig import Rig, studio, until

from db import adapters, batches, datasets, models, runs
from db.settings import settings
from engine import spec as specs
from engine.bulk.judging import RolesMissing
from engine.bulk.roles import RoleUnfilled
from engine.comparison import LabelsUnknown
from studio import api, cli, cli_stack, service
from studio.guard import Guard
from studio.service.batches import BatchNotReady, OtherTask, RowsOnce
from worker import client

pytestmark = [pytest.mark.shared, pytest.mark.slow]

TAGS = {"tokens": [["Ada", "met", "Bob"], ["Paris", "sleeps"]] * 12,
        "tags": [["B-PER", "O", "B-PER"], ["B-LOC", "O"]] * 12}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    with studio(tmp_path_factory.mktemp("batches") / "data", shared) as made:
        made.work()
        datasets.update(made.user, made.dataset, columns={"text": "text", "label": "label"},
                        task="text_classification", sha256="a" * 64)
        yield made


@pytest.fixture(scope="module")
def trained(rig: Rig) -> dict[str, str]:
    """The ids of adapters that classify, classify prepared rows on a base in 4 bits, and tag."""
    tagged = rig.store("tagged", TAGS)
    datasets.update(rig.user, tagged, columns={"tokens": "tokens", "tags": "tags"}, task="token_classification")
    row = runs.create(rig.user, specs.parse({
        "task": "token_classification", "model": {"id": "local/bert-tiny"},
        "data": {"train": tagged, "columns": {"tokens": "tokens", "tags": "tags"}}, "method": {"name": "lora", "r": 4},
        "training": {"epochs": 1, "batch_size": 8, "max_length": 32, "precision": "fp32"}}), name="tags",
        dataset_id=tagged)
    client.submit(row.id)
    prepared = runs.create(rig.user, specs.parse({
        "task": "text_classification", "model": {"id": "local/bert-tiny", "quantization": "nf4"},
        "data": {"train": rig.dataset, "columns": {"text": "question", "label": "label"}, "steps": [
            {"name": "rename", "names": {"text": "question"}}, {"name": "filter", "where": "length(question) > 4"},
            {"name": "shorten", "column": "question", "limit": 3}]}, "method": {"name": "lora", "r": 4},
        "training": {"epochs": 1, "batch_size": 16, "max_length": 16, "precision": "fp32"}}), name="prepared",
        dataset_id=rig.dataset)
    client.submit(prepared.id)
    waiting = {"classes": rig.train(name="classes"), "tags": row.id, "prepared": prepared.id}
    made = {"tagged": tagged}
    for name, id in waiting.items():
        over = rig.ended(id)
        found = adapters.of_run(rig.user, id)
        assert found is not None, over.error
        made[name] = found.id
    return made


@pytest.fixture
def web(rig: Rig) -> Iterator[TestClient]:
    app = FastAPI()
    api.install(app)
    app.add_middleware(Guard, secret=settings().secret_key, host="127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def ended(rig: Rig, id: str) -> Any:
    until(lambda: batches.get(rig.user, id).state in batches.ENDED, 60, rig.tail)
    return batches.get(rig.user, id)


def written(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_comes_back_with_labels_beside_its_columns(rig: Rig, trained: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "questions.csv"
    rows = '1,What is a city ?,a\n2,"  ",b\n3,"Who, if ""anyone""\nsings ?",c\n4,one,two,three\n'
    file.write_text(f"id,text,score\n{rows}", "utf-8")
    row = ended(rig, service.predict_file(rig.user, adapter_id=trained["classes"], path=file).id)
    assert row.state == "ready", row.error
    assert row.columns == {} and row.result["columns"] == {"text": "text"}
    found = written(service.batch_file(rig.user, row.id))
    assert list(found[0]) == ["id", "text", "score", "prediction", "score_predicted", "note"]
    assert [one["text"] for one in found] == ["What is a city ?", "  ", 'Who, if "anyone"\nsings ?']
    assert found[0]["prediction"] in adapters.get(rig.user, trained["classes"]).labels
    assert 0 < float(found[0]["score_predicted"]) <= 1
    assert (found[1]["prediction"], found[1]["note"]) == ("", "There is nothing to ask in this row.")
    assert (row.rows, row.result["answered"], row.result["noted"]) == (3, 2, 1)
    (left,) = row.result["findings"]
    assert (left["kind"], left["level"], left["rows"]) == ("ragged_rows", "warning", [4]) and "Left out" in left["what"]
    assert row.result["head"][0]["prediction"] == found[0]["prediction"]
    asked = service.ask(rig.user, {"adapters": [trained["classes"]], "rows": [{"text": found[2]["text"]}]})
    said = service.answer(rig.user, asked.id).result
    assert said is not None and said["answers"][0][0]["label"] == found[2]["prediction"], "as the playground says"
    folder = rig.folder / "batches" / row.id
    assert folder.exists()
    service.delete_batch(rig.user, row.id)
    assert not folder.exists()


def test_a_dataset_comes_back_as_parquet_with_its_tags(rig: Rig, trained: dict[str, str]) -> None:
    made = service.predict_file(rig.user, adapter_id=trained["tags"], dataset_id=trained["tagged"], format="parquet")
    row = ended(rig, made.id)
    assert row.state == "ready", row.error
    table = pq.read_table(service.batch_file(rig.user, row.id))
    assert table.column("tokens").to_pylist() == TAGS["tokens"]
    assert [len(json.loads(one)) for one in table.column("tags_predicted").to_pylist()] == [
        len(words) for words in TAGS["tokens"]]


def test_a_base_model_answers_prompts_and_says_which_it_cannot(rig: Rig, tmp_path: Path) -> None:
    models.create(rig.user, ref="local/stories260k")
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("Once upon a time", "", "Tom saw")))
    row = ended(rig, service.predict_file(rig.user, model="local/stories260k", task="causal_lm", path=file,
                                          options={"max_new_tokens": 4, "temperature": 0}).id)
    assert row.state == "ready", row.error
    found = written(service.batch_file(rig.user, row.id))
    assert found[0]["prediction"] and found[2]["prediction"]
    assert found[1]["prediction"] == "" and found[1]["note"]


def test_a_batch_that_is_stopped_keeps_the_rows_done_so_far(rig: Rig, trained: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "many.csv"
    file.write_text("text\n" + "What is the name of the city by the sea and the river ?\n" * 60_000)
    id = service.predict_file(rig.user, adapter_id=trained["classes"], path=file).id
    until(lambda: (batches.get(rig.user, id).result or {}).get("rows"), 60, rig.tail)
    live = batches.get(rig.user, id)
    assert live.rows == 60_000 and 0 < live.progress < 1 and live.result["head"][0]["prediction"]
    with pytest.raises(BatchNotReady):
        service.batch_file(rig.user, id)
    service.cancel_batch(rig.user, id)
    row = ended(rig, id)
    assert row.state == "cancelled" and 0 < row.result["rows"] < 60_000
    found = written(service.batch_file(rig.user, id))
    assert len(found) == row.result["rows"] and all(one["prediction"] for one in found)


def test_an_adapter_is_evaluated_on_datasets_and_unknown_labels_are_named(rig: Rig, trained: dict[str, str]) -> None:
    row = ended(rig, service.evaluate(rig.user, trained["classes"], rig.dataset).id)
    assert row.state == "ready", row.error
    report = row.result["evaluation"]
    accuracy = report["metrics"]["accuracy"]
    assert report["rows"] == 240 and accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert "confusion" in report["charts"] and report["slices"]["items"]
    assert row.dataset_sha256 == "a" * 64
    other = rig.store("other", {"text": ["What is it ?"] * 6 + ["Who ?"] * 2,
                                "label": ["DESC", "HUM"] * 3 + ["NEW"] * 2})
    datasets.update(rig.user, other, columns={"text": "text", "label": "label"}, task="text_classification")
    row = ended(rig, service.evaluate(rig.user, trained["classes"], other).id)
    assert row.state == "ready", row.error
    (finding,) = [one for one in row.result["findings"] if one["kind"] == "labels_unknown"]
    assert finding["rows"] == [7, 8] and "NEW" in finding["what"] and row.result["rows"] == 6
    assert {one.dataset_id for one in service.evaluations(rig.user, trained["classes"])} == {rig.dataset, other}
    assert [one.adapter_id for one in service.evaluated_on(rig.user, row)] == [trained["classes"]]
    tags = ended(rig, service.evaluate(rig.user, trained["tags"], trained["tagged"]).id)
    assert tags.state == "ready" and "f1" in tags.result["evaluation"]["metrics"], tags.error


def test_rows_are_prepared_as_the_adapters_were_on_a_base_held_alike(rig: Rig, trained: dict[str, str],
                                                                     tmp_path: Path) -> None:
    file, asked = tmp_path / "long.csv", ["What is a city by the sea ?", "Who ?", "Where do all the birds go ?"]
    file.write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(asked)))
    adapter = trained["prepared"]
    row = ended(rig, service.predict_file(rig.user, adapter_id=adapter, path=file).id)
    assert row.state == "ready", row.error
    assert row.quantization == row.result["held"] == "nf4" and row.result["columns"] == {"text": "question"}
    assert row.result["prepared"] == (
        "Prepared as the adapter's rows were: rename 'text → question'; cut 'question' to 3 words. Not repeated, as "
        "every row is predicted: keep rows where length(question) > 4.")
    found = written(service.batch_file(rig.user, row.id))
    assert [one["text"] for one in found] == asked
    # The same adapter is asked with rows that were cut by hand.
    short = tmp_path / "short.csv"
    short.write_text("question\n" + "".join(" ".join(text.split()[:3]) + "\n" for text in asked))
    other = ended(rig, service.predict_file(rig.user, adapter_id=adapter, path=short, prepare=False).id)
    assert other.state == "ready" and other.result["prepared"] == "" and other.steps == []
    by_hand = written(service.batch_file(rig.user, other.id))
    assert [one["score"] for one in found] == [one["score"] for one in by_hand]
    full = ended(rig, service.predict_file(rig.user, adapter_id=adapter, path=file, quantization="none").id)
    assert full.result["held"] is None
    assert [one["score"] for one in written(service.batch_file(rig.user, full.id))] != [one["score"] for one in found]
    judged = ended(rig, service.evaluate(rig.user, trained["classes"], rig.dataset).id)
    assert judged.result["held"] is None


def test_what_does_not_fit_is_refused_before_anything_is_queued(rig: Rig, trained: dict[str, str],
                                                                tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("a,b\n1,2\n3,4\n")
    before = batches.count(rig.user)
    with pytest.raises(RoleUnfilled, match="'Text'"):
        service.predict_file(rig.user, adapter_id=trained["classes"], path=numbers)
    with pytest.raises(RowsOnce):
        service.predict_file(rig.user, adapter_id=trained["classes"])
    with pytest.raises(OtherTask):
        service.evaluate(rig.user, trained["classes"], trained["tagged"])
    bare = rig.store("bare", {"text": ["a", "b"]})
    with pytest.raises(RolesMissing, match="Label"):
        service.evaluate(rig.user, trained["classes"], bare)
    strange = rig.store("strange", {"words": [["in", "Rome"]] * 4, "marks": [["O", "B-nowhere"]] * 4})
    datasets.update(rig.user, strange, columns={"tokens": "words", "tags": "marks"}, task="token_classification",
                    stats={"labels": {"nowhere": 4}, "labels_of": "entities", "labels_counted": None})
    with pytest.raises(LabelsUnknown, match="nowhere"):
        service.evaluate(rig.user, trained["tags"], strange)
    assert batches.count(rig.user) == before


def test_files_are_predicted_and_adapters_evaluated_over_rest(rig: Rig, trained: dict[str, str],
                                                              web: TestClient) -> None:
    asked = {"adapter": trained["classes"], "columns": json.dumps({"text": "sentence"})}
    file = {"file": ("my rows.tsv", "sentence\tn\nWho is it ?\t1\n")}
    for fields, files, kind in (
            (asked | {"columns": json.dumps({"text": "other"})}, file, "column_missing"),
            (asked | {"columns": "["}, file, "request_invalid"), (asked | {"format": "xlsx"}, file, "request_invalid"),
            (asked | {"adapter": "ad_none"}, file, "not_found"),
            (asked | {"options": '{"beams": 1}'}, file, "spec_invalid"),
            ({}, file, "nobody_asked"), (asked, {"other": ("a", "b")}, "rows_once")):
        said = web.post("/api/v1/batches", data=fields, files=files).json()
        assert said["kind"] == kind, said
    made = web.post("/api/v1/batches", data=asked, files=file)
    assert made.status_code == 202, made.text
    path = made.headers["Location"]
    until(lambda: web.get(path).json()["state"] in batches.ENDED, 60, rig.tail)
    row = web.get(path).json()
    assert row["state"] == "ready" and row["filename"] == "my rows.tsv", row
    sent = web.get(row["download"])
    assert 'filename="my rows predictions.csv"' in sent.headers["Content-Disposition"]
    assert next(csv.DictReader(io.StringIO(sent.text)))["sentence"] == "Who is it ?"
    assert row["id"] in [one["id"] for one in web.get("/api/v1/batches?kind=predict").json()["items"]]
    assert web.post(f"{path}/cancel").json()["state"] == "ready", "what is over stays as it is"
    assert web.delete(path).status_code == 204 and web.get(path).status_code == 404
    judged = web.post(f"/api/v1/adapters/{trained['classes']}/evaluations", json={"dataset": rig.dataset})
    assert judged.status_code == 202, judged.text
    ended(rig, judged.json()["id"])
    (listed,) = [one for one in web.get(f"/api/v1/adapters/{trained['classes']}/evaluations").json()["items"]
                 if one["dataset_id"] == rig.dataset]
    assert listed["id"] == judged.json()["id"] and 0 <= listed["metrics"]["accuracy"] <= 1


def test_files_are_predicted_and_adapters_evaluated_on_the_command_line(
        rig: Rig, trained: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    until(cli_stack.worker_there, 60, "no worker")
    file, place = tmp_path / "rows.txt", tmp_path / "out.parquet"
    file.write_text("What is a city ?\nWho sings ?\n")
    capsys.readouterr()
    words = ["predict-file", str(file), "--adapter", trained["classes"], "--out"]
    assert cli.main([*words, str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["answered"] == 2
    assert pq.read_table(place).column("prediction").null_count == 0
    assert cli.main([*words, str(tmp_path / "out.doc")]) == 2 and "--format csv" in capsys.readouterr().err
    assert cli.main(["evaluate", trained["classes"], rig.dataset]) == 0
    assert "accuracy" in capsys.readouterr().out
