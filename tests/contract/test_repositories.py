"""What every storage promises: rows, owners, names, search, and the state of a run as people see it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update
from stories import END, STARTED, make_spec, take

from db import (
    adapters,
    batches,
    compositions,
    datasets,
    exports,
    journal,
    leases,
    light,
    models,
    predictions,
    rows,
    runs,
    users,
    workers,
)
from db.blobs import Blobs
from db.errors import BadName, InUse, NotFound, NotResumable, RunActive, RunEnded
from db.session import Database
from db.tables import Prediction
from db.users import User
from engine.errors import StudioError
from engine.recipe import Recipe
from engine.spec import RunSpec, parse


def everything_of(user: User, spec: RunSpec) -> dict[str, str]:
    """Make one row of each kind and return their ids by the names the parameters have."""
    dataset = datasets.create(user, name="Tickets", filename="tickets.csv")
    run = runs.create(user, spec, dataset_id=dataset.id)
    adapter = adapters.publish(user, name="Result", model="starter/minilm-l6", task="text_classification",
                               method="lora", key="adapters/somewhere/adapter")
    return {"dataset": dataset.id, "model": models.create(user, ref="starter/minilm-l6").id, "run": run.id,
            "adapter": adapter.id, "export": exports.create(user, adapter.id, "zip").id,
            "composition": compositions.create(user, [adapter.id, adapter.id], Recipe(), dataset_id=dataset.id).id,
            "batch": batches.create(user, "evaluate", adapter_id=adapter.id, dataset_id=dataset.id).id,
            "prediction": predictions.create(user, {"text": "Hello"}).id}


SCOPED: list[tuple[str, Callable[[User, str], Any]]] = [
    ("dataset", datasets.get), ("dataset", lambda u, i: datasets.update(u, i, progress=0.5)),
    ("dataset", lambda u, i: datasets.roles(u, i, {"text": "a"})), ("dataset", lambda u, i: datasets.rename(u, i, "x")),
    ("dataset", datasets.cancel), ("dataset", datasets.delete),
    ("dataset", lambda u, i: datasets.create(u, name="x", eval_of_id=i)),
    ("dataset", lambda u, i: runs.create(u, make_spec(), dataset_id=i)),
    ("dataset", lambda u, i: runs.create(u, make_spec(), eval_dataset_id=i)),
    ("model", models.get), ("model", lambda u, i: models.update(u, i, progress=0.5)),
    ("model", lambda u, i: models.rename(u, i, "x")), ("model", models.cancel), ("model", models.delete),
    ("run", runs.get), ("run", runs.duplicate_spec), ("run", runs.ask_stop), ("run", runs.resume), ("run", runs.delete),
    ("run", lambda u, i: runs.rename(u, i, "x")), ("run", runs.metrics), ("run", runs.log),
    ("run", lambda u, i: runs.curves(u, [i])), ("run", lambda u, i: runs.latest(u, [i])),
    ("adapter", adapters.get), ("adapter", lambda u, i: adapters.rename(u, i, "x")), ("adapter", adapters.delete),
    ("adapter", lambda u, i: exports.create(u, i, "merge")),
    ("export", exports.get), ("export", lambda u, i: exports.update(u, i, progress=0.5)), ("export", exports.cancel),
    ("export", exports.delete),
    ("adapter", lambda u, i: compositions.create(u, [i], Recipe())), ("composition", compositions.get),
    ("dataset", lambda u, i: compositions.create(u, [], Recipe(), name="x", dataset_id=i)),
    ("composition", lambda u, i: compositions.update(u, i, progress=0.5)), ("composition", compositions.cancel),
    ("composition", lambda u, i: compositions.finish(u, i, {})), ("composition", compositions.delete),
    ("adapter", lambda u, i: batches.create(u, "predict", adapter_id=i)), ("batch", batches.get),
    ("dataset", lambda u, i: batches.create(u, "predict", model="m", task="t", dataset_id=i)),
    ("batch", lambda u, i: batches.update(u, i, progress=0.5)), ("batch", batches.cancel), ("batch", batches.delete),
    ("prediction", predictions.get), ("prediction", lambda u, i: predictions.update(u, i, state="failed")),
    ("prediction", predictions.cancel), ("prediction", predictions.delete),
]


def test_nobody_reads_or_changes_what_somebody_else_owns(ada: User, bob: User, spec: RunSpec):
    ids = everything_of(ada, spec)
    for noun, call in SCOPED:
        with pytest.raises(NotFound) as caught:
            call(bob, ids[noun])
        assert caught.value.status == 404
        assert caught.value.what == f"There is no {noun} '{ids[noun]}'."
    for module in (datasets, models, runs, adapters, compositions, batches, exports, predictions):
        assert module.find(bob) == []
        assert [row.owner_id for row in module.find(ada)] == [ada.id]
    assert runs.counts(bob)["queued"] == 0
    assert models.by_ref(bob, "starter/minilm-l6") is None


def test_the_owner_of_every_kind_of_row_is_found_by_its_id(ada: User, spec: RunSpec):
    for id in everything_of(ada, spec).values():
        assert users.owner_of(id) == ada
    for wrong in ("run_aaaaaaaaaa", "nonsense", ""):
        with pytest.raises(NotFound):
            users.owner_of(wrong)


def test_the_local_user_is_made_once_even_by_two_threads_at_once(database: Database):
    made: list[User] = []
    both = threading.Barrier(2)

    def start() -> None:
        both.wait()
        made.append(users.local())

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1] == users.local()


def test_ids_carry_their_noun_and_do_not_repeat(ada: User):
    made = [datasets.create(ada, name=f"Set {number}").id for number in range(20)]
    assert len(set(made)) == 20
    assert all(len(id) == 13 and id.startswith("ds_") and id[3:].isalnum() for id in made)


def test_a_dataset_keeps_what_it_is_given(ada: User):
    made = datasets.create(ada, name="  Support\n tickets ", filename="t.csv", bytes=2**40, sha256="ab", sample=True)
    datasets.update(ada, made.id, state="ready", rows=812, stats={"labels": {"naïve": 3}}, findings=[{"kind": "empty"}],
                    source={"format": "csv"}, parquet_key=f"datasets/{made.id}/rows.parquet")
    datasets.roles(ada, made.id, {"text": "body"}, task="text_classification", options={"eval_fraction": 0.2})
    row = datasets.get(ada, made.id)
    assert (row.name, row.bytes, row.rows, row.state, row.sample) == ("Support tickets", 2**40, 812, "ready", True)
    assert row.stats == {"labels": {"naïve": 3}}
    assert (row.columns, row.task, row.confirmed) == ({"text": "body"}, "text_classification", True)
    assert row.options == {"eval_fraction": 0.2}
    assert row.updated_at >= row.created_at > 1.6e9


def test_what_a_database_cannot_store_is_cleaned_on_its_way_in(ada: User):
    row = datasets.create(ada, name="nul\x00 and \ud800 surrogate")
    odd = ["a\x00b", "\\u0000", "\ud83d"]
    datasets.update(ada, row.id, stats={"loss": float("nan"), "odd": odd, "big": 1e308 * 10})
    stats = datasets.get(ada, row.id).stats
    assert stats is not None
    assert stats["loss"] is None and stats["big"] is None
    assert stats["odd"][0] == "a\ufffdb"
    assert stats["odd"][1] == "\\u0000"
    assert "\x00" not in datasets.get(ada, row.id).name


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_a_name_is_neither_empty_nor_endless(ada: User, name: str):
    with pytest.raises(BadName):
        datasets.create(ada, name=name)


def test_a_column_that_does_not_exist_or_is_fixed_cannot_be_set(ada: User):
    row = datasets.create(ada, name="Rows")
    for wrong in ({"owner_id": "us_x"}, {"id": "ds_x"}, {"nonsense": 1}):
        with pytest.raises(TypeError):
            datasets.update(ada, row.id, **wrong)


def test_a_dataset_that_a_run_still_reads_is_not_deleted(ada: User, spec: RunSpec):
    train = datasets.create(ada, name="Train")
    held_out = datasets.create(ada, name="Held out", original_key="datasets/a/b")
    run = runs.create(ada, spec, dataset_id=train.id, eval_dataset_id=held_out.id)
    for row in (train, held_out):
        with pytest.raises(InUse, match=run.name):
            datasets.delete(ada, row.id)
    runs.ask_stop(ada, run.id, "discard")
    assert datasets.delete(ada, held_out.id) == ["datasets/a/b"]
    after = runs.get(ada, run.id)
    assert (after.dataset_id, after.eval_dataset_id) == (train.id, None)
    assert datasets.used_by(ada, train.id) == {"runs": 1, "adapters": 0}


def test_an_eval_dataset_outlives_the_one_it_was_made_for(ada: User):
    train = datasets.create(ada, name="Train")
    held_out = datasets.create(ada, name="Held out", eval_of_id=train.id)
    assert [row.id for row in datasets.find(ada, eval_of_id=train.id)] == [held_out.id]
    datasets.delete(ada, train.id)
    assert datasets.get(ada, held_out.id).eval_of_id is None


def test_adding_a_model_again_gives_the_same_row_and_retries_a_failed_one(ada: User):
    first = models.create(ada, ref="org/name", revision="main", title="A model")
    assert models.create(ada, ref="org/name", revision="main").id == first.id
    assert models.create(ada, ref="org/name").id != first.id
    models.update(ada, first.id, state="failed", error={"kind": "model_invalid"})
    again = models.create(ada, ref="org/name", revision="main")
    assert (again.id, again.state, again.error) == (first.id, "queued", None)
    found = models.by_ref(ada, "org/name", "main")
    assert found is not None and found.id == first.id
    assert models.by_ref(ada, "org/other") is None


def test_a_model_that_a_run_trains_on_is_not_deleted(ada: User, spec: RunSpec):
    model = models.create(ada, ref=spec.model.id)
    run = runs.create(ada, spec)
    with pytest.raises(InUse):
        models.delete(ada, model.id)
    runs.ask_stop(ada, run.id)
    assert models.delete(ada, model.id).id == model.id


def test_models_that_an_older_version_measured_wait_to_be_measured_again(ada: User) -> None:
    shapes = {"org/old": {"tried": ["causal_lm"]}, "org/older": {"total": 3},
              "org/new": {"tried": ["seq2seq", "causal_lm"]}}
    made = {ref: models.update(ada, models.create(ada, ref=ref).id, state="ready", shape=shape).id
            for ref, shape in shapes.items()}
    unread = models.create(ada, ref="org/unread")
    assert light.measure_again(["causal_lm", "seq2seq"]) == 2
    states = {ref: models.get(ada, id).state for ref, id in made.items()}
    assert states == {"org/old": "queued", "org/older": "queued", "org/new": "ready"}
    assert {id for _, id in light.stale()} == {made["org/old"], made["org/older"]}
    assert models.get(ada, unread.id).state == "queued"


def test_a_run_begins_queued_with_its_whole_spec(ada: User, spec: RunSpec):
    dataset = datasets.create(ada, name="Tickets")
    run = runs.create(ada, spec, dataset_id=dataset.id)
    row = runs.get(ada, run.id)
    assert (row.state, row.name, row.method, row.model, row.task) == (
        "queued", "Tickets, lora", "lora", "starter/minilm-l6", "text_classification")
    assert parse(row.spec) == spec == parse(runs.duplicate_spec(ada, run.id))
    assert (row.metric_name, row.metric_greater) == (spec.make_task().metric, spec.make_task().greater_is_better)
    assert runs.counts(ada) == dict.fromkeys(runs.STATES, 0) | {"queued": 1}


def test_runs_are_listed_newest_first_page_by_page(ada: User, spec: RunSpec):
    made = [runs.create(ada, spec, name=f"Run {number}").id for number in range(7)]
    pages = [runs.find(ada, limit=3, offset=offset) for offset in (0, 3, 6)]
    assert [row.id for page in pages for row in page] == made[::-1]
    assert [row.id for row in runs.find(ada, order="oldest")] == made
    assert [row.id for row in runs.find(ada, order="name")] == made
    assert runs.count(ada) == 7
    assert [row.id for row in runs.latest(ada, [made[4], made[1]])] == [made[4], made[1]]


def test_runs_are_found_by_every_word_people_would_type(ada: User):
    dataset = datasets.create(ada, name="Support Tickets ÄÖ")
    lora = runs.create(ada, make_spec("lora"), name="100% Baseline_1", dataset_id=dataset.id)
    head = runs.create(ada, make_spec("head", "org/Other-Model"), name="Second")
    take(run_id=head.id)

    def hits(search: str) -> list[str]:
        found = [row.id for row in runs.find(ada, search=search)]
        assert runs.count(ada, search=search) == len(found)
        return found

    assert hits("baseline") == hits("LORA") == hits("tickets") == hits("äö") == hits("minilm") == [lora.id]
    assert hits("other-model head") == hits("starting") == hits(head.id) == [head.id]
    assert hits("lora tickets 100%") == [lora.id]
    assert hits("_") == [head.id, lora.id]  # an underscore is a character, in every id
    assert hits("%") == [lora.id]
    assert hits("lora head") == []
    assert hits("  ") == [head.id, lora.id]
    runs.rename(ada, lora.id, "Renamed")
    assert hits("renamed") == [lora.id] and hits("baseline") == []
    datasets.rename(ada, dataset.id, "Complaints")
    assert hits("complaints") == [lora.id] and hits("tickets") == []


def test_filters_narrow_the_list_and_an_empty_filter_lets_nothing_through(ada: User):
    dataset = datasets.create(ada, name="Tickets")
    lora = runs.create(ada, make_spec("lora"), dataset_id=dataset.id)
    head = runs.create(ada, make_spec("head", "org/other"))
    runs.ask_stop(ada, head.id)
    for filters, expected in (({"methods": ["lora"]}, [lora]), ({"models": ["org/other"]}, [head]),
                              ({"states": ["queued", "running"]}, [lora]), ({"datasets": [dataset.id]}, [lora]),
                              ({"tasks": ["text_classification"]}, [head, lora]), ({"methods": []}, []),
                              ({"methods": ["lora"], "states": ["cancelled"]}, [])):
        assert [row.id for row in runs.find(ada, **filters)] == [row.id for row in expected], filters
        assert runs.count(ada, **filters) == len(expected)


def test_a_queued_run_is_cancelled_at_once(ada: User, spec: RunSpec):
    run = runs.create(ada, spec)
    stopped = runs.ask_stop(ada, run.id, "save")
    assert stopped.state == "cancelled" and stopped.finished_at is not None
    assert leases.claim("worker-1") is None
    with pytest.raises(RunEnded) as caught:
        runs.ask_stop(ada, run.id)
    assert caught.value.status == 409


def test_a_run_that_is_held_is_asked_to_stop_and_the_wish_may_change(ada: User, claimed: leases.Claimed):
    assert runs.ask_stop(ada, claimed.run_id, "save").state == "stopping"
    assert leases.stop_modes("worker-1") == {claimed.run_id: "save"}
    runs.ask_stop(ada, claimed.run_id, "discard")
    held = leases.renew(claimed.run_id, claimed.token)
    assert held is not None and held.stop_mode == "discard"
    assert leases.stop_modes("worker-2") == {}


@pytest.mark.parametrize("ending", ["failed", "cancelled", "interrupted"])
def test_runs_that_ended_early_resume_with_fresh_attempts_and_the_same_history(
        ada: User, claimed: leases.Claimed, tell: Callable[..., Any], ending: str):
    tell(claimed, [*STARTED, END[ending]])
    before = runs.get(ada, claimed.run_id)
    assert before.state == ending
    resumed = runs.resume(ada, claimed.run_id)
    assert (resumed.state, resumed.attempts, resumed.error, resumed.finished_at) == ("queued", 0, None, None)
    assert resumed.step == before.step
    assert runs.metrics(ada, claimed.run_id) != []
    again = take()
    assert again.token > claimed.token


@pytest.mark.parametrize("state", ["queued", "starting", "running", "stopping", "succeeded"])
def test_other_runs_do_not_resume(ada: User, spec: RunSpec, tell: Callable[..., Any], state: str):
    run = runs.create(ada, spec)
    if state != "queued":
        held = take()
        tell(held, STARTED if state != "starting" else [])
        if state == "stopping":
            runs.ask_stop(ada, run.id)
        if state == "succeeded":
            tell(held, [END["succeeded"]])
    assert runs.get(ada, run.id).state == state
    with pytest.raises(NotResumable):
        runs.resume(ada, run.id)


def test_a_run_goes_with_its_metrics_and_log_but_never_while_it_is_active(
        ada: User, claimed: leases.Claimed, tell: Callable[..., Any], database: Database):
    tell(claimed, STARTED)
    with pytest.raises(RunActive):
        runs.delete(ada, claimed.run_id)
    tell(claimed, [END["failed"]])
    assert runs.delete(ada, claimed.run_id) == [f"runs/{claimed.run_id}"]
    with database.read() as session:
        for table in ("metrics", "logs", "runs"):
            assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0


def test_an_adapter_keeps_its_files_when_its_run_is_deleted_and_takes_them_along_when_it_goes(
        ada: User, claimed: leases.Claimed, tell: Callable[..., Any]):
    tell(claimed, [*STARTED, END["succeeded"]])
    adapter = adapters.of_run(ada, claimed.run_id)
    assert adapter is not None
    assert runs.delete(ada, claimed.run_id) == [f"runs/{claimed.run_id}/attempt-1/checkpoints"]
    orphan = adapters.get(ada, adapter.id)
    assert orphan.run_id is None and orphan.key == adapter.key
    assert adapters.delete(ada, adapter.id) == [f"runs/{claimed.run_id}"]


def test_an_adapter_that_goes_first_leaves_the_runs_folder_alone(
        ada: User, claimed: leases.Claimed, tell: Callable[..., Any]):
    tell(claimed, [*STARTED, END["succeeded"]])
    adapter = adapters.of_run(ada, claimed.run_id)
    assert adapter is not None
    export = exports.create(ada, adapter.id, "zip")
    assert adapters.delete(ada, adapter.id) == [f"runs/{claimed.run_id}/attempt-1/adapter"]
    with pytest.raises(NotFound):
        exports.get(ada, export.id)
    assert runs.delete(ada, claimed.run_id) == [f"runs/{claimed.run_id}"]


def test_an_export_is_made_once_and_again_after_it_failed(ada: User, spec: RunSpec):
    adapter_id = everything_of(ada, spec)["adapter"]
    merge = exports.create(ada, adapter_id, "merge")
    assert exports.create(ada, adapter_id, "merge").id == merge.id
    assert [row.kind for row in exports.find(ada, adapter_id=adapter_id)] == ["merge", "zip"]
    exports.update(ada, merge.id, state="failed", error={"kind": "error"})
    assert exports.create(ada, adapter_id, "merge").id != merge.id


def test_a_composition_becomes_one_adapter_with_its_lineage_however_often_it_is_finished(ada: User, spec: RunSpec):
    ids = everything_of(ada, spec)
    parent = adapters.get(ada, ids["adapter"])
    made = compositions.create(ada, [parent.id, parent.id], Recipe(how="ties", weights=[1, 0.5]))
    assert made.name == "Result + Result, TIES on factors" and made.state == "queued"
    assert made.parents == [{"id": parent.id, "name": "Result"}] * 2 and made.recipe["weights"] == [1, 0.5]
    columns: dict[str, Any] = {
        "name": made.name, "model": parent.model, "task": parent.task, "method": "lora", "sha256": "ab",
        "key": f"composed/{made.id}/adapter", "composed": {"notes": ["so"]},
        "parents": [{"id": parent.id, "name": "Result", "weight": 1.0}]}
    done = compositions.finish(ada, made.id, {"rank": 4}, **columns)
    again = compositions.finish(ada, made.id, {"rank": 5}, **columns)
    assert (done.state, done.progress, done.result) == ("ready", 1.0, {"rank": 4})
    assert again.adapter_id == done.adapter_id and done.adapter_id is not None
    row = adapters.get(ada, done.adapter_id)
    assert row.parents == columns["parents"] and row.composed == {"notes": ["so"]} and row.run_id is None
    adapters.delete(ada, parent.id)
    assert adapters.get(ada, row.id).parents == columns["parents"], "its lineage outlives its parents"
    assert adapters.delete(ada, row.id) == [f"composed/{made.id}"]
    assert compositions.get(ada, made.id).adapter_id is None


def test_light_work_is_cancelled_at_once_while_it_waits_and_asked_to_stop_while_it_is_done(ada: User, spec: RunSpec):
    ids = everything_of(ada, spec)
    nouns = ("dataset", "model", "export", "composition", "batch", "prediction")
    for noun, module in zip(nouns, (datasets, models, exports, compositions, batches, predictions), strict=True):
        assert light.begin(ids[noun]) is True
        assert light.begin(ids[noun]) is False, "somebody else has it"
        assert light.begin(ids[noun], silent=-1) is True, "unless that one went silent"
        assert light.touch(ids[noun]) is True
        assert module.cancel(ada, ids[noun]).cancel is True
        assert light.touch(ids[noun]) is False
    silent = {id for _, id in light.stale(waited=60, silent=-1)}
    assert silent == {ids[noun] for noun in nouns}
    assert light.stale(waited=60, silent=60) == []
    waiting = everything_of(ada, make_spec("head", "org/other"))
    for noun, module in (("dataset", datasets), ("export", exports), ("composition", compositions),
                         ("batch", batches), ("prediction", predictions)):
        assert module.cancel(ada, waiting[noun]).state in ("cancelled", "failed")
        assert light.begin(waiting[noun]) is False


def test_a_batch_outlives_its_adapter_and_dataset_and_tells_what_they_were(ada: User, spec: RunSpec):
    ids = everything_of(ada, spec)
    datasets.update(ada, ids["dataset"], sha256="d" * 64)
    made = batches.create(ada, "evaluate", adapter_id=ids["adapter"], dataset_id=ids["dataset"])
    assert (made.adapter_name, made.model, made.task) == ("Result", "starter/minilm-l6", "text_classification")
    assert (made.filename, made.dataset_sha256) == ("Tickets", "d" * 64)
    found = batches.find(ada, kinds=["evaluate"], adapters=[ids["adapter"]])
    assert [row.id for row in found] == [made.id, ids["batch"]]
    assert batches.count(ada, kinds=["predict"]) == 0
    adapters.delete(ada, ids["adapter"])
    left = batches.get(ada, made.id)
    assert left.adapter_id is None and left.adapter_name == "Result" and left.dataset_id == ids["dataset"]
    batches.update(ada, made.id, result_key="batches/x/predictions.csv")
    assert batches.delete(ada, made.id) == ["batches/x/predictions.csv"]


def test_finished_predictions_are_forgotten_and_others_kept(ada: User, bob: User):
    done, open_, other = (predictions.create(user, {}) for user in (ada, ada, bob))
    predictions.update(ada, done.id, state="ready", result={"label": "spam"})
    predictions.update(bob, other.id, state="ready")
    assert predictions.forget(ada, older_than=3600) == 0
    assert predictions.forget(ada, older_than=-1) == 1
    assert [row.id for row in predictions.find(ada)] == [open_.id]
    assert [row.id for row in predictions.find(bob)] == [other.id]


def test_a_question_that_no_worker_takes_ends_and_leaves_no_files(ada: User, database: Database,
                                                                  tmp_path: Path):
    (tmp_path / "cat.png").write_bytes(b"x")
    old, taken, new = (predictions.create(ada, {"files": f"asked/{name}"}) for name in ("old", "taken", "new"))
    for row in (old, taken, new):
        Blobs().put(tmp_path / "cat.png", f"{row.request['files']}/0/cat.png")
    assert light.begin(taken.id) and predictions.give_up() == 0
    with database.write() as session:
        session.execute(update(Prediction).where(Prediction.id.in_([old.id, taken.id])).values(created_at=1.0))
    assert predictions.give_up() == 1
    ended = predictions.get(ada, old.id)
    assert (ended.state, ended.error["kind"]) == ("failed", "unanswered")
    assert [predictions.get(ada, row.id).state for row in (taken, new)] == ["running", "queued"]
    kept = [(Blobs().local("asked/" + name) / "0" / "cat.png").is_file() for name in ("taken", "new")]
    assert kept == [True, True] and predictions.give_up() == 0
    with pytest.raises(NotFound):
        Blobs().local("asked/old/0/cat.png")


def test_workers_are_listed_while_they_are_heard_of(ada: User):
    for busy in (0, 1):
        workers.beat("w1", host="one", pid=7, slots=2, busy=busy, device={"class": "cpu", "cores": 2},
                     versions={"a": "1"})
    (row,) = workers.find(ada)
    assert (row.host, row.pid, row.slots, row.busy, row.device["cores"]) == ("one", 7, 2, 1, 2)
    workers.beat("w1", host="one", pid=7, slots=2, busy=0, device={})
    assert workers.find(ada)[0].versions == {"a": "1"}
    assert workers.find(ada, within=-1) == []
    assert len(workers.find(ada, within=None)) == 1
    assert workers.forget(older_than=-1) == 1
    workers.beat("w2", host="two", pid=8, slots=1, busy=0, device={})
    workers.remove("w2")
    assert workers.find(ada) == []


def test_an_error_in_a_write_leaves_nothing_behind(ada: User, database: Database):
    made = datasets.create(ada, name="Before")
    with pytest.raises(ZeroDivisionError), database.write() as session:
        rows.changed(session, datasets.Dataset, ada, made.id, {"name": "During"})
        _ = 1 / 0
    assert datasets.get(ada, made.id).name == "Before"


def test_every_error_names_what_where_and_what_to_do(ada: User):
    with pytest.raises(StudioError) as caught:
        runs.get(ada, "run_nothing")
    assert caught.value.as_dict() == {
        "kind": "not_found", "what": "There is no run 'run_nothing'.", "where": "run_nothing",
        "try_this": "It may have been deleted. Look at the list of runs."}


def test_a_writer_waits_for_another_instead_of_failing(ada: User, database: Database):
    made = datasets.create(ada, name="Counted")
    threads = [threading.Thread(target=_count_up, args=(ada, made.id, 10)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert datasets.get(ada, made.id).rows == 60


def _count_up(user: User, id: str, times: int) -> None:
    from db.session import database as opened

    for _ in range(times):
        with opened().write() as session:
            row = rows.one(session, datasets.Dataset, user, id, lock=True)
            rows.changed(session, datasets.Dataset, user, id, {"rows": (row.rows or 0) + 1})


def test_sqlite_is_set_up_to_survive_crashes_and_crowds(database: Database):
    if not database.sqlite:
        pytest.skip("about SQLite")
    with database.read() as session:
        facts = {name: session.execute(text(f"PRAGMA {name}")).scalar_one()
                 for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")}
    assert facts == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10_000, "synchronous": 1}


def test_a_transaction_rolled_back_for_a_conflict_is_tried_once_more(database: Database):
    from sqlalchemy.exc import OperationalError

    from db.session import retried

    calls: list[int] = []

    @retried
    def busy_once() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise OperationalError("BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked"))
        return "done"

    assert busy_once() == "done"
    assert len(calls) == 2

    @retried
    def broken() -> None:
        calls.append(1)
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("no such table: x"))

    with pytest.raises(OperationalError):
        broken()
    assert len(calls) == 3, "another error is not tried again"


def test_a_journal_line_of_the_workers_own_is_fenced_too(ada: User, claimed: leases.Claimed):
    journal.note(claimed.run_id, claimed.token, "killed: out of memory\x00", "error")
    assert [(line.number, line.level, line.text) for line in runs.log(ada, claimed.run_id)] == [
        (1, "error", "killed: out of memory\ufffd")]
    with pytest.raises(StudioError):
        journal.note(claimed.run_id, claimed.token + 1, "stale")
