"""What was learned, from a real run on a real worker to API, page and command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from rig import Rig, studio, until
from typer.testing import CliRunner

from db import adapters, exports, models, runs, workers
from db.settings import settings
from db.tables import Adapter
from engine import insight
from engine import spec as specs
from studio import api, choices, cli_adapters, insight_view, service, source_view
from studio.draft import Draft
from studio.guard import Guard
from worker import client

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    with studio(tmp_path_factory.mktemp("studio"), shared) as made:
        made.work()
        until(lambda: any(row.device.get("warm") for row in workers.find(made.user)), 90, "the nursery is cold")
        yield made


@pytest.fixture(scope="module")
def web(rig: Rig) -> Iterator[TestClient]:
    app = FastAPI()
    api.install(app)
    app.add_middleware(Guard, secret=settings().secret_key, host="127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made


def trained(rig: Rig, method: dict[str, Any]) -> Adapter:
    """Train a small classifier by this method; return its adapter."""
    document = {"task": "text_classification", "model": {"id": "local/bert-tiny"}, "method": method,
                "data": {"train": rig.dataset, "columns": {"text": "text", "label": "label"}},
                "training": {"epochs": 1, "batch_size": 8, "max_length": 32, "precision": "fp32"}}
    row = runs.create(rig.user, specs.parse(document), name=method["name"], dataset_id=rig.dataset)
    client.submit(row.id)
    ended = rig.ended(row.id)
    assert ended.state == "succeeded", ended.error
    made = adapters.of_run(rig.user, row.id)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def lora(rig: Rig) -> Adapter:
    return trained(rig, {"name": "lora", "r": 4})


def test_a_run_writes_down_what_it_learned_and_the_api_tells_it(rig: Rig, web: TestClient, lora: Adapter) -> None:
    found = web.get(f"/api/v1/adapters/{lora.id}/insight").json()
    assert found["state"] == "ready" and not exports.find(rig.user, adapter_id=lora.id)
    sections = {section["name"]: section for section in found["insight"]["sections"]}
    assert list(sections) == ["update_size", "directions", "parameters"] and found["insight"]["notes"] == []
    assert all(section["how"].endswith((".", "it.")) for section in sections.values())
    facts = sections["parameters"]["facts"]
    assert facts["stored"] == lora.parameters["stored"] and facts["trained"] == lora.parameters["trained"]
    assert facts["head"] == lora.parameters["head"] and facts["file_bytes"] == lora.bytes
    # Its training moved every matrix, and no update has more directions than its rank.
    rows = sections["update_size"]["parts"][1]["rows"]
    assert len(rows) == 12 and all(row[2] > 0 and 1 <= row[4] <= 4.001 for row in rows)
    assert web.get(f"/api/v1/runs/{lora.run_id}/insight").json() == found
    assert web.get("/api/v1/adapters/ad_nothing/insight").status_code == 404


def test_what_a_run_did_not_write_a_worker_works_out_the_same(rig: Rig, web: TestClient, lora: Adapter) -> None:
    beside = rig.folder / Path(lora.key).parent / insight.FILE
    written = insight.read(beside)
    assert written is not None
    kept = beside.rename(beside.with_suffix(".kept"))
    try:
        first = web.get(f"/api/v1/adapters/{lora.id}/insight").json()
        assert first["state"] in ("queued", "running") and first["insight"] is None
        assert insight_view.shown(service.learned(rig.user, lora.id), [])["sections"] == []
        found = until(lambda: service.learned(rig.user, lora.id).insight, 60, rig.tail)
        assert found.sections == written.sections
        drawn = insight_view.shown(service.learned(rig.user, lora.id), [])
        assert [one["name"] for one in drawn["sections"]] == ["update_size", "directions", "parameters"]
        assert drawn["sections"][0]["parts"][0]["figure"]["data"][0]["type"] == "heatmap"
        # The file that was worked out is gone with its row; what an older version wrote is asked for anew.
        made = next(one for one in exports.find(rig.user, adapter_id=lora.id) if one.kind == "insight")
        path = rig.folder / str(made.path)
        taken = web.get(f"/download/exports/{made.id}")
        assert taken.json() == json.loads(path.read_text()) and "insight.json" in taken.headers["content-disposition"]
        path.write_text(path.read_text().replace(f'"version":{insight.VERSION}', '"version":0'))
        assert service.learned(rig.user, lora.id).working
        assert until(lambda: service.learned(rig.user, lora.id).insight, 60, rig.tail) == found.model_copy(
            update={"seconds": service.learned(rig.user, lora.id).insight.seconds})  # type: ignore[union-attr]
    finally:
        kept.rename(beside)


def test_what_files_alone_do_not_tell_is_worked_out_on_the_base_model(rig: Rig) -> None:
    made = trained(rig, {"name": "oft"})
    beside = rig.folder / Path(made.key).parent / insight.FILE
    written = insight.read(beside)
    assert written is not None and [one.name for one in written.sections] == ["weight_change", "parameters"]
    beside.unlink()
    found = until(lambda: service.learned(rig.user, made.id).insight, 60, rig.tail)
    for one, other in zip(found.sections[0].parts[0].values, written.sections[0].parts[0].values, strict=True):  # type: ignore[union-attr]
        assert one == pytest.approx(other, rel=1e-3)


def test_what_cannot_be_worked_out_says_why_and_is_tried_again_on_demand(rig: Rig, web: TestClient) -> None:
    made = trained(rig, {"name": "bitfit"})
    folder = rig.folder / made.key
    (folder.parent / insight.FILE).unlink()
    weights = folder / "adapter_model.safetensors"
    shutil.copy(weights, folder / "kept")
    weights.write_bytes(b"torn")
    service.learned(rig.user, made.id)
    failed = until(lambda: (now := service.learned(rig.user, made.id)).state == "failed" and now, 60, rig.tail)
    assert failed.error and "damaged" in failed.error["what"]
    assert insight_view.shown(failed, [])["again"] and web.get(f"/api/v1/adapters/{made.id}/insight").json()["error"]
    (folder / "kept").replace(weights)
    assert web.post(f"/api/v1/adapters/{made.id}/insight").json()["state"] == "queued"
    found = until(lambda: service.learned(rig.user, made.id).insight, 60, rig.tail)
    assert found.sections[0].name == "bias_change"


def test_prompts_of_one_base_model_are_compared(rig: Rig, web: TestClient, lora: Adapter) -> None:
    one, other = (trained(rig, {"name": "prompt_tuning", "length": 4}) for _ in range(2))
    found = web.get(f"/api/v1/adapters/{one.id}/similar").json()["items"]
    assert [item["id"] for item in found] == [other.id]
    # The same run twice learns the same prompt.
    assert found[0]["averaged"] == pytest.approx(1, abs=1e-3) and found[0]["each"] < 0.999
    assert web.get(f"/api/v1/adapters/{lora.id}/similar").json() == {"items": []}


def test_a_prompt_names_those_a_new_run_may_start_from(rig: Rig, web: TestClient, lora: Adapter) -> None:
    one, other = (trained(rig, {"name": "prompt_tuning", "length": 6, "init": init})
                  for init in ("random", "vocabulary"))
    (best,) = web.get(f"/api/v1/adapters/{one.id}/sources").json()["items"]
    assert best["id"] == other.id, "one of another length cannot be started from"
    document = best["spec"]
    assert document["method"] == specs.parse(document).method.model_dump(mode="json")
    assert document["method"]["start_from"] == other.id
    again = runs.create(rig.user, specs.parse(document), name="again", dataset_id=rig.dataset)
    client.submit(again.id)
    assert rig.ended(again.id).state == "succeeded"
    assert f'adapter={other.id}"' in source_view.ranked(rig.user, one.id)
    assert f"start_from%22%3A%22{other.id}" in source_view.ranked(rig.user, one.id)
    refused = web.get(f"/api/v1/adapters/{lora.id}/sources")
    assert refused.status_code == 422 and refused.json()["kind"] == "no_prompt_sources"
    listed = CliRunner().invoke(cli_adapters.app, ["sources", one.id, "--json"])
    now = [item["id"] for item in json.loads(listed.stdout)]
    assert len(now) == 2 and other.id in now, "what came of starting from it is a source as well"


def test_a_source_is_looked_at_before_the_run_is_queued(rig: Rig, lora: Adapter) -> None:
    source = trained(rig, {"name": "prompt_tuning", "length": 3})
    service.add_model(rig.user, "local/bert-tiny")
    until(lambda: any(row.state == "ready" for row in models.find(rig.user)), 60, rig.tail)

    def met(method: dict[str, Any]) -> list[str]:
        found = service.check(rig.user, {
            "task": "text_classification", "model": {"id": "local/bert-tiny"}, "method": method,
            "data": {"train": rig.dataset, "columns": {"text": "text", "label": "label"}}})
        return [one.kind for one in found.obstacles]

    prompt = {"name": "prompt_tuning", "length": 3}
    assert met(prompt | {"start_from": source.id}) == []
    assert met(prompt | {"start_from": "ad_nonsense"}) == ["source_missing"]
    assert met(prompt | {"start_from": lora.id}) == ["not_a_prompt"]
    assert met(prompt | {"length": 4, "start_from": source.id}) == ["prompt_mismatch"]
    draft = Draft(rig.dataset, task="text_classification", model="local/bert-tiny", method="prompt_tuning",
                  values={"method.prompt_tuning": {"length": 3, "start_from": "ad_nonsense"}})
    (offered,) = (field for group in choices.settings_shown(rig.user, draft)["groups"] for field in group["fields"]
                  if field["name"] == "start_from")
    listed = {option["value"]: option["label"] for option in offered["options"]}
    assert listed[""] == "None" and source.id in listed and lora.id not in listed
    assert "cannot be started from" in listed["ad_nonsense"]


def test_the_command_line_tells_it_to_programs_and_to_people(rig: Rig, lora: Adapter) -> None:
    def told(*more: str) -> str:
        found = CliRunner().invoke(cli_adapters.app, ["insight", lora.id, *more])
        assert found.exit_code == 0, found.output
        return found.stdout

    document = json.loads(told("--json"))
    assert [one["name"] for one in document["sections"]] == ["update_size", "directions", "parameters"]
    assert document["similar_prompts"] == []
    text = told()
    assert "How much each matrix changed" in text and "bert.encoder.layer.1" in text
