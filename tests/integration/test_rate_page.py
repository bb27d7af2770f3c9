"""The test of learning rates on the Train page: started there, watched there, used there; never published."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from db import adapters, datasets, journal, leases, migrate, models, runs, users
from db.session import database
from db.settings import settings
from engine import events, rates
from engine.shape import HeadModule, ModelShape, Module
from engine.spec import RateTest, parse
from studio import cli_flags, rate_view, run_view, service, session
from studio.draft import Draft
from studio.pages import train

#: A request of the Train page, opened without anything in its address.
ASKED: Any = SimpleNamespace(headers={}, query_params={})


@pytest.fixture
def draft(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Draft]:
    """A run that could start: a dataset and a small base model as if a worker had read them."""
    monkeypatch.delenv("STUDIO_BROKER_URL", raising=False)
    settings.cache_clear()
    migrate.upgrade()
    user = users.local()
    modules = [Module(name="layer.0.query", kind="linear", role="query", layer=0, d_in=8, d_out=8, parameters=64)]
    shape = ModelShape(architecture="BertModel", model_type="bert", family="encoder", total=64, layers=1, depth=1,
                       hidden=8, heads=2, intermediate=32, vocab=50, max_length=64, modules=modules,
                       task_heads={"text_classification": [HeadModule(name="classifier", per_label=9)]})
    row = models.create(user, ref="local/small", source="local", state="ready")
    models.update(user, row.id, shape=shape.model_dump(mode="json"))
    made = datasets.create(user, name="tickets", state="ready", task="text_classification", rows=100,
                           columns={"text": "text", "label": "label"}, source={"columns": ["text", "label"]},
                           stats={"label_count": 2})
    monkeypatch.setattr(session, "user", lambda _: user)
    yield Draft(made.id, task="text_classification", model="local/small", values={"training": {"seed": 7}})
    database().dispose()
    settings.cache_clear()


def chosen(draft: Draft) -> list[Any]:
    """Return what the page's components hold."""
    return train._everything(users.local(), draft)[:6]


def started(draft: Draft) -> str:
    """Press "Find a learning rate"; return the run's id."""
    run, _, _, _, find, stop, use, timer = train._find_rate(*chosen(draft), request=ASKED)
    assert run and not find.interactive and stop.visible and not use.visible and timer.active
    return str(run)


def carried_out(run: str, *, state: str = "succeeded") -> dict[str, Any]:
    """Play a worker that carries out the test of `run`; return its result."""
    claimed = leases.claim("wk_test", "cpu")
    assert claimed is not None and claimed.run_id == run
    tried = rates.ladder(RateTest(), 1e-3)
    losses = [2 - 1 / (1 + (1e-3 / rate) ** 2) for rate in tried]
    found = rates.suggest(tried, losses, 100).model_dump()
    result = {"state": state, "metrics": {}, "rate_test": found | {"rates": tried, "losses": losses}}
    steps = [events.StepsTrained(step=step, epoch=0.1, metrics={"loss": loss, "learning_rate": rate}, seq=step)
             for step, (rate, loss) in enumerate(zip(tried, losses, strict=True), 1)]
    end = events.RunSucceeded(result, seq=101) if state == "succeeded" else events.RunCancelled(False, result, seq=101)
    journal.ingest(run, claimed.token, [events.RunStarted(seq=0), *steps, end])
    return result


def test_a_test_is_a_run_of_the_same_settings_that_publishes_nothing(draft: Draft) -> None:
    run = started(draft)
    spec = runs.get(users.local(), run).spec
    assert spec["rate_test"] == {"updates": 100, "lowest": None, "highest": None} and spec["training"]["seed"] == 7
    carried_out(run)
    assert runs.get(users.local(), run).state == "succeeded" and adapters.of_run(users.local(), run) is None


def test_the_rate_it_suggests_goes_into_the_form_and_the_address(draft: Draft) -> None:
    run = started(draft)
    best = carried_out(run)["rate_test"]["suggested"]
    _, said, _, figure, find, stop, use, timer = train._watch_rate(run, request=ASKED)
    assert f"{best:g}" in said and find.interactive and use.visible and not stop.visible and not timer.active
    line = figure["layout"]["shapes"][0]
    assert line["x0"] == best and figure["layout"]["xaxis"]["type"] == "log"
    assert figure["layout"]["xaxis"]["range"] == pytest.approx([-5, -1])
    shown = train._use_rate(*chosen(draft), run, request=ASKED)
    assert shown[5]["values"]["training"]["learning_rate"] == best and shown[5]["values"]["training"]["seed"] == 7
    again = rate_view.draft_of(users.local(), run)
    assert again.document()["training"]["learning_rate"] == best and "rate_test" not in again.document()


def test_its_own_page_says_what_it_came_to(draft: Draft) -> None:
    run = started(draft)
    best = carried_out(run, state="cancelled")["rate_test"]["suggested"]
    row = runs.get(users.local(), run)
    head = run_view.head(users.local(), row)
    assert f"{best:g}" in head and f"/train?from={run}" in head
    curves = {curve.name: curve for curve in runs.curves(users.local(), [run])}
    assert run_view.figures(row, curves)[2]["layout"]["xaxis"]["type"] == "log"


def test_a_waiting_test_can_be_stopped_from_the_page(draft: Draft) -> None:
    run = started(draft)
    values = train._stop_rate(run, request=ASKED)
    assert runs.get(users.local(), run).state == "cancelled" and not values[-1].active and not values[-2].visible
    assert train._watch_rate("run_none", request=ASKED)[0] == ""


def test_the_command_line_of_a_test_starts_the_same_test(draft: Draft) -> None:
    user = users.local()
    spec = service.check(user, draft.document() | {"rate_test": {"updates": 50, "highest": 0.5}}).spec
    line = cli_flags.line(spec)
    assert "--find-rate" in line and "rate_test.updates=50" in line
    words = [word.partition("=") for word in line.split() if word.startswith("rate_test.")]
    made = cli_flags.document(draft.document() | {"rate_test": {}}, {}, ["".join(word) for word in words])
    assert parse(made).rate_test == spec.rate_test
    assert math.isclose((spec.rate_test or RateTest()).highest or 0, 0.5)
