"""Every broken file is uploaded by REST and read as a worker does: it is refused or has findings, by name."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beast import Beast
from byhand import Hand, by_hand
from fastapi import FastAPI
from fastapi.testclient import TestClient
from zoo import BEASTS

from db.settings import settings
from engine.data import read
from studio import api
from studio.guard import Guard

LARGEST = 32 << 20


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hand]:
    """An empty studio with its tables, where work is done by hand; packed files may grow to 32 MB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_DATA_DIR", str(tmp_path_factory.mktemp("studio")))
        patch.setattr(read, "ingest", functools.partial(read.ingest, largest=LARGEST))
        with by_hand(patch) as made:
            yield made


@pytest.fixture(scope="module")
def client(hand: Hand) -> Iterator[TestClient]:
    """A client of a studio without accounts, for all files."""
    app = FastAPI()
    api.install(app)
    app.add_middleware(Guard, secret=settings().secret_key, host="127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def uploaded(client: TestClient, beast: Beast, folder: Path) -> Any:
    """Return the answer to the upload of a broken file, with what a person has said of it."""
    beast.write(folder / beast.name)
    files = {"file": (beast.name, (folder / beast.name).open("rb"))}
    if beast.eval is not None:
        beast.eval(folder / "eval")
        files["eval"] = (f"eval_{beast.name}", (folder / "eval").open("rb"))
    said = {"task": beast.task, "columns": json.dumps(dict(beast.columns)) if beast.columns else "",
            "options": json.dumps(dict(beast.options)) if beast.options else ""}
    return client.post("/api/v1/datasets", files=files, data={name: text for name, text in said.items() if text})


def read_by_hand(client: TestClient, hand: Hand, id: str) -> list[dict[str, Any]]:
    """Return the dataset, and the one that evaluates it, once they are read; all that is shown of them answers."""
    hand.work()
    main = client.get(f"/api/v1/datasets/{id}").json()
    found = [main, *(client.get(f"/api/v1/datasets/{other}").json() for other in main["eval_datasets"])]
    for row in found:
        shown = client.get(f"/api/v1/datasets/{row['id']}", params={"preview": 20})
        rows = client.get(f"/api/v1/datasets/{row['id']}/rows", params={"limit": 20})
        assert shown.status_code < 500 and rows.status_code < 500, (shown.text, rows.text)
    return found


@pytest.mark.parametrize("beast", [one for one in BEASTS if one.name != "endless.csv"], ids=lambda beast: beast.name)
def test_a_broken_file_is_met_by_name_and_never_by_a_fault_of_ours(client: TestClient, hand: Hand, beast: Beast,
                                                                  tmp_path: Path) -> None:
    answer = uploaded(client, beast, tmp_path)
    if answer.status_code != 201:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["kind"] == beast.kind and answer.json()["try_this"]
        return
    found = read_by_hand(client, hand, answer.json()["id"])
    assert {row["state"] for row in found} <= {"ready", "failed"}
    told = [row["error"] for row in found if row["error"]] + [one for row in found for one in row["findings"]]
    assert beast.kind in {one["kind"] for one in told}, told
    named = next(one for one in told if one["kind"] == beast.kind)
    assert named["what"] and named["try_this"] and "Traceback" not in json.dumps(told)
    if beast.level == "refused":
        assert found[0]["state"] == "failed" and beast.name in named["where"]
