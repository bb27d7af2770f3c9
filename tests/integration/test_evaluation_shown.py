"""The evaluation of a run by REST, by command line and on its page; what forgetting can be measured on, in the form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db import datasets, leases, models, runs, users
from db.blobs import Blobs
from engine import spec as specs
from engine.evaluation.report import FILE, Evaluation, Forgetting, Measured, Slice, Slices
from engine.shape import HeadModule, ModelShape, Module
from studio import choices, cli, cli_flags, evaluation_view, service
from studio.draft import Draft, from_spec

TOLD = Evaluation(
    task="text_classification", step=8, rows=50, metric="accuracy",
    metrics={"accuracy": Measured(value=0.94, low=0.92, high=0.96), "forgetting": Measured(value=0.5)},
    slices=Slices(metric="accuracy", items=[Slice(by="source", value="<web>", rows=9, metrics={"accuracy": 0.25})]),
    charts={"confusion": {"labels": ["a", "b"], "counts": [[3, 1], [0, 4]]}},
    forgetting=Forgetting(on="neutral text", measure="perplexity", before=10.0, after=10.5, change=0.5))


def document(dataset: str, forgetting: str | None = None) -> dict[str, Any]:
    data: dict[str, Any] = {"train": dataset, "columns": {"text": "t", "label": "y"}}
    data |= {"forgetting": forgetting} if forgetting else {}
    return {"task": "text_classification", "model": {"id": "local/small"}, "data": data, "method": {"name": "lora"}}


def ready(name: str, task: str = "text_classification") -> str:
    """Add a dataset as if it had been read; returns its id."""
    return datasets.create(users.local(), name=name, state="ready", task=task, columns={"text": "t", "label": "y"},
                           rows=100, source={"columns": ["t", "y"]}, stats={"label_count": 2}).id


def measured(words: bool | None) -> None:
    """Add a base model as if it had been measured, with or without a head that predicts words."""
    modules = [Module(name="layer.0.query", kind="linear", role="query", layer=0, d_in=8, d_out=8, parameters=64)]
    shape = ModelShape(architecture="BertModel", model_type="bert", family="encoder", total=64, layers=1, depth=1,
                       hidden=8, heads=2, intermediate=32, vocab=100, max_length=512, modules=modules, words=words,
                       task_heads={"text_classification": [HeadModule(name="classifier", per_label=9)]})
    models.create(users.local(), ref="local/small", source="local", state="ready")
    row = models.by_ref(users.local(), "local/small")
    assert row is not None
    models.update(users.local(), row.id, shape=shape.model_dump(mode="json"))


def evaluated() -> str:
    """Add a run whose first attempt left an evaluation; returns its id."""
    row = runs.create(users.local(), specs.parse(document("ds_x")), name="Evaluated")
    assert leases.claim("wk_test", "cpu") is not None
    folder = Blobs().place(f"runs/{row.id}/attempt-1")
    folder.mkdir(parents=True)
    (folder / FILE).write_text(TOLD.model_dump_json(), encoding="utf-8")
    return row.id


def test_an_evaluation_comes_by_rest_as_it_was_written(client: TestClient) -> None:
    run = evaluated()
    answer = client.get(f"/api/v1/runs/{run}/evaluation")
    assert answer.status_code == 200 and Evaluation.model_validate(answer.json()) == TOLD


def test_a_run_without_evaluation_and_one_that_is_not_there_say_so(client: TestClient) -> None:
    row = runs.create(users.local(), specs.parse(document("ds_x")), name="New")
    answer = client.get(f"/api/v1/runs/{row.id}/evaluation")
    assert answer.status_code == 404 and answer.json()["kind"] == "not_evaluated" and answer.json()["try_this"]
    assert client.get("/api/v1/runs/run_none/evaluation").json()["kind"] == "not_found"


def test_an_evaluation_that_cannot_be_read_is_none(client: TestClient) -> None:
    run = evaluated()
    (Blobs().place(f"runs/{run}/attempt-1") / FILE).write_text("{broken", encoding="utf-8")
    assert client.get(f"/api/v1/runs/{run}/evaluation").json()["kind"] == "not_evaluated"


def test_the_command_line_shows_intervals_slices_and_what_was_forgotten(
        fresh: None, capsys: pytest.CaptureFixture[str]) -> None:
    run = evaluated()
    assert cli.main(["runs", "show", run]) == 0
    said = capsys.readouterr().out
    assert "0.940 [0.920, 0.960]" in said and "<web>" in said
    assert "Perplexity on neutral text: 10 before training, 10.5 after" in said
    assert cli.main(["runs", "show", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluation"]["metrics"]["accuracy"]["high"] == 0.96


def test_the_page_draws_what_was_written_and_escapes_it() -> None:
    value = evaluation_view.shown(TOLD)
    assert [one["name"] for one in value["sections"]] == ["metrics", "forgetting", "slices", "confusion"]
    assert "<web>" not in str(value) and "&lt;web&gt;" in str(value)


def test_the_form_offers_neutral_text_and_other_datasets_of_the_task(fresh: None) -> None:
    measured(words=False)
    train, second = ready("first"), ready("second")
    ready("talks", "causal_lm")
    draft = Draft(dataset=train, task="text_classification", model="local/small")
    shown = choices.settings_shown(users.local(), draft)
    group = next(one for one in shown["groups"] if one["key"] == "data")
    control, = group["fields"]
    assert control["kind"] == "choice" and control["advanced"]
    assert [one["value"] for one in control["options"]] == [None, "neutral", second]
    assert "without a head" in control["options"][1]["disabled"]


@pytest.mark.parametrize(("forgetting", "kind"), [
    ("neutral", "forgetting_impossible"), ("ds_none", "not_found"), ("talks", "forgetting_unfit")])
def test_what_cannot_be_measured_is_refused_before_any_work(fresh: None, forgetting: str, kind: str) -> None:
    measured(words=False)
    wanted = ready("talks", "causal_lm") if forgetting == "talks" else forgetting
    found = service.check(users.local(), document(ready("first"), wanted))
    assert kind in [error.kind for error in found.obstacles]


def test_neutral_text_stands_in_nobodys_way_where_words_can_be_predicted(fresh: None) -> None:
    measured(words=True)
    assert not service.check(users.local(), document(ready("first"), "neutral")).obstacles


def test_a_draft_keeps_what_forgetting_is_measured_on(fresh: None) -> None:
    draft = from_spec(specs.parse(document("ds_x", "neutral")).model_dump(mode="json"))
    assert draft.values["data"] == {"forgetting": "neutral"}
    assert specs.parse(draft.document() | {"model": {"id": "local/small"}}).data.forgetting == "neutral"
    plain = from_spec(specs.parse(document("ds_x")).model_dump(mode="json")).document()
    assert specs.parse(plain).data.forgetting is None
    line = cli_flags.line(specs.parse(document("ds_x", "neutral")))
    assert "--forgetting neutral" in line


def test_rows_of_which_no_label_is_learned_are_refused_before_any_work(fresh: None) -> None:
    measured(words=False)
    counted = {"labels_of": "rows", "label_count": 2}
    first, other = ready("first"), ready("other")
    datasets.update(users.local(), first, stats=counted | {"labels": {"good": 5, "bad": 5}})
    datasets.update(users.local(), other, stats=counted | {"labels": {"spam": 5, "ham": 5}})
    found = service.check(users.local(), document(first, other))
    (unfit,) = [error for error in found.obstacles if error.kind == "forgetting_unfit"]
    assert "(ham, spam) is learned from 'first'" in unfit.what
    datasets.update(users.local(), other, stats=counted | {"labels": {"good": 5, "ham": 5}})
    assert "forgetting_unfit" not in [error.kind for error in service.check(users.local(), document(
        first, other)).obstacles]
