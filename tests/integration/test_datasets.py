"""What becomes of datasets: what nothing could be guessed of, what failed, and files to evaluate on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rig import Rig, studio, until
from typer.testing import CliRunner

from db import datasets, users
from db.settings import settings
from studio import choices, data_detail, data_view, service, session
from studio.draft import Draft
from studio.service.datasets import DatasetNotReady, TrainedOn
from worker.orders import inspect_dataset

TICKETS = "text,label\n" + "".join(f"ticket number {i} is about {word},{word}\n"
                                   for i in range(20) for word in ("money", "travel"))
CHECKED = "text,label\n" + "".join(f"question {i} is about money,money\n" for i in range(5))


class Quiet:
    """The line of an order nobody listens to."""

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell nobody."""

    def cancelled(self) -> bool:
        """Nobody changes their mind."""
        return False


def read(folder: Path, content: str, **known: Any) -> dict[str, Any]:
    """Return what reading a file gives, as it is stored with the dataset."""
    (folder / "original").write_text(content)
    order = {"original": str(folder / "original"), "parquet": str(folder / "rows.parquet"), **known}
    return json.loads(json.dumps(inspect_dataset.carry_out(order, Quiet())))  # pyright: ignore[reportArgumentType]


def test_a_file_nothing_was_recognised_in_is_not_offered_for_training(client: TestClient, tmp_path: Path) -> None:
    found = read(tmp_path, "thing\n" + "ok\nno\nyes\n" * 30)
    assert found["columns"] == {} and found["stats"] is None
    row = datasets.create(users.local(), name="answers", state="ready", progress=1.0, rows=found["rows"],
                          findings=found["findings"], guess=found["guess"], source=found["source"])
    assert data_view.steps(row) == ""
    assert "Needs a fix" in data_view.badge(row)
    assert "Nothing wrong" not in data_view.findings(row)
    assert "No column of texts was found." in data_view.findings(row)
    shown = client.get(f"/api/v1/datasets/{row.id}").json()
    assert (shown["errors"], shown["findings"][0]["kind"]) == (1, "columns_not_recognised")
    checked = service.check(users.local(), {"task": "text_classification", "model": {"id": "local/small"},
                                            "data": {"train": row.id}, "method": {"name": "lora"}})
    assert any("column" in obstacle.what for obstacle in checked.obstacles)


@pytest.mark.parametrize(("content", "said"), [
    ("text,label\n", ["There are no rows."]),
    ("text,label\n" + ",a\n  ,b\n" * 9, ["The column 'text' is empty in every row.", "No column of texts was found."])])
def test_a_file_without_anything_to_read_is_named_as_such(tmp_path: Path, content: str, said: list[str]) -> None:
    assert [finding["what"] for finding in read(tmp_path, content)["findings"]] == said


@pytest.mark.usefixtures("fresh")
def test_a_dataset_that_failed_is_not_offered_for_training_unless_it_is_chosen() -> None:
    user = users.local()
    good = datasets.create(user, name="good", state="ready", rows=10)
    bad = datasets.create(user, name="bad", state="failed", error={"kind": "file_empty", "what": "It is empty."})

    def offered(chosen: str) -> list[str]:
        now: Any = SimpleNamespace(user=user, draft=Draft(dataset=chosen))
        return [option["value"] for option in choices.datasets_shown(now)["options"]]
    assert offered(good.id) == [good.id]
    assert set(offered(bad.id)) == {good.id, bad.id}


def test_rows_to_evaluate_on_need_not_be_fit_to_learn_from(tmp_path: Path) -> None:
    roles = {"task": "text_classification", "columns": {"text": "text", "label": "label"}}
    alone = read(tmp_path, CHECKED, **roles)["findings"]
    assert {"one_label", "few_rows"} <= {finding["kind"] for finding in alone}
    assert read(tmp_path, CHECKED, **roles, evaluates=True)["findings"] == []


def test_a_file_to_evaluate_on_is_added_and_replaced(client: TestClient) -> None:
    id = client.post("/api/v1/datasets", files={"file": ("tickets.csv", TICKETS)}).json()["id"]
    address = f"/api/v1/datasets/{id}"

    def add(name: str) -> dict[str, Any]:
        answer = client.post(f"{address}/eval", files={"file": (name, CHECKED)})
        assert answer.status_code == 201 and answer.headers["Location"].endswith(answer.json()["id"])
        return answer.json()
    first = add("first.csv")
    assert first["eval_of_id"] == id and first["name"] == "tickets (evaluation)" and first["filename"] == "first.csv"
    second = add("second.csv")
    assert client.get(address).json()["eval_datasets"] == [second["id"]]
    assert client.get(f"/api/v1/datasets/{first['id']}").status_code == 404
    assert not (settings().data_dir / "datasets" / first["id"] / "original").exists()
    refused = client.post(f"/api/v1/datasets/{second['id']}/eval", files={"file": ("third.csv", CHECKED)})
    assert (refused.status_code, refused.json()["kind"]) == (409, "evaluates_another")
    assert client.post("/api/v1/datasets/ds_none/eval", files={"file": ("a.csv", CHECKED)}).status_code == 404
    assert client.post(f"{address}/eval", files={"eval": ("a.csv", CHECKED)}).status_code == 422
    assert not list((settings().data_dir / "uploads").iterdir())


BARE = "why,refund\n" + "my parcel has not come,delay\nthank you so much,praise\n" * 9


@pytest.mark.parametrize(("said", "names"), [("yes", ["why", "refund"]), ("no", ["column_1", "column_2"])])
def test_the_api_may_say_whether_the_first_row_is_a_header(client: TestClient, tmp_path: Path, said: str,
                                                           names: list[str]) -> None:
    answer = client.post("/api/v1/datasets", files={"file": ("bare.csv", BARE)}, data={"header": said})
    assert answer.status_code == 201
    row = datasets.get(users.local(), answer.json()["id"])
    assert service.preview(users.local(), row.id).columns == names
    found = read(tmp_path, BARE, source=row.source)
    assert (found["source"]["columns"], found["rows"]) == (names, 19 - (said == "yes"))
    refused = client.post("/api/v1/datasets", files={"file": ("bare.csv", BARE)}, data={"header": "perhaps"})
    assert refused.status_code == 422


@pytest.mark.usefixtures("fresh")
def test_the_page_reads_a_file_again_with_or_without_its_header(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    user = users.local()
    (tmp_path / "bare.csv").write_text(BARE)
    row = service.add_dataset(user, tmp_path / "bare.csv", header=False)
    with pytest.raises(DatasetNotReady):
        service.set_header(user, row.id, True)
    row = datasets.update(user, row.id, state="ready", rows=19, parquet_key="rows", columns={"text": "column_1"})
    request = SimpleNamespace(request=SimpleNamespace(scope={session.SCOPE_KEY: "one"}),
                              headers={"referer": f"/data?dataset={row.id}"},
                              query_params={})
    assert len(data_detail._poll("", request)) == data_detail.VIEW
    shown = data_view.header(row)
    assert shown.visible and shown.value == "The first row is a header"
    row = service.set_header(user, row.id, True)
    assert (row.state, row.parquet_key, row.columns, row.source["columns"]) == ("uploaded", None, {}, ["why", "refund"])
    assert not data_view.header(row).visible
    datasets.update(user, row.id, state="ready")
    monkeypatch.setattr(datasets, "used_by", lambda user, id: {"runs": 1, "adapters": 0})
    with pytest.raises(TrainedOn):
        service.set_header(user, row.id, False)


@pytest.mark.usefixtures("fresh")
def test_the_command_line_may_say_that_there_is_no_header(tmp_path: Path) -> None:
    from studio.cli import app

    (tmp_path / "a.csv").write_text("text,label\n" + BARE)
    done = CliRunner().invoke(app, ["datasets", "add", str(tmp_path / "a.csv"), "--no-header", "--no-wait", "--json"])
    assert done.exit_code == 0, done.output
    assert (datasets.get(users.local(), json.loads(done.stdout)["id"]).source or {})["header"] is False


@pytest.mark.usefixtures("fresh")
def test_a_former_file_that_a_run_was_evaluated_on_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = users.local()
    (tmp_path / "a.csv").write_text(CHECKED)
    main = datasets.create(user, name="tickets", state="ready", rows=40)
    first = service.add_eval(user, main.id, tmp_path / "a.csv")
    monkeypatch.setattr(datasets, "used_by", lambda user, id: {"runs": int(id == first.id), "adapters": 0})
    second = service.add_eval(user, main.id, tmp_path / "a.csv")
    assert [row.id for row in datasets.find(user, eval_of_id=main.id)] == [second.id]
    assert datasets.get(user, first.id).eval_of_id is None


@pytest.mark.usefixtures("fresh")
def test_the_command_line_adds_a_file_to_evaluate_on(tmp_path: Path) -> None:
    from studio.cli import app

    (tmp_path / "a.csv").write_text(CHECKED)
    main = datasets.create(users.local(), name="tickets", state="ready", rows=40)
    done = CliRunner().invoke(app, ["datasets", "add-eval", main.id, str(tmp_path / "a.csv"), "--no-wait", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["eval_of_id"] == main.id


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    """A studio with broker, database and a worker."""
    with studio(tmp_path_factory.mktemp("datasets") / "data", shared) as made:
        made.work()
        yield made


@pytest.mark.slow
def test_labels_and_columns_of_a_later_evaluation_file_are_checked_against_the_rows(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(TICKETS)
    main = service.add_dataset(rig.user, tmp_path / "tickets.csv")
    until(lambda: datasets.get(rig.user, main.id).state == "ready", 60, rig.tail)

    def kinds() -> dict[str, str]:
        return {finding["kind"]: finding["level"] for finding in datasets.get(rig.user, main.id).findings}

    def add(content: str) -> Any:
        (tmp_path / "more.csv").write_text(content)
        return service.add_eval(rig.user, main.id, tmp_path / "more.csv")
    assert "label_unseen" not in kinds()
    add(CHECKED + "a line about food,food\n")
    until(lambda: kinds().get("label_unseen") == "error", 60, rig.tail)
    add("body,label\nsome words,money\n")
    until(lambda: kinds().get("column_missing") == "error" and "label_unseen" not in kinds(), 60, rig.tail)
    good = add(CHECKED)
    until(lambda: "column_missing" not in kinds() and (datasets.get(rig.user, main.id).stats or {}).get("eval_rows")
          == 5, 60, rig.tail)
    row = datasets.get(rig.user, good.id)
    assert row.columns == datasets.get(rig.user, main.id).columns and row.findings == []
    service.delete_dataset(rig.user, good.id)
    until(lambda: (datasets.get(rig.user, main.id).stats or {}).get("eval_rows") is None, 60, rig.tail)
