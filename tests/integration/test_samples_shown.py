"""What a run's model writes at each evaluation: by REST, as a file, and under a slider on the run's page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db import journal, leases, runs, users
from db.blobs import Blobs
from engine import events, spec
from studio import cli, samples_view

ENTRIES: list[dict[str, Any]] = [
    {"step": step, "epoch": step / 10, "samples": [
        {"row": 3, "input": "Who is <b>it</b>?", "expected": "Tim", "written": f"answer {step}"},
        {"row": 9, "input": "Where?", "expected": "Rome", "written": ""}]} for step in (0, 10, 20)]


def running(attempts: int = 1) -> tuple[str, list[Path]]:
    """Add a run that `attempts` workers have begun; return its id and the attempts' folders."""
    document = {"task": "causal_lm", "model": {"id": "tiny/llama"}, "data": {"train": "ds_x"},
                "method": {"name": "lora"}}
    row = runs.create(users.local(), spec.parse(document), name="Writing")
    for number in range(1, attempts + 1):
        claimed = leases.claim("wk_test", "cpu")
        assert claimed is not None and claimed.token == number
        told = [events.RunStarted(seq=0), events.SamplesWritten(0, 2, seq=1)]
        journal.ingest(row.id, claimed.token, told + ([events.RunInterrupted(10, seq=2)] if number < attempts else []))
    folders = [Blobs().place(f"runs/{row.id}/attempt-{number}") for number in range(1, attempts + 1)]
    for folder in folders:
        folder.mkdir(parents=True)
    return row.id, folders


def write(folder: Path, entries: list[dict[str, Any]], torn: str = "") -> None:
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (folder / "samples.jsonl").write_text(lines + torn, encoding="utf-8")


def test_samples_come_by_rest_by_step_a_torn_line_aside(client: TestClient) -> None:
    run, (folder,) = running()
    assert client.get(f"/api/v1/runs/{run}/samples").json() == {"steps": []}
    write(folder, ENTRIES, '{"step": 30, "samp')
    assert client.get(f"/api/v1/runs/{run}/samples").json() == {"steps": ENTRIES}
    taken = client.get(f"/download/runs/{run}/samples.jsonl")
    assert taken.status_code == 200 and json.loads(taken.text.splitlines()[0]) == ENTRIES[0]
    assert client.get("/api/v1/runs/run_none/samples").status_code == 404


def test_the_command_line_shows_each_prompt_with_its_answers(client: TestClient,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    run, (folder,) = running()
    assert cli.main(["runs", "samples", run]) == 0 and "No samples" in capsys.readouterr().out
    write(folder, ENTRIES)
    assert cli.main(["runs", "samples", run]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == ["Who is <b>it</b>?", "       0  answer 0", "      10  answer 10", "      20  answer 20"]
    assert cli.main(["runs", "samples", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ENTRIES


def test_until_the_next_attempt_has_written_the_samples_of_the_last_one_are_shown(client: TestClient) -> None:
    run, folders = running(2)
    write(folders[0], ENTRIES[:2])
    assert client.get(f"/api/v1/runs/{run}/samples").json() == {"steps": ENTRIES[:2]}
    write(folders[1], ENTRIES)
    assert client.get(f"/api/v1/runs/{run}/samples").json() == {"steps": ENTRIES}


def test_the_page_shows_each_prompt_with_what_was_written_step_by_step() -> None:
    value = samples_view.shown(ENTRIES, 1200)
    assert value["steps"] == ["Before training", "After update 10 of 1,200", "After update 20 of 1,200"]
    assert [one["written"] for one in value["prompts"]] == [["answer 0", "answer 10", "answer 20"], ["", "", ""]]
    assert samples_view.shown([], None) == samples_view.NOTHING


def test_rows_that_an_earlier_evaluation_did_not_ask_have_nothing_there() -> None:
    fewer = [ENTRIES[0] | {"samples": ENTRIES[0]["samples"][:1]}, *ENTRIES[1:]]
    assert samples_view.shown(fewer, None)["prompts"][1]["written"] == [None, "", ""]
