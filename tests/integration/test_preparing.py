"""Steps of preparation: kept with a dataset by page, REST and command line, taken along by runs, replayed anywhere."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from db import datasets, users
from db.settings import settings
from db.tables import Dataset
from engine import intake, preparation
from engine import spec as specs
from engine.errors import StudioError
from studio import cli, cli_flags, cli_train, data_prepare, prepare_view, service, session
from studio.draft import from_query, from_spec
from worker.orders import inspect_dataset, look

ROWS = {"sentence": [f"ticket number {i} is about {word}" for i in range(30) for word in ("money", "travel", "food")],
        "topic": ["money", "travel", "food"] * 30, "author": [f"person {i % 9}" for i in range(90)],
        "stars": [i % 5 for i in range(90)]}
ROLES = {"text": "sentence", "label": "topic"}
STEPS = [{"name": "rename", "names": {"sentence": "text"}}, {"name": "filter", "where": "stars > 0"},
         {"name": "map_labels", "column": "topic", "labels": {"travel": "other", "food": "other"}},
         {"name": "split", "way": "grouped", "column": "author", "share": 0.2},
         {"name": "balance", "column": "topic"}]


class Quiet:
    """The line of an order nobody listens to."""

    def progress(self, fraction: float, text: str = "", **facts: Any) -> None:
        """Tell nobody."""

    def cancelled(self) -> bool:
        """Nobody changes their mind."""
        return False


def stored(rows: dict[str, list[Any]] = ROWS, **values: Any) -> Dataset:
    """Add a dataset as if it had been read."""
    row = datasets.create(users.local(), name="tickets", state="ready", progress=1.0,
                          rows=len(next(iter(rows.values()))), **({
                              "task": "text_classification", "columns": ROLES, "confirmed": True} | values))
    key = f"datasets/{row.id}/rows.parquet"
    path = settings().data_dir / key
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(rows), path)
    return datasets.update(users.local(), row.id, parquet_key=key)


def counted(row: Dataset, **more: Any) -> dict[str, Any]:
    """Return what a worker counts in a dataset."""
    order = {"original": None, "parquet": str(settings().data_dir / str(row.parquet_key)), "task": row.task,
             "columns": row.columns, "options": row.options, "steps": row.steps, **more}
    return json.loads(json.dumps(inspect_dataset.carry_out(order, Quiet())))  # pyright: ignore[reportArgumentType]


def gathered(spec: specs.RunSpec, train: Path, held: Path | None = None) -> tuple[intake.Rows, list[str]]:
    """Return the rows a run of `spec` learns from and is evaluated on, and its log."""
    said: list[str] = []
    attempt: Any = SimpleNamespace(spec=spec, sources=SimpleNamespace(train=train, eval=held, forgetting=None),
                                   log=lambda text, level="info": said.append(text))
    return intake._rows(attempt, spec.make_task()), said


def document(train: str, **data: Any) -> dict[str, Any]:
    """Return a run's document."""
    return {"task": "text_classification", "model": {"id": "local/small"}, "method": {"name": "lora"},
            "data": {"train": train} | data}


# -- the service and the worker ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh")
def test_roles_follow_their_columns_and_come_back() -> None:
    user, row = users.local(), stored()
    assert service.preparation.set_steps(user, row.id, STEPS).columns == {"text": "text", "label": "topic"}
    swapped = [{"name": "rename", "names": {"sentence": "body"}}, *STEPS[1:2]]
    assert service.preparation.set_steps(user, row.id, swapped).columns == {"text": "body", "label": "topic"}
    assert service.preparation.set_steps(user, row.id, []).columns == ROLES


@pytest.mark.usefixtures("fresh")
def test_a_file_to_evaluate_on_follows_and_has_no_steps_of_its_own() -> None:
    user, row = users.local(), stored()
    other = stored(eval_of_id=row.id)
    service.preparation.set_steps(user, row.id, STEPS)
    assert datasets.get(user, other.id).columns == {"text": "text", "label": "topic"}
    with pytest.raises(StudioError, match="itself a file to evaluate on"):
        service.preparation.set_steps(user, other.id, STEPS)
    assert [step.name for step in service.preparation.steps_of(user, other)] == ["rename", "filter", "map_labels"]
    assert service.preparation.preview_steps(user, other.id).columns_after[0] == "text"


@pytest.mark.usefixtures("fresh")
def test_the_first_rows_show_what_each_step_does() -> None:
    user, row = users.local(), stored()
    found = service.preparation.preview_steps(user, row.id, STEPS)
    assert found.whole and found.looked_at == found.rows == 90
    assert [(step["step"], step["rows_before"], step["rows_after"]) for step in found.steps[:3]] == [
        ("rename", 90, 90), ("filter", 90, 72), ("map_labels", 72, 72)]
    assert found.columns_after == ["text", "topic", "author", "stars"]
    assert found.steps[0]["sample"][0]["before"]["sentence"] == found.steps[0]["sample"][0]["after"]["text"]
    gone = [one for one in found.steps[1]["sample"] if one["after"] is None]
    assert gone and all(one["before"]["stars"] == "0" for one in gone)
    assert datasets.get(user, row.id).steps == []
    failed = service.preparation.preview_steps(user, row.id, [{"name": "filter", "where": "sentence"},
                                                              {"name": "sample"}])
    assert [step["error"]["kind"] for step in failed.steps] == ["expression_invalid"]


@pytest.mark.usefixtures("fresh")
def test_rows_that_a_split_takes_out_are_said_to_be_evaluated_on() -> None:
    row = stored()
    found = service.preparation.preview_steps(users.local(), row.id, [{"name": "split", "share": 0.2}], shown=8)
    aside = [one for one in found.steps[0]["sample"] if one["after"] is None]
    assert aside and all(one["held"] for one in aside)
    shown = prepare_view.sample(found.steps[0], found.columns)
    assert shown.count("to evaluation") == len(aside) and "ps-gone" not in shown and " out<" not in shown
    fewer = service.preparation.preview_steps(users.local(), row.id, [{"name": "sample", "rows": 2}], shown=8)
    assert "ps-gone" in prepare_view.sample(fewer.steps[0], fewer.columns)


def test_a_step_that_nothing_was_typed_into_asks_for_its_fields_by_title() -> None:
    assert prepare_view.unfilled(preparation.get("filter"), {"where": "", "drop": False}) == "Condition"
    assert prepare_view.unfilled(preparation.get("map_labels"), {"column": None}) == "Column and Labels"
    assert prepare_view.unfilled(preparation.get("drop"), {"columns": ["text"]}) == ""



@pytest.mark.usefixtures("fresh")
def test_only_the_head_of_a_long_file_is_looked_at() -> None:
    row = stored({"text": [f"text {i}" for i in range(5000)], "label": ["a", "b"] * 2500},
                 columns={"text": "text", "label": "label"})
    found = service.preparation.preview_steps(users.local(), row.id, [{"name": "sample", "rows": 10}])
    assert (found.looked_at, found.rows, found.whole) == (service.preparation.HEAD_ROWS, 5000, False)


@pytest.mark.usefixtures("fresh")
def test_statistics_are_those_after_the_steps() -> None:
    user, row = users.local(), stored()
    found = counted(service.preparation.set_steps(user, row.id, STEPS[:3]))
    assert found["stats"]["rows"] == 72 and set(found["stats"]["labels"]) == {"money", "other"}
    assert counted(service.preparation.set_steps(user, row.id, STEPS))["stats"]["eval_rows"]
    broken = counted(service.preparation.set_steps(user, row.id, [{"name": "filter", "where": "stars > 9"}]))
    assert broken["stats"] is None and broken["findings"][-1]["kind"] == "steps_left_nothing"
    assert broken["findings"][-1]["level"] == "error"
    dropped = counted(service.preparation.set_steps(user, row.id, [{"name": "drop", "columns": ["topic"]}]))
    assert [one["kind"] for one in dropped["findings"]] == ["step_took_column"]
    folder = (settings().data_dir / str(row.parquet_key)).parent
    assert not list(folder.glob("prepared-*"))


@pytest.mark.usefixtures("fresh")
def test_rows_of_a_label_are_named_by_their_number_in_the_file() -> None:
    row = service.preparation.set_steps(users.local(), stored().id, STEPS[:2])
    order = {"what": "samples", "parquet": str(settings().data_dir / str(row.parquet_key)), "task": row.task,
             "columns": row.columns, "options": {}, "steps": row.steps, "eval_steps": row.steps}
    found = look.carry_out(order, Quiet())  # pyright: ignore[reportArgumentType]
    assert {one["label"]: one["count"] for one in found["labels"]} == {"money": 24, "travel": 24, "food": 24}
    assert all(ROWS["stars"][number - 1] > 0 for one in found["labels"] for number in one["rows"])


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh")
def test_a_run_takes_the_steps_along_and_is_replayed_identically(tmp_path: Path) -> None:
    user, row = users.local(), stored()
    row = service.preparation.set_steps(user, row.id, STEPS)
    spec = service.check(user, document(row.id)).spec
    assert [step.name for step in spec.data.steps] == [step["name"] for step in STEPS]
    assert spec.data.columns == {"text": "text", "label": "topic"}
    file = tmp_path / "spec.json"
    file.write_text(spec.to_json())
    assert specs.read(file) == spec
    parquet = settings().data_dir / str(row.parquet_key)
    first, said = gathered(spec, parquet)
    again, _ = gathered(specs.read(file), parquet)
    assert first.train.equals(again.train) and first.eval.equals(again.eval)
    csv = tmp_path / "rows.csv"
    pa.csv.write_csv(pa.table(ROWS), csv)
    by_engine, _ = gathered(specs.parse(json.loads(spec.to_json()) | {"data": json.loads(spec.to_json())["data"] | {
        "train": str(csv)}}), csv)
    assert by_engine.train["text"].to_pylist() == first.train["text"].to_pylist()
    assert by_engine.eval["text"].to_pylist() == first.eval["text"].to_pylist()
    assert first.labels == ["money", "other"]
    assert not set(first.train["author"].to_pylist()) & set(first.eval["author"].to_pylist())
    assert "Step 2, keep rows where stars > 0: 90 → 72 rows. 18 rows left out." in said


@pytest.mark.usefixtures("fresh")
def test_rows_kept_to_evaluate_on_are_set_aside_before_rows_are_repeated() -> None:
    row = stored()
    steps = [{"name": "filter", "where": 'topic != "food" or stars = 0'}, {"name": "balance", "column": "topic"}]
    spec = specs.parse(document(str(settings().data_dir / str(row.parquet_key)), columns=ROLES, steps=steps))
    found, said = gathered(spec, Path(spec.data.train))
    assert not set(found.train["sentence"].to_pylist()) & set(found.eval["sentence"].to_pylist())
    assert any("set aside before" in line for line in said)
    assert found.train.num_rows > len(set(found.train["sentence"].to_pylist()))


@pytest.mark.usefixtures("fresh")
def test_columns_are_guessed_after_the_steps() -> None:
    row = stored()
    spec = specs.parse(document(str(settings().data_dir / str(row.parquet_key)),
                                steps=[{"name": "rename", "names": {"topic": "label"}}]))
    assert gathered(spec, Path(spec.data.train))[0].columns == {"text": "sentence", "label": "label"}


@pytest.mark.usefixtures("fresh")
def test_steps_of_a_run_need_not_be_those_of_its_dataset() -> None:
    user, row = users.local(), stored()
    row = service.preparation.set_steps(user, row.id, STEPS)
    own = service.check(user, document(row.id, steps=[], columns=ROLES))
    assert own.spec.data.steps == [] and own.spec.to_json().count('"steps"') == 0
    assert not [one for one in own.obstacles if "column" in one.kind]
    wrong = service.check(user, document(row.id, steps=[{"name": "drop", "columns": ["sentence"]}], columns=ROLES))
    assert "step_took_column" in [one.kind for one in wrong.obstacles]
    lost = service.check(user, document(row.id, steps=[{"name": "drop", "columns": ["none"]}], columns=ROLES))
    assert "step_column_missing" in [one.kind for one in lost.obstacles]


@pytest.mark.usefixtures("fresh")
def test_a_run_that_is_duplicated_keeps_its_steps() -> None:
    spec = specs.parse(document("ds_a", columns=ROLES, steps=STEPS))
    draft = from_spec(spec.model_dump(mode="json"))
    assert draft.document()["data"]["steps"] == spec.model_dump(mode="json")["data"]["steps"]
    assert from_query({}).steps is None
    assert from_query(dict(parse_qsl(draft.url()[1:]))).steps == draft.steps
    assert draft.with_dataset("ds_b", "").steps is None


# -- REST --------------------------------------------------------------------------------------------------------------


def test_steps_are_listed_put_tried_and_taken_out_by_rest(client: TestClient) -> None:
    row = stored()
    address = f"/api/v1/datasets/{row.id}/steps"
    kinds = {one["name"]: one for one in client.get("/api/v1/steps").json()}
    assert kinds["filter"]["schema"]["properties"]["where"]["description"]
    assert client.get(address).json() == {"steps": [], "columns": list(ROWS)}
    tried = client.post(f"{address}/preview", json={"steps": STEPS, "rows": 2}).json()
    assert [one["rows_after"] for one in tried["steps"]][:3] == [90, 72, 72] and len(tried["steps"][0]["sample"]) == 2
    assert client.get(address).json()["steps"] == []
    put = client.put(address, json={"steps": STEPS})
    assert put.status_code == 200 and [one["name"] for one in put.json()["steps"]] == [one["name"] for one in STEPS]
    shown = client.get(f"/api/v1/datasets/{row.id}?preview=2").json()
    assert shown["columns"] == {"text": "text", "label": "topic"} and shown["steps"] == put.json()["steps"]
    assert shown["preview"]["columns"][0] == "text"
    assert client.post(f"{address}/preview").json()["steps"][0]["step"] == "rename"
    assert client.put(address, json={"steps": []}).json()["columns"] == list(ROWS)


@pytest.mark.parametrize(("steps", "status", "kind", "where"), [
    ([{"name": "filtre"}], 422, "unknown_step", "steps.0.name"),
    ([{"name": "filter", "where": "stars >"}], 422, "step_invalid", "steps.0.where"),
    ([{"name": "filter", "where": "star > 1"}], 422, "expression_invalid", "character 1"),
    ([{"name": "filter", "where": "sentence + 1"}], 422, "expression_invalid", "character 1"),
    ([{"name": "drop", "columns": ["none"]}], 422, "step_column_missing", "step drop"),
    ([{"name": "sample", "row": 3}], 422, "unknown_key", "steps.0.row"), ("x", 422, "request_invalid", "steps")])
def test_faulty_steps_are_refused_by_rest(client: TestClient, steps: Any, status: int, kind: str, where: str) -> None:
    row = stored()
    answer = client.put(f"/api/v1/datasets/{row.id}/steps", json={"steps": steps})
    assert (answer.status_code, answer.json()["kind"]) == (status, kind), answer.text
    assert where in answer.json()["where"] and answer.json()["try_this"]
    assert datasets.get(users.local(), row.id).steps == []
    assert client.put("/api/v1/datasets/ds_none/steps", json={"steps": []}).status_code == 404


# -- command line ------------------------------------------------------------------------------------------------------


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command in this process; returns exit code and output."""
    capsys.readouterr()
    code = cli.main(list(arguments))
    seen = capsys.readouterr()
    assert "Traceback" not in seen.out + seen.err
    return code, seen.out + seen.err


@pytest.mark.usefixtures("fresh")
def test_steps_are_added_shown_and_taken_out_by_command(capsys: pytest.CaptureFixture[str]) -> None:
    row = stored()
    code, said = run("datasets", "prepare", row.id, "--step", json.dumps(STEPS[0]), "--step", json.dumps(STEPS[1]),
                     capsys=capsys)
    assert code == 0 and "2. keep rows where stars > 0: 90 → 72 rows" in said and "Columns: text, topic" in said
    code, said = run("datasets", "prepare", row.id, "--step", '{"name": "sample", "rows": 5}', capsys=capsys)
    assert code == 0 and "3. keep 5 rows at random: 72 → 5 rows" in said
    code, said = run("datasets", "prepare", row.id, "--show", "--json", capsys=capsys)
    assert code == 0 and [one["step"] for one in json.loads(said)["preview"]["steps"]] == ["rename", "filter", "sample"]
    assert run("datasets", "prepare", row.id, "--remove", "3", capsys=capsys)[0] == 0
    assert len(datasets.get(users.local(), row.id).steps) == 2
    assert run("datasets", "prepare", row.id, "--clear", capsys=capsys)[1].startswith("There are no steps.")
    for wrong in (["--step", "{"], ["--step", "3"], ["--remove", "1"], ["--step", '{"name": "none"}']):
        assert run("datasets", "prepare", row.id, *wrong, capsys=capsys)[0] == 2
    assert run("datasets", "prepare", capsys=capsys)[0] == 2
    code, said = run("datasets", "prepare", "--kinds", capsys=capsys)
    assert code == 0 and "deduplicate: " in said and "    threshold (0.8): " in said


def test_the_command_line_of_a_run_names_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = specs.parse(document("rows.csv", columns=ROLES, steps=STEPS))
    caught: list[dict[str, Any]] = []
    monkeypatch.setattr(cli_train, "_train", caught.append)
    assert cli.main(shlex.split(cli_flags.line(spec))[1:]) == 0
    assert specs.parse(cli_train._document(caught[0])) == spec


# -- the page ----------------------------------------------------------------------------------------------------------


def asked(row: Dataset) -> Any:
    """Return a request from the page of a dataset."""
    return SimpleNamespace(request=SimpleNamespace(scope={session.SCOPE_KEY: "one"}), query_params={},
                           headers={"referer": f"/data?dataset={row.id}&tab=prepare"})


@pytest.mark.usefixtures("fresh")
def test_the_page_adds_moves_changes_and_takes_out_steps() -> None:
    user, row = users.local(), stored()
    request = asked(row)

    def kept() -> list[str]:
        return [step["name"] for step in datasets.get(user, row.id).steps]

    def add(name: str, **values: Any) -> Any:
        shown = data_prepare._pick({"options": [{"value": name}], "chosen": name}, None, request)
        shown[1]["values"][name] |= values
        trial = data_prepare._typed(shown[0], shown[1], None, request)
        return trial, data_prepare._save(shown[0], shown[1], None, request)
    assert data_prepare._opened(request)[0]["steps"] == []
    trial, after = add("filter", where="stars > 0")
    assert "90 → 72 rows" in trial and "out</td>" in trial
    assert after[0]["steps"][0]["told"] == "keep rows where stars > 0"
    trial, _ = add("rename", names={"sentence": "text"})
    assert "<ins>text</ins>" in trial and "<del>sentence</del>" in trial
    assert kept() == ["filter", "rename"]
    data_prepare._act({"act": {"do": "up", "index": 1}}, request)
    assert kept() == ["rename", "filter"]
    opened = data_prepare._act({"act": {"do": "edit", "index": 1}}, request)
    kind, form, place = opened[3], opened[4], opened[8]
    assert form["values"]["filter"]["where"] == "stars > 0" and place == 1
    form["values"]["filter"]["where"] = "stars > 3"
    data_prepare._save(kind, form, place, request)
    assert kept() == ["rename", "filter"] and datasets.get(user, row.id).steps[1]["where"] == "stars > 3"
    data_prepare._act({"act": {"do": "remove", "index": 0}}, request)
    assert kept() == ["filter"]
    trial = data_prepare._trial(user, datasets.get(user, row.id), data_prepare.preparation.get("filter"),
                                {"filter": {"where": "stars >"}}, None)
    assert "character 8" in trial
    columns = data_prepare._pick({"options": [{"value": "drop"}], "chosen": "drop"}, None, request)[1]
    field = columns["groups"][0]["fields"][0]
    assert field["kind"] == "several" and [one["value"] for one in field["options"]] == list(ROWS)
