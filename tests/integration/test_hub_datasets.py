"""Datasets of the Hub through the API, the page and the worker's orders, against a server on this machine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from byhand import Hand
from fastapi.testclient import TestClient
from hub_server import COMMIT, Hub, serving

from db import datasets, users
from studio import data_hub, data_view, service, session

pytestmark = pytest.mark.usefixtures("hand")

CARD = b"---\nlicense: mit\nconfigs:\n- config_name: plain\n  data_files:\n  - split: train\n    path: p/train-*\n" \
       b"  - split: test\n    path: p/test.parquet\n- config_name: other\n  data_files: other.csv\n---\n# Tickets\n"


def parquet(first: int, last: int) -> bytes:
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["money", "travel"]}}}}
    table = pa.table({"text": [f"ticket number {i} says this" for i in range(first, last)],
                      "label": pa.array([i % 2 for i in range(first, last)], pa.int64())})
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), out)
    return out.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub on this machine, asked by this process with an empty cache."""
    from huggingface_hub import constants

    with serving() as made:
        made.repositories["datasets/people/tickets"] = {
            "README.md": CARD, "p/train-1.parquet": parquet(0, 30), "p/train-2.parquet": parquet(30, 50),
            "p/test.parquet": parquet(50, 60), "other.csv": b"a,b\n1,2\n3,4\n"}
        made.repositories["datasets/people/program"] = {"program.py": b"raise SystemExit"}
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield made


def test_a_look_names_configurations_and_splits_and_shows_first_rows(client: TestClient, hand: Hand, hub: Hub) -> None:
    address = "/api/v1/hub/datasets/people/tickets"
    assert client.get(address, params={"wait": 0}).json()["state"] == "queued"
    assert hub.asked == []
    hand.work()
    found = client.get(address).json()["found"]
    assert found["listing"]["licence"] == "mit" and found["listing"]["revision"] == COMMIT
    assert found["chosen"] is None
    assert [(one["name"], split["name"], split["files"]) for one in found["listing"]["configs"]
            for split in one["splits"]] == [("plain", "train", 2), ("plain", "test", 1), ("other", "train", 1)]
    wanted = {"config": "plain", "split": "test", "rows": 3, "wait": 0}
    client.get(address, params=wanted)
    hand.work()
    shown = client.get(address, params=wanted).json()["found"]
    assert [row["label"] for row in shown["rows"]] == ["money", "travel", "money"]


def test_a_split_is_fetched_read_and_evaluated_on_the_other(client: TestClient, hand: Hand, hub: Hub) -> None:
    made = client.post("/api/v1/datasets", json={"hub": "people/tickets", "config": "plain"})
    assert made.status_code == 201, made.text
    assert hub.asked == []
    hand.work()
    row = client.get(f"/api/v1/datasets/{made.json()['id']}").json()
    assert (row["state"], row["rows"], row["task"]) == ("ready", 50, "text_classification")
    assert row["columns"] == {"text": "text", "label": "label"}
    assert row["name"] == "tickets plain"
    origin = row["origin"]
    assert {key: origin[key] for key in ("hub", "revision", "config", "split", "eval_split", "licence")} == {
        "hub": "people/tickets", "revision": COMMIT, "config": "plain", "split": "train", "eval_split": "test",
        "licence": "mit"}
    assert sorted(origin["files"]) == ["p/train-1.parquet", "p/train-2.parquet"]
    (other,) = row["eval_datasets"]
    held = client.get(f"/api/v1/datasets/{other}").json()
    assert (held["state"], held["rows"], held["origin"]["split"]) == ("ready", 10, "test")
    assert client.get(f"/api/v1/datasets/{row['id']}").json()["stats"]["eval_rows"] == 10


def test_no_split_is_evaluated_on_when_nobody_wants_one(client: TestClient, hand: Hand, hub: Hub) -> None:
    row = client.post("/api/v1/datasets", json={"hub": "people/tickets", "config": "plain", "split": "test",
                                                "eval_split": "none", "name": "Mine"}).json()
    hand.work()
    row = client.get(f"/api/v1/datasets/{row['id']}").json()
    assert (row["name"], row["rows"], row["eval_datasets"]) == ("Mine", 10, [])


@pytest.mark.parametrize(("asked", "kind"), [
    ({"hub": "people/nobody"}, "hub_dataset_missing"), ({"hub": "people/program"}, "hub_loading_script"),
    ({"hub": "people/tickets"}, "hub_config_needed"),
    ({"hub": "people/tickets", "config": "plain", "split": "best"}, "hub_split_unknown")])
def test_what_cannot_be_fetched_fails_with_its_reason_and_can_be_tried_again(
        asked: dict[str, str], kind: str, client: TestClient, hand: Hand, hub: Hub) -> None:
    id = client.post("/api/v1/datasets", json=asked).json()["id"]
    hand.work()
    row = client.get(f"/api/v1/datasets/{id}").json()
    assert (row["state"], row["error"]["kind"]) == ("failed", kind)
    assert row["error"]["try_this"]
    assert client.post(f"/api/v1/datasets/{id}/retry").json()["state"] == "uploaded"


@pytest.mark.parametrize("asked", [{"hub": "../etc"}, {"hub": "a/b", "colour": "red"}, {"config": "x"},
                                   {"hub": "a/b", "task": "text_classification", "columns": {"colour": "x"}}])
def test_a_reference_that_cannot_be_is_refused_at_once(asked: dict[str, Any], client: TestClient) -> None:
    answer = client.post("/api/v1/datasets", json=asked)
    assert 400 <= answer.status_code < 500 and answer.json()["try_this"]
    assert datasets.find(users.local()) == []


def test_the_page_offers_what_there_is_and_adds_what_was_chosen(hand: Hand, hub: Hub) -> None:
    request: Any = SimpleNamespace(request=SimpleNamespace(scope={session.SCOPE_KEY: "one"}), query_params={},
                                   headers={})
    asked, told, *_ = data_hub._look("people/tickets", request)
    assert "Asking the Hub" in told
    hand.work()
    about, _, configs, splits, _, rows, *_ = data_hub._view(asked, request)
    assert "mit" in about and [one["value"] for one in configs["options"]] == ["plain", "other"]
    assert configs["chosen"] is None and splits["options"] == [] and "choose one" in rows
    asked, *_ = data_hub._config(asked, configs | {"chosen": "plain"}, request)
    hand.work()
    _, _, configs, splits, held, rows, *_ = data_hub._view(asked, request)
    assert (configs["chosen"], splits["chosen"], held["chosen"]) == ("plain", "train", "test")
    assert "ticket number 0 says this" in rows and "money" in rows
    address = data_hub._add(asked, configs, splits, held | {"chosen": "none"}, request)
    hand.work()
    row = datasets.get(users.local(), address.rpartition("=")[2])
    assert (row.state, row.rows, (row.origin or {})["revision"]) == ("ready", 50, COMMIT)
    assert datasets.find(users.local(), eval_of_id=row.id) == []
    assert "people/tickets on the Hub, plain, train, commit 0123456789, licence mit" in data_view.head(row, None, [])


def test_a_machine_without_a_network_says_where_it_looked(hand: Hand, hub: Hub, monkeypatch: pytest.MonkeyPatch,
                                                          tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    service.hub_data.look(users.local(), "people/tickets")
    hand.work()
    found = service.hub_data.look(users.local(), "people/tickets")
    assert found.state == "failed" and found.error is not None
    assert found.error["kind"] == "hub_dataset_unreachable" and str(tmp_path / "cache") in found.error["what"]
    assert hub.asked == []


def test_what_the_hub_does_not_give_comes_back_as_a_problem(client: TestClient, hand: Hand, hub: Hub,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    address = "/api/v1/hub/datasets/people/tickets"
    assert client.get(address, params={"wait": 0}).status_code == 200
    hand.work()
    answer = client.get(address)
    assert (answer.status_code, answer.json()["kind"]) == (502, "hub_dataset_unreachable")
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_command_line_adds_from_the_hub(hand: Hand, data_dir: Path, hub: Hub) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "studio", "datasets", *words], capture_output=True, text=True,
                              check=False, env=os.environ | {"STUDIO_DATA_DIR": str(data_dir)})

    added = run("add", "hub:people/tickets", "--config", "plain", "--eval-split", "none", "--no-wait", "--json")
    assert added.returncode == 0, added.stderr
    origin = json.loads(added.stdout)["origin"]
    assert origin == {"hub": "people/tickets", "revision": None, "config": "plain", "split": "", "eval_split": "none"}
    refused = run("add", "hub:../etc", "--no-wait")
    assert refused.returncode == 2 and "not the id of a dataset" in refused.stderr
