"""Recommended settings through every door: the Train page, REST and the command line's words."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from fastapi.testclient import TestClient

from db import datasets, models, users
from db.users import User
from engine import models as bases
from engine import skeleton, tiny
from engine.errors import StudioError
from engine.shape import ModelShape
from studio import advice_view, choices, cli_advice, method_view, service, session
from studio.draft import Draft, from_query
from studio.pages import train

STATS = {"rows": 480, "label_count": 3, "characters": {"mean": 60.0, "p95": 148.0}}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelShape:
    """The shape of a tiny encoder."""
    return bases.inspect(tiny.folder("bert", tmp_path_factory.mktemp("bert")))


def stored(shape: ModelShape, user: User | None = None, ref: str = "local/small") -> None:
    """Add a base model as if it had been measured."""
    owner = user or users.local()
    row = models.create(owner, ref=ref, source="local", state="ready")
    models.update(owner, row.id, shape=shape.model_dump(mode="json"))


def dataset(**values: Any) -> str:
    """Add a dataset as if it had been read; returns its id."""
    given: dict[str, Any] = {"task": "text_classification", "columns": {"text": "text", "label": "label"}, "rows": 480,
                             "source": {"columns": ["text", "label"]}, "stats": STATS}
    return datasets.create(users.local(), name="tickets", state="ready", **(given | values)).id


def question(train_on: str, **parts: Any) -> dict[str, Any]:
    """Return a document that asks for advice."""
    return {"task": "text_classification", "model": {"id": "local/small"}, "data": {"train": train_on}} | parts


def test_advice_is_a_spec_that_the_same_studio_would_start(client: TestClient, bert: ModelShape) -> None:
    stored(bert)
    answer = client.post("/api/v1/advice", json=question(dataset()))
    assert answer.status_code == 200
    advice, spec = answer.json()["advice"], answer.json()["spec"]
    assert advice["method"]["name"] == spec["method"]["name"] == "lora" and spec["method"]["r"] == 4
    # 5 % of 480 rows or more are kept aside; 148 characters are 62 tokens at the very most.
    assert spec["training"]["max_length"] == 64
    told = next(reason["rule"] for reason in advice["reasons"] if reason["setting"] == "max_length")
    assert "estimated" in told and "148 characters" in told and "fit" not in told
    assert all(reason["rule"] and reason["source"] for reason in advice["reasons"])
    assert client.post("/api/v1/breakdown", json=spec).json()["ready"] is True


def test_settings_that_advice_does_not_speak_of_are_kept(client: TestClient, bert: ModelShape) -> None:
    stored(bert)
    asked = question(dataset(), training={"seed": 7, "epochs": 1}, method={"name": "bitfit"}, name="Mine")
    spec = client.post("/api/v1/advice", json=asked).json()["spec"]
    assert spec["training"]["seed"] == 7 and spec["training"]["epochs"] == 5 and spec["method"]["name"] == "lora"


@pytest.mark.parametrize(("changes", "status", "kind"), [
    ({"data": {"train": "ds_none"}}, 404, "not_found"),
    ({"model": {"id": "local/none"}}, 409, "model_not_added"),
    ({"task": "causal_lm"}, 422, "role_missing"),
    ({"training": {"epoch": 3}}, 422, "unknown_key"),
])
def test_what_no_method_could_train_on_is_refused_as_a_run_would_be(
        client: TestClient, bert: ModelShape, changes: dict[str, Any], status: int, kind: str) -> None:
    stored(bert)
    answer = client.post("/api/v1/advice", json=question(dataset()) | changes)
    assert (answer.status_code, answer.json()["kind"]) == (status, kind)


def test_a_base_model_is_waited_for_only_where_it_was_added(client: TestClient) -> None:
    asked = question(dataset(), model={"id": "local/small"}, method={"name": "lora"})
    (told,) = client.post("/api/v1/breakdown", json=asked).json()["obstacles"]
    assert told["kind"] == "model_not_added" and "has not been added" in told["what"]
    for way in ("page Models", "peft-studio models add local/small", "POST /api/v1/models"):
        assert way in told["try_this"]
    models.create(users.local(), ref="local/small", source="local", state="queued")
    (told,) = client.post("/api/v1/breakdown", json=asked).json()["obstacles"]
    assert told["kind"] == "model_not_ready" and "(queued)" in told["what"] and "measured" in told["try_this"]


def test_another_persons_dataset_gets_no_advice(client: TestClient, bert: ModelShape) -> None:
    stranger = users.create("stranger")
    stored(bert, stranger)
    with pytest.raises(StudioError) as refused:
        service.advise(stranger, question(dataset()))
    assert refused.value.kind == "not_found"


def test_one_click_sets_the_form_and_the_address(client: TestClient, bert: ModelShape,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    stored(bert)
    user = users.local()
    before = Draft(dataset(), task="text_classification", model="local/small", method="bitfit",
                   values={"training": {"seed": 7}})
    found = advice_view.advice_for(user, before)
    assert found is not None and not advice_view.follows(before, found)
    after = advice_view.applied(before, found)
    assert advice_view.follows(after, found) and after.values["training"]["seed"] == 7
    monkeypatch.setattr(session, "user", lambda _: user)
    chosen = train._everything(user, before)[:6]
    for part, value in zip(("dataset", "eval", "task", "model", "method"), chosen, strict=False):
        assert value["chosen"], part
    shown = train._apply(*chosen, request=SimpleNamespace(headers={}, query_params={}))
    assert shown[4]["chosen"] == "lora" and shown[5]["values"]["method.lora"]["r"] == 4
    address = next(value for value in shown if isinstance(value, str) and value.startswith("?"))
    assert from_query(dict(parse_qsl(address[1:]))).values["method.lora"]["r"] == 4


def test_weak_methods_carry_a_caution_and_the_chosen_one_its_card(client: TestClient, bert: ModelShape) -> None:
    stored(bert)
    now = choices.look(users.local(), Draft(dataset(), task="text_classification", model="local/small"))
    cautions = {option["value"]: option["caution"] for option in choices.methods_shown(now)["options"]}
    assert cautions["lora"] == ""
    if "prompt_tuning" in cautions:
        assert "1B" in cautions["prompt_tuning"]
    shown = method_view.about("lora")
    assert "<svg" in shown and "B·A" in shown and "arxiv.org/abs/2106.09685" in shown


def test_advice_on_a_large_model_takes_less_than_a_tenth_of_a_second(client: TestClient) -> None:
    from transformers import LlamaConfig

    stored(skeleton.shape_of(LlamaConfig()))
    asked = question(dataset(task="causal_lm", columns={"text": "text"}), task="causal_lm")
    service.advise(users.local(), asked)
    began = time.perf_counter()
    found = service.advise(users.local(), asked)
    assert time.perf_counter() - began < 0.1
    assert found.advice.method["name"] == "lora"


def test_the_command_line_shows_rule_and_source(client: TestClient, bert: ModelShape,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    stored(bert)
    cli_advice.show(service.advise(users.local(), question(dataset())), as_json=False)
    text = capsys.readouterr().out
    assert "LoRA Without Regret" in text and "peft-studio train" in text and "--r 4" in text
