"""The images that a run's model gets wrong: by REST, and as a grid on the run's page."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pictures
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from db import adapters, datasets, journal, leases, migrate, models, runs, users
from db.blobs import Blobs
from db.session import database
from db.settings import settings
from engine import events, spec
from studio import api, deletions, error_grid
from studio.guard import Guard
from studio.service.suspects import evaluated_on

RECORDS = [
    {"row": 3, "input": "bees/<b>3</b>.png", "expected": "bee & co", "predicted": "ant", "confidence": 0.93,
     "loss": 2.7, "correct": False, "asked": {"image": "examples/3.png"}},
    {"row": 5, "input": "ants/5.png", "expected": "ant", "predicted": "bee & co", "confidence": 0.6, "loss": 0.9,
     "correct": False, "asked": {}},
    {"row": 4, "input": "ants/4.png", "expected": "ant", "predicted": "ant", "confidence": 0.6, "loss": 0.5,
     "correct": True, "asked": {"image": "examples/4.png"}}]


@pytest.fixture
def client(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of a studio without accounts and without a worker."""
    monkeypatch.delenv("STUDIO_BROKER_URL", raising=False)
    settings.cache_clear()
    migrate.upgrade()
    app = FastAPI()
    api.install(app)
    app.add_middleware(Guard, secret=settings().secret_key, host="127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made
    database().dispose()
    settings.cache_clear()


def evaluated() -> tuple[str, Path]:
    """Add a run that evaluated images; return its id and folder."""
    document = {"task": "image_classification", "model": {"id": "tiny/vit"}, "data": {"train": "ds_x"},
                "method": {"name": "head"}}
    row = runs.create(users.local(), spec.parse(document), name="Ants")
    claimed = leases.claim("wk_test", "cpu")
    assert claimed is not None
    journal.ingest(row.id, claimed.token, [events.RunStarted(seq=0), events.PredictionsRecorded(3, seq=1)])
    folder = Blobs().place(f"runs/{row.id}/attempt-1")
    (folder / "examples").mkdir(parents=True)
    (folder / "examples" / "3.png").write_bytes(pictures.data(pictures.noise("reddish", 3, (300, 200))))
    (folder / "examples" / "9.jpg").write_bytes(b"no image at all")
    (folder / "examples.json").write_text(json.dumps({"worst": RECORDS, "best": []}), encoding="utf-8")
    return row.id, folder


def test_an_image_of_a_prediction_comes_small_and_only_where_there_is_one(client: TestClient) -> None:
    run, _ = evaluated()
    found = client.get(f"/api/v1/runs/{run}/examples/3/image?size=64")
    assert (found.status_code, found.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(found.content)).size[0] == 64
    assert client.get(f"/api/v1/runs/{run}/examples/4/image").status_code == 404
    assert client.get(f"/api/v1/runs/{run}/examples/9/image").status_code in (400, 422)
    assert client.get(f"/api/v1/runs/{run}/examples/..%2F3/image").status_code in (404, 422)
    assert client.get("/api/v1/runs/run_none/examples/3/image").status_code == 404


def test_wrong_predictions_are_tiles_with_both_labels_and_alt_texts(client: TestClient) -> None:
    run, folder = evaluated()
    drawn = error_grid.draw(users.local(), runs.get(users.local(), run))
    assert drawn.count("<li>") == 2 and drawn.count("<img ") == 1
    assert f'/api/v1/runs/{run}/examples/3/image' in drawn
    assert 'alt="bees/&lt;b&gt;3&lt;/b&gt;.png: bee &amp; co, taken for ant"' in drawn
    assert "Expected <b>bee &amp; co</b>" in drawn and "Predicted <b>ant</b>" in drawn and "93 %" in drawn
    assert "too large to be kept" in drawn
    (folder / "examples.json").write_text(json.dumps({"worst": RECORDS[2:], "best": []}), encoding="utf-8")
    assert "None of the evaluation images" in error_grid.draw(users.local(), runs.get(users.local(), run))


def test_images_and_rows_that_went_are_said_to_have_gone(client: TestClient) -> None:
    run, folder = evaluated()
    (folder / "examples" / "3.png").unlink()
    drawn = error_grid.draw(users.local(), runs.get(users.local(), run))
    assert "<img" not in drawn and "bees/&lt;b&gt;3&lt;/b&gt;.png is no longer there" in drawn
    assert "The dataset was deleted since" in drawn


def test_rows_of_a_deleted_evaluation_file_are_not_looked_for_in_the_rows_learned_from(client: TestClient) -> None:
    user = users.local()
    learned, judged = (datasets.create(user, name=name) for name in ("insects", "insects (evaluation)"))
    document = {"task": "image_classification", "model": {"id": "tiny/vit"}, "method": {"name": "head"},
                "data": {"train": learned.id, "eval": judged.id}}
    run = runs.create(user, spec.parse(document), dataset_id=learned.id, eval_dataset_id=judged.id)
    assert evaluated_on(run) == judged.id
    runs.ask_stop(user, run.id, "discard")
    datasets.delete(user, judged.id)
    assert evaluated_on(runs.get(user, run.id)) is None
    own = runs.create(user, spec.parse(document | {"data": {"train": learned.id}}), dataset_id=learned.id)
    assert evaluated_on(own) == learned.id


def test_what_goes_with_a_dataset_or_a_model_is_said_before(client: TestClient) -> None:
    user = users.local()
    learned = datasets.create(user, name="insects")
    judged = datasets.create(user, name="insects (evaluation)", eval_of_id=learned.id)
    assert deletions.dataset(user, learned, [])["detail"] == "The file and what was read from it go."
    document = {"task": "image_classification", "model": {"id": "tiny/vit"}, "method": {"name": "head"},
                "data": {"train": learned.id, "eval": judged.id}}
    for _ in range(2):
        runs.create(user, spec.parse(document), dataset_id=learned.id, eval_dataset_id=judged.id)
    assert deletions.dataset(user, learned, [judged])["detail"] == (
        "The file and what was read from it go, and the file it is evaluated on, 'insects (evaluation)', too. "
        "2 runs used it: they stay, but cannot be started again on its rows.")
    base = models.create(user, ref="tiny/vit", title="Tiny")
    assert deletions.model(user, base)["detail"] == "Files the studio keeps of it are deleted."
    adapters.publish(user, name="Ants", key="adapters/a", task="image_classification", method="head", model=base.ref)
    assert deletions.model(user, base)["detail"].startswith(
        "1 adapter needs it: it stays, but cannot be used until it is added again.")
