"""Combining adapters on a real worker: from the service, the REST API and the command line; stopped and refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from rig import Rig, studio, until

from db import adapters, compositions, datasets, exports
from db.settings import settings
from engine.compose import NeedsExamples
from engine.parents import TooFew
from engine.recipe import Recipe
from studio import api, cli, cli_stack, service
from studio.guard import Guard
from studio.service.compositions import AdapterTwice

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    with studio(tmp_path_factory.mktemp("combining") / "data", shared) as made:
        made.work()
        datasets.update(made.user, made.dataset, columns={"text": "text", "label": "label"},
                        task="text_classification")
        yield made


@pytest.fixture(scope="module")
def pair(rig: Rig) -> list[str]:
    """The ids of two adapters of one base model and one task."""
    waiting = [rig.train(name=name, seed=seed) for seed, name in enumerate(("left", "right"))]
    found = [adapters.of_run(rig.user, rig.ended(id).id) for id in waiting]
    return [row.id for row in found if row is not None]


def settled(rig: Rig, repository: Any, id: str) -> Any:
    until(lambda: repository.get(rig.user, id).state in compositions.ENDED, 60, rig.tail)
    return repository.get(rig.user, id)


def test_a_composed_adapter_has_a_lineage_and_is_packed_and_asked_like_a_trained_one(
        rig: Rig, pair: list[str]) -> None:
    made = service.compose(rig.user, pair, Recipe(how="lorahub", examples=20, evaluations=8), dataset_id=rig.dataset)
    row = settled(rig, compositions, made.id)
    assert row.state == "ready", row.error
    assert len(row.result["tries"]) == 8
    adapter = adapters.get(rig.user, row.adapter_id)
    assert adapter.composed is not None and adapter.composed["way"] == "LoraHub"
    assert [(one["id"], one["weight"]) for one in adapter.parents] == list(zip(pair, row.result["weights"],
                                                                               strict=True))
    assert adapter.metrics == row.result["comparison"][-1]["metrics"] and adapter.dataset_id == rig.dataset
    assert sorted(path.name for path in (rig.folder / adapter.key).parent.iterdir()) == [
        "adapter", "environment.json", "result.json", "spec.json"]
    for kind in ("zip", "merge"):
        path = rig.folder / settled(rig, exports, service.export(rig.user, adapter.id, kind).id).path
        with zipfile.ZipFile(path) as archive:
            readme = next(name for name in archive.namelist() if name.endswith("README.md"))
            assert kind == "merge" or "combined (LoraHub) of left (" in archive.read(readme).decode()
    asked = service.ask(rig.user, {"adapters": [*pair, adapter.id], "rows": [{"text": "What is a city ?"}]})
    result = service.answer(rig.user, asked.id).result
    assert result is not None and len(result["answers"]) == 3
    assert all(sum(one[0]["scores"].values()) == pytest.approx(1) for one in result["answers"])
    again = service.compose(rig.user, [adapter.id, pair[0]], Recipe())
    assert settled(rig, compositions, again.id).state == "ready", "what was composed can be composed again"
    service.delete_adapter(rig.user, adapter.id)
    assert not (rig.folder / "composed" / made.id).exists()


def test_a_combination_is_stopped_while_it_searches_and_leaves_nothing(rig: Rig, pair: list[str]) -> None:
    made = service.compose(rig.user, pair, Recipe(how="lorahub", examples=100, evaluations=2000),
                           dataset_id=rig.dataset)
    until(lambda: compositions.get(rig.user, made.id).live.get("points"), 60, rig.tail)
    live = compositions.get(rig.user, made.id).live
    assert live["text"] == "Finding weights" and live["of"] == 2000 and len(live["weights"]) == 2
    service.cancel_composition(rig.user, made.id)
    row = settled(rig, compositions, made.id)
    assert row.state == "cancelled" and row.adapter_id is None
    assert not (rig.folder / "composed" / made.id).exists()


def test_what_does_not_fit_is_refused_before_anything_is_queued(rig: Rig, pair: list[str]) -> None:
    before = len(compositions.find(rig.user))
    for ids, recipe, kind in ((pair[:1], Recipe(), TooFew), ([pair[0]] * 2, Recipe(), AdapterTwice),
                              (pair, Recipe(how="lorahub"), NeedsExamples)):
        with pytest.raises(kind):
            service.compose(rig.user, ids, recipe)
    assert len(compositions.find(rig.user)) == before


def test_adapters_are_combined_over_rest(rig: Rig, pair: list[str]) -> None:
    app = FastAPI()
    api.install(app)
    app.add_middleware(Guard, secret=settings().secret_key, host="127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        asked = {"adapters": pair, "how": "ties", "density": 0.3, "weights": [1, 0.5], "name": "Mine"}
        for wrong, kind in (({"how": "blend"}, "request_invalid"), ({"strength": 1}, "request_invalid"),
                            ({"adapters": pair[:1]}, "too_few_adapters"), ({"weights": [1]}, "weights_invalid"),
                            ({"adapters": [pair[0], "ad_none"]}, "not_found"), ({"how": "average"}, "not_a_prompt")):
            assert client.post("/api/v1/adapters/compose", json=asked | wrong).json()["kind"] == kind
        made = client.post("/api/v1/adapters/compose", json=asked)
        assert made.status_code == 202, made.text
        path = f"/api/v1/compositions/{made.json()['id']}"
        until(lambda: client.get(path).json()["state"] in compositions.ENDED, 60, rig.tail)
        row = client.get(path).json()
        assert row["state"] == "ready" and row["recipe"]["density"] == 0.3 and row["result"]["comparison"] == []
        adapter = client.get(f"/api/v1/adapters/{row['adapter_id']}").json()
        assert adapter["name"] == "Mine" and [one["weight"] for one in adapter["parents"]] == [1, 0.5]
        assert client.post(f"{path}/cancel").json()["state"] == "ready", "what is over stays as it is"
        assert row["id"] in [one["id"] for one in client.get("/api/v1/compositions").json()["items"]]


def test_adapters_are_combined_on_the_command_line(rig: Rig, pair: list[str],
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    until(cli_stack.worker_there, 60, "no worker")
    words = ["adapters", "compose", "--adapters", ",".join(pair), "--dataset", rig.dataset]
    capsys.readouterr()
    assert cli.main([*words, "--how", "svd", "--rank", "2", "--weights", "0.5,-0.25", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["result"]["rank"] == 2 and made["result"]["weights"] == [0.5, -0.25]
    assert cli.main([*words, "--how", "linear"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("left", "Their mean", "Composed", "accuracy", "plain mean"))
    assert cli.main(["adapters", "show", made["adapter_id"]]) == 0
    assert "left (0.5), right (-0.25)" in capsys.readouterr().out
    assert cli.main([*words, "--how", "blend"]) == 2
    assert "how" in capsys.readouterr().err
