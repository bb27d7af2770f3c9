"""Rows longer than the maximum length are told before a run, wherever it is asked about, and in its log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from byhand import Hand, add, at
from fastapi.testclient import TestClient

from db import models, users
from engine import events as happened
from engine import models as bases
from engine import train as engine_train
from studio import advice_view, cli_dry_run, data_tokens, form, preview, service
from studio.draft import Draft
from studio.pages import train
from studio.service import Check

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "contract"))

import toys

pytestmark = pytest.mark.usefixtures("hand")

LONG = "many words that go on and on " * 3


@pytest.fixture
def asked(hand: Hand) -> dict[str, Any]:
    """A run's document on ten rows, half of them long, for a tiny encoder that was measured."""
    row = add(hand, {"text": ["pay the bill", LONG] * 5, "label": ["good", "bad"] * 5})
    base = models.create(users.local(), ref="tiny/bert", source="tiny", state="ready")
    found = bases.locate("tiny/bert")
    models.update(users.local(), base.id, shape=bases.inspect(found.path).model_dump(mode="json"))
    return {"task": "text_classification", "model": {"id": "tiny/bert"}, "data": {"train": row.id},
            "method": {"name": "lora"}, "training": {"max_length": 32}}


def checked(asked: dict[str, Any], length: int) -> Check:
    return service.check(users.local(), asked | {"training": {"max_length": length}})


def kinds(found: Check) -> list[tuple[str, str]]:
    return [(one["kind"], one["level"]) for one in found.warnings]


def test_what_is_cut_is_told_once_the_rows_were_counted(client: TestClient, hand: Hand, asked: dict[str, Any],
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert kinds(checked(asked, 32)) == [] and not hand.rung
    first = client.post("/api/v1/advice", json=asked).json()["advice"]
    assert any("estimated" in reason["rule"] for reason in first["reasons"])
    assert [job for job, _, _ in hand.rung] == ["look"]
    hand.work()
    found = checked(asked, 32)
    assert kinds(found) == [("too_long", "warning")] and "50.0 % of the rows" in found.warnings[0]["what"]
    assert client.post("/api/v1/breakdown", json=asked).json()["warnings"] == found.warnings
    assert "50.0 % of the rows" in preview.reasons(found, [])
    cli_dry_run.describe(found, as_json=False)
    assert "Warning: 50.0 % of the rows are longer than 32 tokens" in capsys.readouterr().err
    assert not checked(asked, 128).warnings
    advice = service.advise(users.local(), asked).advice
    assert any("counted in this model's tokens" in reason.rule for reason in advice.reasons)


def test_a_run_that_cuts_every_row_is_asked_about(client: TestClient, hand: Hand, asked: dict[str, Any]) -> None:
    client.post("/api/v1/advice", json=asked)
    hand.work()
    what = checked(asked, 8).warnings[0]["what"]
    assert what.startswith("All rows are longer than 8 tokens") and what.endswith("?")


def test_a_length_beyond_the_models_limit_is_told_and_counts_as_the_limit(asked: dict[str, Any]) -> None:
    limit = service.shape_of(models.by_ref(users.local(), "tiny/bert", None)).max_length  # type: ignore[arg-type]
    beyond, there = checked(asked, 99_999), checked(asked, limit)
    assert kinds(beyond) == [("max_length_beyond", "warning")] and f"{limit:,} tokens" in beyond.warnings[0]["what"]
    assert beyond.breakdown is not None and there.breakdown is not None
    assert beyond.breakdown.memory == there.breakdown.memory and not there.warnings


def test_the_train_page_waits_for_the_count_and_then_says_what_the_api_says(
        client: TestClient, hand: Hand, asked: dict[str, Any]) -> None:
    user = users.local()
    # The form sends every setting of the task, also those that nobody touched.
    groups = Draft(asked["data"]["train"], task=asked["task"], model="tiny/bert").groups()
    draft = Draft(asked["data"]["train"], task=asked["task"], model="tiny/bert",
                  values={group.key: form.defaults(group.model, group.skip) for group in groups})
    page = train._everything(user, draft)
    assert "Tokens are being counted; until then estimated" in page[8] and page[-1].active
    hand.work()
    page = train._everything(user, draft)
    assert "counted in this model" in page[8] and "being counted" not in page[8] and not page[-1].active
    advice = client.post("/api/v1/advice", json={name: asked[name] for name in ("task", "model", "data")}).json()
    found = advice_view.advice_for(user, draft)
    assert found is not None and found.model_dump(mode="json") == advice["advice"]
    follows = advice_view.applied(draft, found)
    assert follows.values["training"]["max_length"] == advice["spec"]["training"]["max_length"]
    assert advice_view.follows(follows, found)


def test_only_lengths_that_the_model_takes_are_offered(hand: Hand, asked: dict[str, Any]) -> None:
    user, row = users.local(), asked["data"]["train"]
    known = models.by_ref(user, "tiny/bert", None)
    assert known is not None
    limit = service.shape_of(known).max_length
    offered = [int(one["value"]) for one in data_tokens._lengths(known)["options"]]
    assert max(offered) == limit and min(offered) == data_tokens.LENGTHS[0]
    assert max(int(one["value"]) for one in data_tokens._lengths(None)["options"]) == data_tokens.LENGTHS[-1]
    with pytest.raises(service.looks.BadLength) as refused:
        service.looks.batch(user, row, "tiny/bert", limit + 1)
    assert str(limit) in refused.value.what and at(service.datasets.datasets.get(user, row))


def test_a_run_logs_how_many_rows_it_cut(tmp_path: Path, shared: Path) -> None:
    spec = toys.spec(shared, toys.texts(tmp_path), epochs=1, max_length=8)
    told: list[happened.Event] = []
    engine_train.run(spec, tmp_path / "out", on_event=told.append)
    prepared = next(event for event in told if isinstance(event, happened.RunPrepared))
    warned = [event.text for event in told if isinstance(event, happened.Logged) and event.level == "warning"]
    assert prepared.truncated and any("were cut (max length 8 tokens)" in text and "Raise max length" in text
                                      for text in warned), warned


def test_a_prompt_that_fills_every_place_is_told_once_and_one_that_leaves_few_says_which_setting_is_too_large(
        asked: dict[str, Any]) -> None:
    limit = service.shape_of(models.by_ref(users.local(), "tiny/bert", None)).max_length  # type: ignore[arg-type]

    def with_prompt(length: int) -> Check:
        return service.check(users.local(), asked | {"method": {"name": "prompt_tuning", "length": length}})
    full = with_prompt(limit + 88)
    (told,) = full.obstacles
    assert full.warnings == [] and f"{limit + 88} of the {limit} places" in told.what
    (one,) = with_prompt(limit - 4).warnings
    assert "uses 4 tokens" in one["what"] and "fewer virtual tokens" in one["try_this"] and "at most 4" not in str(one)
    (one,) = with_prompt(limit - 20).warnings
    assert one["try_this"].startswith("Choose at most 20")
