"""What is refused at the doors of REST and the command line is said in words, with the field and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

RAW = ("Input should", "Value error", "Field required", "unable to parse", "valid integer", "body:")


@pytest.mark.parametrize(("method", "path", "body", "where", "said"), [
    ("POST", "/datasets", {}, "hub", "The dataset's id on the Hub is missing."),
    ("GET", "/runs?limit=many", None, "limit", "Limit must be a whole number."),
    ("GET", "/runs?limit=5000", None, "limit", "Limit must be at most 1,000."),
    ("POST", "/predictions", {"adapters": ["ad_1"], "rows": []}, "body", "there is no row to ask about"),
    ("POST", "/predictions", {"adapters": ["ad_1"], "rows": [{"text": {}}]}, "rows.0.text", "must be a text"),
    ("POST", "/batches", {"options": 3}, "options", "Options must be an object of names and values."),
    ("POST", "/datasets/ds_1/steps/preview", {"rows": "all"}, "rows", "Rows must be a whole number.")])
def test_a_request_that_is_refused_says_which_field_in_words(client: TestClient, method: str, path: str, body: Any,
                                                             where: str, said: str) -> None:
    answer = client.request(method, f"/api/v1{path}", json=body)
    told = answer.json()
    assert answer.status_code == 422 and told["where"] == where and said in told["what"], told
    assert not any(raw in str(told) for raw in RAW) and told["try_this"]


def test_an_empty_document_is_told_what_to_send_for_a_dataset(client: TestClient) -> None:
    told = client.post("/api/v1/datasets", json={}).json()
    assert '{"hub": "organisation/name"}' in told["try_this"] and "form" in told["try_this"]


def test_adding_a_file_with_nothing_running_speaks_of_no_broker(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path / "studio"))
    (tmp_path / "rows.csv").write_text("text,label\none,a\ntwo,b\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "studio", "datasets", "add", str(tmp_path / "rows.csv")],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "uploaded" in done.stdout
    assert "No worker is running" in done.stderr and "broker" not in done.stderr and "Error" not in done.stderr
