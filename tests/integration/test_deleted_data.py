"""A run and its adapter still say what they were trained on when the dataset is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from beast import table
from byhand import Hand, by_hand

from db import adapters, datasets, exports, journal, leases, runs, users
from db.blobs import Blobs
from engine import events, spec
from engine.adapter import Trained
from engine.export.package import describe
from engine.export.readme import readme
from studio import comparison, records, run_view, service
from studio.pages import compare
from worker.jobs.export import MakeExport

ROWS = [(f"text number {i} of these", "pos" if i % 2 else "neg") for i in range(40)]


@pytest.fixture
def hand(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hand]:
    """An empty studio where work is done by hand."""
    with by_hand(monkeypatch) as made:
        yield made


def run(folder: Path, name: str) -> tuple[str, str]:
    """Return the ids of a dataset, read, and of a run that has learned from it and left an adapter."""
    user = users.local()
    (folder / f"{name}.csv").write_bytes(table([*ROWS, ("one more", name)]))
    dataset = service.add_dataset(user, folder / f"{name}.csv", name=name.title())
    document = {"task": "text_classification", "model": {"id": "tiny/bert"}, "data": {"train": dataset.id},
                "method": {"name": "lora"}}
    row = runs.create(user, spec.parse(document), dataset_id=dataset.id)
    claimed = leases.claim("wk_test", "cpu")
    assert claimed is not None
    done = {"metrics": {"accuracy": 0.9}, "adapter_bytes": 10, "labels": ["neg", "pos"]}
    journal.ingest(row.id, claimed.token, [events.RunStarted(seq=0), events.RunSucceeded(done, seq=1)])
    return dataset.id, row.id


def told(run_id: str, kind: Literal["zip", "merge"]) -> str:
    """Return the README of what the run left."""
    user = users.local()
    adapter = adapters.of_run(user, run_id)
    assert adapter is not None
    Blobs().place(f"{adapter.key}/studio.json").parent.mkdir(parents=True, exist_ok=True)
    order = MakeExport(exports.create(user, adapter.id, kind).id)
    order.take()
    facts = order.order()["facts"]
    return readme(describe(Trained(folder=Path("there"), kind="model", task="text_classification"), facts))


def test_names_outlive_the_dataset(hand: Hand, tmp_path: Path) -> None:
    user = users.local()
    (gone, first), (kept, second) = run(tmp_path, "tickets"), run(tmp_path, "letters")
    hand.work()
    assert "Training data: Tickets (tickets.csv)." in told(first, "zip")
    service.delete_dataset(user, gone)
    assert "Training data: Tickets (tickets.csv)." in told(first, "merge")
    picked = runs.latest(user, [first, second])
    names = compare._names(user, picked)
    assert names == {gone: "Tickets (deleted)", kept: "Letters"}
    assert "Tickets (deleted)" in comparison.differences(picked, names)
    assert gone not in comparison.differences(picked, names)
    assert "Tickets" in run_view.head(user, picked[0])
    assert records.run(picked[0])["data_names"] == {"train": {"name": "Tickets", "file": "tickets.csv"}}
    assert not datasets.find(user, search="tickets")


def test_an_adapter_without_its_run_names_the_file(hand: Hand, tmp_path: Path) -> None:
    facts = Trained(folder=tmp_path, kind="model", task="text_classification", data={"train": "tickets.csv"})
    assert "Training data: tickets.csv." in readme(describe(facts, {"spec": {"data": {"train": "ds_1"}}}))
