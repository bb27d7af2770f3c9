"""Folders and archives added as they are: rows to learn from, rows to evaluate on, and parts a person picks."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from db import datasets, users
from db.blobs import Blobs
from db.settings import settings
from db.tables import Dataset
from engine.data.errors import NothingInside
from studio import data_view, service
from worker.orders import inspect_dataset

pytestmark = pytest.mark.usefixtures("fresh")

ROWS = [(f"ticket number {i} is about {word}", word) for i in range(20) for word in ("money", "travel")]
TABLE = "\n".join("\t".join(row) for row in [("text", "label"), *ROWS])
BARE = "\n".join("\t".join(row) for row in ROWS[:6])


class Quiet:
    """The line of an order nobody listens to."""

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell nobody."""

    def cancelled(self) -> bool:
        """Nobody changes their mind."""
        return False


def inspected(row: Dataset, folder: Path) -> dict[str, Any]:
    """Return what a worker finds in a dataset, as it is stored with it."""
    order = {"original": str(Blobs().local(row.original_key or "")), "parquet": str(folder / f"{row.id}.parquet"),
             "source": row.source}
    return json.loads(json.dumps(inspect_dataset.carry_out(order, Quiet())))  # pyright: ignore[reportArgumentType]


def packed(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_a_folder_is_added_with_its_part_to_evaluate_on(tmp_path: Path) -> None:
    from studio.cli import app

    folder = tmp_path / "tickets"
    folder.mkdir()
    for name, content in {"train.tsv": TABLE, "val.tsv": BARE, "SOURCE.txt": "somewhere"}.items():
        (folder / name).write_text(content)
    done = CliRunner().invoke(app, ["datasets", "add", str(folder), "--no-wait", "--json"])
    assert done.exit_code == 0, done.output
    main = datasets.get(users.local(), json.loads(done.stdout)["id"])
    other, = datasets.find(users.local(), eval_of_id=main.id)
    assert (main.name, main.filename, other.filename) == ("tickets", "tickets.zip", "val.tsv")
    first, second = inspected(main, tmp_path), inspected(other, tmp_path)
    assert (first["rows"], first["columns"], first["task"]) == (40, {"text": "text", "label": "label"},
                                                                "text_classification")
    assert (second["rows"], second["source"]["columns"]) == (6, ["text", "label"])
    assert not any((settings().data_dir / "uploads").glob("parts-*"))


def test_an_uploaded_archive_brings_both_and_a_part_can_be_picked(client: TestClient, tmp_path: Path) -> None:
    content = packed(**{"data/train.tsv": TABLE, "data/test.tsv": TABLE, "data/README.md": "about"})
    made = client.post("/api/v1/datasets", files={"file": ("tickets.zip", content)})
    assert made.status_code == 201, made.text
    assert len(client.get(f"/api/v1/datasets/{made.json()['id']}").json()["eval_datasets"]) == 1
    picked = client.post("/api/v1/datasets", files={"file": ("tickets.zip", content)}, data={"part": "test.tsv"})
    row = datasets.get(users.local(), picked.json()["id"])
    assert inspected(row, tmp_path)["rows"] == 40 and not datasets.find(users.local(), eval_of_id=row.id)
    refused = client.post("/api/v1/datasets", files={"file": ("tickets.zip", content)}, data={"part": "none.tsv"})
    assert (refused.status_code, refused.json()["kind"]) == (422, "part_missing")
    assert len(datasets.find(users.local())) == 3


def test_a_sheet_can_be_picked_and_stays_picked_when_its_header_is_corrected(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("More").append(("why is it late", "delay"))
    for row in ROWS:
        book["More"].append(row)
    book.save(tmp_path / "book.xlsx")
    row = service.add_dataset(users.local(), tmp_path / "book.xlsx", part="More")
    assert inspected(row, tmp_path)["rows"] == 40
    datasets.update(users.local(), row.id, state="ready", parquet_key="rows")
    row = service.set_header(users.local(), row.id, False)
    assert (row.source or {})["part"] == "More" and inspected(row, tmp_path)["rows"] == 41


def test_another_part_can_be_read_later(client: TestClient, tmp_path: Path) -> None:
    content = packed(**{"train.tsv": TABLE, "test.tsv": TABLE, "more.tsv": TABLE + "\n" + BARE})
    made = client.post("/api/v1/datasets", files={"file": ("tickets.zip", content)}).json()
    row = datasets.get(users.local(), made["id"])
    found = inspected(row, tmp_path)
    assert found["source"]["parts"] == ["more.tsv", "test.tsv", "train.tsv"]
    row = datasets.update(users.local(), row.id, state="ready", parquet_key="rows", source=found["source"])
    assert data_view.part(row).visible
    changed = client.patch(f"/api/v1/datasets/{row.id}", json={"part": "more.tsv"})
    assert changed.status_code == 200, changed.text
    row = datasets.get(users.local(), row.id)
    assert (row.state, inspected(row, tmp_path)["rows"]) == ("uploaded", 46)


def test_columns_that_reading_added_can_be_mapped(tmp_path: Path) -> None:
    lines = [{"instruction": f"add one to {i}", "input": str(i), "output": str(i + 1)} for i in range(9)]
    (tmp_path / "tasks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    row = service.add_dataset(users.local(), tmp_path / "tasks.jsonl")
    found = inspected(row, tmp_path)
    datasets.update(users.local(), row.id, state="ready", source=found["source"], findings=found["findings"],
                    task=found["task"], parquet_key="rows")
    row = service.set_roles(users.local(), row.id, {"prompt": "prompt", "completion": "output"}, task="causal_lm")
    assert row.columns == {"prompt": "prompt", "completion": "output"}


def test_a_folder_without_rows_is_refused_at_once(tmp_path: Path) -> None:
    from studio.cli import app

    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "LICENSE").write_text("mine")
    done = CliRunner().invoke(app, ["datasets", "add", str(tmp_path / "empty")])
    assert isinstance(done.exception, NothingInside) and done.exception.exit_code == 2
    assert not datasets.find(users.local())
