"""The REST API: what it refuses and how it says so, who may see what, and the whole path on a real worker."""

from __future__ import annotations

import asyncio
import io
import json
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from rig import Rig, studio, until

from db import accounts, datasets, models, users, workers
from db.settings import settings
from engine import models as bases
from engine.findings import Finding
from engine.shape import HeadModule, ModelShape, Module
from studio import api, choices, login, service
from studio.api import limit, upload
from studio.draft import Draft
from studio.guard import Guard
from studio.service.models import NotYours

CSV = b"sentence,label\nThe film was a joy,good\nI want my money back,bad\nLovely from start to end,good\nDull,bad\n"

AS_JSON = {"content-type": "application/json"}


def form(content: bytes, filename: str = "a.csv", **fields: str) -> dict[str, Any]:
    """Return what httpx sends as a form with one file."""
    return {"files": {"file": (filename, content)}, "data": fields}


def make_client(*, signed: bool = False) -> TestClient:
    """Return a client of an app with the API behind the guard; `signed` turns accounts on."""
    app = FastAPI()
    api.install(app)
    app.add_middleware(Guard, secret=settings().secret_key, host="127.0.0.1")
    if signed:
        app.add_middleware(login.Accounts, secret=settings().secret_key, host="127.0.0.1")
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def client(fresh: None) -> Iterator[TestClient]:
    """A client of a studio without accounts."""
    with make_client() as made:
        yield made


@pytest.fixture
def signed(fresh: None) -> Iterator[TestClient]:
    """A client of a studio with accounts."""
    with make_client(signed=True) as made:
        yield made


def ready_dataset(name: str = "tickets", **values: Any) -> str:
    """Add a dataset as if it had been read; returns its id."""
    given: dict[str, Any] = {"task": "text_classification", "columns": {"text": "sentence", "label": "label"},
                             "rows": 100, "source": {"columns": ["sentence", "label"]}, "stats": {"label_count": 3}}
    given |= values
    return datasets.create(users.local(), name=name, state="ready", **given).id


def ready_model(ref: str = "local/small", *, width: int = 64, layers: int = 2, **values: Any) -> ModelShape:
    """Add a base model as if it had been measured; returns its shape."""
    modules = [Module(name=f"layer.{i}.{role}", kind="linear", role=role, layer=i, d_in=width, d_out=width, bias=True,
                      parameters=width * width + width) for i in range(layers) for role in ("query", "value")]
    shape = ModelShape(architecture="BertModel", model_type="bert", family="encoder",
                       total=sum(m.parameters for m in modules), layers=layers, depth=layers,
                       hidden=width, heads=2, intermediate=4 * width, vocab=100,
                       max_length=512, modules=modules,
                       task_heads={"text_classification": [HeadModule(name="classifier", per_label=width + 1)]})
    models.create(users.local(), ref=ref, source="local", state="ready", **values)
    row = models.by_ref(users.local(), ref)
    assert row is not None
    models.update(users.local(), row.id, shape=shape.model_dump(mode="json"))
    return shape


def spec(dataset: str, **parts: Any) -> dict[str, Any]:
    """Return a run's document."""
    return {"task": "text_classification", "model": {"id": "local/small"}, "data": {"train": dataset},
            "method": {"name": "lora", "r": 8, "targets": "attention"}} | parts


# -- how it says no ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "sent", "status", "kind"), [
    ("GET", "/api/v1/nowhere", {}, 404, "no_such_address"),
    ("PUT", "/api/v1/runs", {}, 405, "method_not_allowed"),
    ("GET", "/api/v1/runs/run_none", {}, 404, "not_found"),
    ("GET", "/api/v1/runs?limit=-1", {}, 422, "request_invalid"),
    ("GET", "/api/v1/runs/run_none/metrics?since=x:y", {}, 404, "not_found"),
    ("GET", "/api/v1/runs?stat=failed", {}, 422, "unknown_parameter"),
    ("GET", "/api/v1/users/me?all=1", {}, 422, "unknown_parameter"),
    ("GET", "/api/v1/runs?state=zzz", {}, 422, "request_invalid"),
    ("POST", "/api/v1/runs", {"content": b"{broken", "headers": AS_JSON}, 422, "request_invalid"),
    ("POST", "/api/v1/runs", {"json": {"task": "text_classification"}}, 422, "spec_invalid"),
    ("POST", "/api/v1/runs", {"json": spec("ds_none", method={"name": "lorra"})}, 422, "unknown_method"),
    ("POST", "/api/v1/runs", {"json": spec("ds_none", surprise=1)}, 422, "unknown_key"),
    ("POST", "/api/v1/datasets", {"json": {}}, 422, "request_invalid"),
    ("POST", "/api/v1/datasets", {"files": {"other": ("a.csv", CSV)}}, 422, "request_invalid"),
    ("POST", "/api/v1/datasets", form(CSV, columns="[1]"), 422, "request_invalid"),
    ("POST", "/api/v1/datasets", form(CSV, task="magic"), 422, "unknown_task"),
    ("POST", "/api/v1/models", {"json": {"id": "../../etc"}}, 422, "model_reference_invalid"),
    ("POST", "/api/v1/models", {"json": {"id": "starter/none"}}, 422, "unknown_starter"),
    ("POST", "/api/v1/models", form(b"x", "model.bin", name="mine"), 422, "pickle_refused"),
    ("POST", "/api/v1/models", form(b"{}", "config.json", name="mine"), 422, "weights_missing"),
    ("POST", "/api/v1/models", form(b"x", "m.safetensors", name="../up"), 422, "model_name_invalid"),
    ("POST", "/api/v1/predictions", {"json": {"rows": [{"text": "a"}]}}, 422, "nobody_asked"),
    ("POST", "/api/v1/predictions", {"json": {"adapters": ["ad_none"], "rows": [{"text": "a"}]}}, 404, "not_found"),
    ("POST", "/api/v1/predictions", {"json": {"model": "local/small", "task": "causal_lm", "rows": [{"text": "a"}]}},
     422, "wrong_question"),
    ("GET", "/download/adapters/ad_none", {}, 404, "not_found"),
    ("GET", "/download/runs/run_none/spec.json", {}, 404, "not_found"),
    ("GET", "/download/runs/run_none/..%2F..%2Fsecret.key", {}, 404, "no_such_address"),
])
def test_every_refusal_is_problem_json_that_says_what_where_and_what_to_do(
        client: TestClient, method: str, path: str, sent: dict[str, Any], status: int, kind: str):
    answer = client.request(method, path, **sent)
    body = answer.json()
    assert (answer.status_code, body["kind"]) == (status, kind), body
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == status and body["detail"] == body["what"] and body["try_this"]
    assert body["instance"] == path.partition("?")[0].replace("%2F", "/")


@pytest.mark.parametrize("path", ["runs", "datasets", "models", "adapters"])
def test_an_unknown_parameter_is_refused_by_name_with_those_there_are(client: TestClient, path: str):
    body = client.get(f"/api/v1/{path}?limit=5&serach=x").json()
    assert body["what"] == f"'serach' is not a parameter of /api/v1/{path}." and body["where"] == "serach"
    assert "search" in body["try_this"] and "limit" in body["try_this"]
    assert client.get(f"/api/v1/{path}?limit=5&search=x").status_code == 200


@pytest.mark.parametrize("path", ["runs", "models", "predictions", "breakdown"])
def test_a_body_that_is_not_json_is_told_with_line_and_column(client: TestClient, path: str):
    answer = client.post(f"/api/v1/{path}", content=b'{"task": "causal_lm",\n  "model": nought}', headers=AS_JSON)
    assert answer.status_code == 422 and answer.json()["where"] == "body, line 2, column 12"
    assert answer.json()["what"].startswith("The request is not valid: it is not JSON (")


def test_an_unforeseen_error_tells_nothing_of_the_inside(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(datasets, "find", fail)
    answer = client.get("/api/v1/datasets")
    assert answer.status_code == 500 and answer.json()["kind"] == "internal"
    assert "42" not in answer.text and "Traceback" not in answer.text


def test_an_unknown_setting_is_refused_by_name(client: TestClient):
    body = client.post("/api/v1/runs", json=spec("ds_none", method={"name": "lora", "ranc": 8})).json()
    assert body["where"] == "method.ranc" and "'ranc'" in body["what"]


@pytest.mark.parametrize(("change", "kind"), [
    ({"data": {"train": "{id}", "columns": {"text": "nothing", "label": "label"}}}, "column_missing"),
    ({"data": {"train": "{id}", "columns": {"text": "sentence"}}}, "role_missing"),
    ({"data": {"train": "ds_none"}}, "not_found"),
    ({"task": "causal_lm", "data": {"train": "{id}", "columns": {"text": "sentence"}}}, "task_impossible"),
    ({"method": {"name": "lora", "targets": ["nothing_like_it"]}}, "method_obstacle"),
    ({"model": {"id": "local/huge"}}, "not_enough"),
])
def test_a_run_that_cannot_be_is_refused_before_any_work(client: TestClient, change: dict[str, Any], kind: str):
    id = ready_dataset()
    ready_model()
    ready_model("local/huge", width=400_000)
    document = json.loads(json.dumps(spec(id) | change).replace("{id}", id))
    answer = client.post("/api/v1/runs", json=document)
    assert answer.json()["kind"] == kind, answer.json()
    assert answer.status_code in (404, 422)
    assert client.get("/api/v1/runs").json()["total"] == 0


def test_bits_that_no_worker_can_load_are_refused_before_any_work(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    ready_model()
    document = spec(ready_dataset(), model={"id": "local/small", "quantization": "nf4"})
    monkeypatch.setattr(bases, "quantizer_installed", lambda: False)
    answer = client.post("/api/v1/runs", json=document)
    assert (answer.status_code, answer.json()["kind"]) == (422, "quantizer_missing")
    assert "pip install bitsandbytes" in answer.json()["try_this"]
    assert not service.check(users.local(), document).ready
    question = {"model": "local/small", "task": "text_classification", "rows": [{"text": "a"}], "quantization": "nf4"}
    assert client.post("/api/v1/predictions", json=question | {"wait": 0}).json()["kind"] == "quantizer_missing"
    words = next(one for group in choices.settings_shown(users.local(), Draft())["groups"] if group["key"] == "model"
                 for one in group["fields"] if one["name"] == "quantization")["options"]
    assert {one["value"]: "bitsandbytes" in one.get("disabled", "") for one in words} == {
        None: False, "int8": True, "nf4": True}
    # What counts is where the work is done, which may be another machine than this one.
    there: dict[str, Any] = {"host": "far", "pid": 1, "slots": 1, "busy": 0, "device": {"class": "cpu"}}
    workers.beat("w1", **there, versions={"python": "3.11", "bitsandbytes": "0.50"})
    assert service.check(users.local(), document).ready
    monkeypatch.setattr(bases, "quantizer_installed", lambda: True)
    workers.beat("w1", **there, versions={"python": "3.11"})
    assert [found.kind for found in service.check(users.local(), document).obstacles] == ["quantizer_missing"]


@pytest.mark.parametrize(("row", "where"), [
    ({}, "row 2, text"), ({"text": ""}, "row 2, text"), ({"text": " \n"}, "row 2, text"),
    ({"text_pair": "b"}, "row 2, text"), ({"text": "a", "txet": "b"}, "row 2, txet"),
    ({"text": "a", "label": "b"}, "row 2, label")])
def test_a_row_that_asks_nothing_is_refused_by_number_and_key(client: TestClient, row: dict[str, str], where: str):
    ready_model()
    asked = {"model": "local/small", "task": "text_classification", "rows": [{"text": "a", "text_pair": ""}, row]}
    answer = client.post("/api/v1/predictions", json=asked | {"wait": 0})
    assert (answer.status_code, answer.json()["kind"], answer.json()["where"]) == (422, "row_invalid", where)
    assert "{text, text_pair}" in answer.json()["try_this"] and "Row 2" in answer.json()["what"]
    assert client.post("/api/v1/predictions", json=asked | {"rows": asked["rows"][:1], "wait": 0}).status_code == 202


@pytest.mark.parametrize("number", ["2147483648", "99999999999999999999", "9" * 5000])
@pytest.mark.parametrize("path", [
    "runs?offset=", "datasets?offset=", "models?offset=", "adapters?offset=", "compositions?offset=", "runs?limit=",
    "runs/{run}/log?since=", "runs/{run}/log?limit=", "runs/{run}/metrics?since=", "runs/{run}/metrics?since=loss:",
    "datasets/{dataset}?preview=", "predictions/{run}/events?after="])
def test_a_number_that_no_database_holds_is_refused(client: TestClient, path: str, number: str):
    ready_model()
    dataset = ready_dataset()
    run = client.post("/api/v1/runs", json=spec(dataset)).json()["id"]
    answer = client.get(f"/api/v1/{path.format(run=run, dataset=dataset)}{number}")
    if "events" in path and len(number) == 10:
        assert answer.status_code == 404  # Such a moment there may be.
        return
    assert (answer.status_code, answer.json()["kind"]) == (422, "request_invalid"), answer.text


def test_errors_in_the_data_forbid_a_run_and_warnings_come_with_it(client: TestClient):
    ready_model()
    error = Finding(kind="one_label", level="error", what="All rows have the label 'a'.", try_this="Add.", rows=[1])
    bad = ready_dataset(findings=[error.model_dump()])
    refused = client.post("/api/v1/runs", json=spec(bad))
    assert refused.status_code == 422 and refused.json()["findings"][0]["rows"] == [1]
    assert "All rows have the label" in refused.json()["what"]
    warning = Finding(kind="duplicates", level="warning", what="Two rows are the same.", try_this="Look.")
    fine = ready_dataset("fine", findings=[warning.model_dump()])
    started = client.post("/api/v1/runs", json=spec(fine) | {"name": "Mine"})
    assert started.status_code == 201 and started.headers["Location"].endswith(started.json()["id"])
    assert [f["kind"] for f in started.json()["warnings"]] == ["duplicates"]
    assert started.json()["name"] == "Mine" and started.json()["state"] == "queued"


def test_a_breakdown_counts_what_the_form_counts(client: TestClient):
    shape = ready_model()
    body = client.post("/api/v1/breakdown", json=spec(ready_dataset())).json()
    lora = 8 * 2 * 64 * len(shape.modules)
    assert body["ready"] is True and body["obstacles"] == []
    assert body["breakdown"]["parameters"]["head"] == 3 * 65
    assert body["breakdown"]["parameters"]["trained"] == lora + 3 * 65
    assert body["updates"] == 3 * body["steps_per_epoch"] == 3 * 6


def test_the_run_that_is_stored_names_its_columns_and_evaluation_data(client: TestClient):
    ready_model()
    id = ready_dataset()
    other = ready_dataset("eval", eval_of_id=id)
    with_it = client.post("/api/v1/runs", json=spec(id)).json()["spec"]["data"]
    assert with_it["eval"] == other and with_it["columns"] == {"text": "sentence", "label": "label"}
    without = client.post("/api/v1/runs", json=spec(id, data={"train": id, "eval": None})).json()
    assert without["spec"]["data"]["eval"] is None and without["eval_dataset_id"] is None


# -- uploads -----------------------------------------------------------------------------------------------------------


def test_an_uploads_name_is_only_shown_and_never_used_as_a_path(client: TestClient):
    answer = client.post("/api/v1/datasets", files={"file": ("../../../evil.csv", CSV)})
    assert answer.status_code == 201 and answer.json()["filename"] == "evil.csv" and answer.json()["name"] == "evil"
    stored = [path for path in settings().data_dir.parent.rglob("*") if path.is_file() and path.read_bytes() == CSV]
    assert stored == [settings().data_dir / "datasets" / answer.json()["id"] / "original"]
    assert list((settings().data_dir / "uploads").iterdir()) == []


@pytest.mark.parametrize(("parts", "where", "told"), [
    ([("file", ("a.csv", CSV)), ("file", ("b.csv", CSV))], "file", "a.csv, b.csv"),
    ([("file", ("a.csv", CSV)), ("eval", ("b.csv", CSV)), ("eval", ("c.csv", CSV))], "eval", "b.csv, c.csv"),
    ([("file", ("a.csv", CSV)), ("name", (None, b"one")), ("name", (None, b"two"))], "name", "twice")])
def test_a_part_that_comes_twice_is_refused_by_name(client: TestClient, parts: list[Any], where: str, told: str):
    answer = client.post("/api/v1/datasets", files=parts)
    assert (answer.status_code, answer.json()["where"]) == (422, where) and told in answer.json()["what"]
    assert datasets.count(users.local()) == 0
    assert list((settings().data_dir / "uploads").iterdir()) == []


def test_two_files_of_a_model_with_one_name_are_refused(client: TestClient):
    parts = [("file", ("m.gguf", b"GGUF1")), ("file", ("m.gguf", b"GGUF2")), ("name", (None, b"mine"))]
    assert client.post("/api/v1/models", files=parts).json()["kind"] == "model_file_twice"
    parts[1] = ("file", ("n.gguf", b"GGUF2"))
    assert client.post("/api/v1/models", files=parts).json()["kind"] == "gguf_several"
    parts[:2] = [("file", ("n.gguf", b"PK"))]
    assert client.post("/api/v1/models", files=parts).json()["kind"] == "gguf_invalid"
    assert list((settings().data_dir / "models" / "local").iterdir()) == []


def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings(), "max_upload_bytes", 5000)
    answer = client.post("/api/v1/datasets", files={"file": ("big.csv", b"x" * 6000)})
    assert answer.status_code == 413 and answer.json()["kind"] == "upload_too_large"
    assert not any((settings().data_dir / "uploads").glob("*"))


def test_a_document_is_not_read_beyond_what_memory_is_for(client: TestClient):
    document = b'{"task": "' + b"x" * limit.DOCUMENT_BYTES + b'"}'
    for body in (document, iter([document[:2**20]] * 17)):
        answer = client.post("/api/v1/runs", content=body, headers=AS_JSON)
        assert 400 <= answer.status_code < 500 and answer.headers["content-type"] == "application/problem+json"
        assert "x" * 100 not in answer.text


def test_what_was_uploaded_can_be_read_again_after_a_failure(client: TestClient):
    id = client.post("/api/v1/datasets", **form(CSV)).json()["id"]
    assert client.post(f"/api/v1/datasets/{id}/cancel").json()["state"] == "failed"
    again = client.post(f"/api/v1/datasets/{id}/retry").json()
    assert again["state"] == "uploaded" and again["error"] is None
    rows = client.get(f"/api/v1/datasets/{id}?preview=2").json()["preview"]["rows"]
    assert rows[1]["sentence"] == "I want my money back"


def test_deleting_a_dataset_takes_its_files_and_its_evaluation_data_along(client: TestClient):
    id = client.post("/api/v1/datasets", files={"file": ("a.csv", CSV), "eval": ("b.csv", CSV)}).json()["id"]
    assert client.get("/api/v1/datasets").json()["total"] == 2
    assert client.delete(f"/api/v1/datasets/{id}").status_code == 204
    assert client.get("/api/v1/datasets").json()["total"] == 0
    assert [path for path in (settings().data_dir / "datasets").rglob("*") if path.is_file()] == []


def received(chunks: AsyncIterator[bytes], folder: Path, limit: int = 2**40) -> upload.Form:
    """Return the form of a body that arrives in `chunks`."""
    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": await anext(chunks), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    request = Request({"type": "http", "method": "POST", "path": "/", "query_string": b"",
                       "headers": [(b"content-type", b"multipart/form-data; boundary=limit")]}, receive)
    with ThreadPoolExecutor(1) as thread:  # a browser test leaves a loop behind in the main thread
        return thread.submit(asyncio.run, upload.receive(request, folder, limit)).result()


async def body(size: int, *, end: bool = True) -> AsyncIterator[bytes]:
    """Yield a form with a file of `size` bytes in small chunks."""
    yield b'--limit\r\nContent-Disposition: form-data; name="name"\r\n\r\nBig\r\n'
    yield b'--limit\r\nContent-Disposition: form-data; name="file"; filename="big.csv"\r\n\r\n'
    for _ in range(size // 65_536):
        yield b"0123456789abcdef" * 4096
    if end:
        yield b"\r\n--limit--\r\n"


def test_a_large_upload_is_written_to_disk_as_it_arrives(tmp_path: Path):
    size = 128 * 2**20
    tracemalloc.start()
    try:
        form = received(body(size), tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    part = form.file("file")
    assert part.path is not None and part.path.stat().st_size == size and form.fields == {"name": "Big"}
    assert peak < 8 * 2**20
    form.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_ends_early_is_refused_and_leaves_nothing(tmp_path: Path):
    with pytest.raises(upload.UploadCutShort):
        received(body(2**20, end=False), tmp_path)
    with pytest.raises(upload.UploadTooLarge):
        received(body(2**20), tmp_path, limit=2**19)
    assert list(tmp_path.iterdir()) == []


# -- who may see what --------------------------------------------------------------------------------------------------


def test_nobody_gets_in_without_an_account(signed: TestClient):
    answer = signed.get("/api/v1/runs")
    assert answer.status_code == 401 and answer.json()["kind"] == "not_signed_in"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert signed.get("/api/v1/runs", headers={"Authorization": "Bearer pst_guess"}).status_code == 401
    page = signed.get("/train?a=b", headers={"Accept": "text/html"}, follow_redirects=False)
    assert page.status_code == 303 and page.headers["Location"] == "/login?next=%2Ftrain%3Fa%3Db"


def test_a_token_acts_for_its_owner_only_and_until_it_is_revoked(signed: TestClient):
    ada, bob = accounts.add("ada", "correct horse"), accounts.add("bob", "battery staple")
    as_ada = {"Authorization": f"Bearer {accounts.make_token(ada).secret}"}
    token = accounts.make_token(bob)
    as_bob = {"Authorization": f"Bearer {token.secret}"}
    assert signed.get("/api/v1/users/me", headers=as_ada).json()["name"] == "ada"
    made = signed.post("/api/v1/datasets", files={"file": ("a.csv", CSV)}, headers=as_ada).json()["id"]
    assert signed.get(f"/api/v1/datasets/{made}", headers=as_ada).status_code == 200
    for method, path in (("GET", f"/api/v1/datasets/{made}"), ("DELETE", f"/api/v1/datasets/{made}"),
                         ("PATCH", f"/api/v1/datasets/{made}")):
        sent = {"json": {"name": "mine"}} if method == "PATCH" else {}
        assert signed.request(method, path, headers=as_bob, **sent).status_code == 404
    assert signed.get("/api/v1/datasets", headers=as_bob).json()["items"] == []
    accounts.revoke(token.id)
    assert signed.get("/api/v1/users/me", headers=as_bob).status_code == 401


def test_a_local_model_of_somebody_else_cannot_be_used(signed: TestClient):
    people = {name: {"Authorization": f"Bearer {accounts.make_token(accounts.add(name, 'correct horse')).secret}"}
              for name in ("ada", "bob")}
    weights = {"files": {"file": ("model.safetensors", b"x")}, "data": {"name": "mine"}}
    refs = [signed.post("/api/v1/models", **weights, headers=who).json()["ref"] for who in people.values()]
    assert len(set(refs)) == 2 and all(ref.endswith(".mine") for ref in refs)
    for ref in ("local/mine", refs[0]):
        assert signed.post("/api/v1/models", json={"id": ref}, headers=people["bob"]).status_code == 422
        asked = {"model": ref, "task": "text_classification", "rows": [{"text": "a"}]}
        assert signed.post("/api/v1/predictions", json=asked, headers=people["bob"]).status_code == 404
        assert signed.post("/api/v1/runs", json=spec("ds_none", model={"id": ref}),
                           headers=people["bob"]).status_code == 422
    with pytest.raises(NotYours):
        service.add_model_folder(accounts.by_name("bob"), settings().data_dir)


def test_signing_in_sets_a_cookie_that_a_changed_password_ends(signed: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(login, "BELIEVED_SECONDS", 0.0)
    ada = accounts.add("ada", "correct horse")
    assert 'name="password"' in signed.get("/login").text
    wrong = signed.post("/login", data={"name": "ada", "password": "nonsense"})
    assert wrong.status_code == 401 and "do not fit" in wrong.text
    right = signed.post("/login", data={"name": "ada", "password": "correct horse", "next": "/runs"},
                        follow_redirects=False)
    assert right.status_code == 303 and right.headers["Location"] == "/runs"
    cookie = right.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert signed.get("/api/v1/users/me").json()["id"] == ada.id
    accounts.set_password(ada, "another horse")
    assert signed.get("/api/v1/users/me").status_code == 401


@pytest.mark.parametrize("target", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "x"])
def test_signing_in_never_leads_elsewhere(signed: TestClient, target: str):
    accounts.add("ada", "correct horse")
    answer = signed.post("/login", data={"name": "ada", "password": "correct horse", "next": target},
                         follow_redirects=False)
    assert answer.headers["Location"] == "/"


def test_a_forged_cookie_or_a_form_from_another_site_does_not_sign_in(signed: TestClient):
    ada = accounts.add("ada", "correct horse")
    signed.cookies.set("studio_session", f"abc~{ada.id}~0123456789abcdef.{'0' * 64}")
    assert signed.get("/api/v1/users/me").status_code == 401
    answer = signed.post("/login", data={"name": "ada", "password": "correct horse"}, follow_redirects=False,
                         headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403 and "Set-Cookie" not in answer.headers


def test_passwords_cannot_be_tried_without_end(signed: TestClient):
    accounts.add("ada", "correct horse")
    for _ in range(login.TRIES):
        assert signed.post("/login", data={"name": "ada", "password": "guess"}).status_code == 401
    assert signed.post("/login", data={"name": "ada", "password": "correct horse"}).status_code == 429


def test_a_page_of_another_site_cannot_write(client: TestClient):
    answer = client.post("/api/v1/models", json={"id": "starter/minilm-l6"}, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403


def test_the_api_describes_itself(client: TestClient):
    paths = client.get("/openapi.json").json()["paths"]
    wanted = {"/api/v1/datasets": {"get", "post"}, "/api/v1/datasets/{id}": {"get", "patch", "delete"},
              "/api/v1/models": {"get", "post"}, "/api/v1/runs": {"get", "post"}, "/api/v1/runs/{id}/metrics": {"get"},
              "/api/v1/runs/{id}/log": {"get"}, "/api/v1/runs/{id}/spec": {"get"}, "/api/v1/runs/{id}/stop": {"post"},
              "/api/v1/runs/{id}/resume": {"post"}, "/api/v1/adapters/{id}/merge": {"post"},
              "/api/v1/predictions": {"post"}, "/api/v1/breakdown": {"post"}, "/download/adapters/{id}": {"get"}}
    for path, methods in wanted.items():
        assert methods <= set(paths[path]), path
    upload_form = paths["/api/v1/datasets"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert upload_form["required"] == ["file"]


# -- the whole path ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    """A studio with broker, database and a worker."""
    with studio(tmp_path_factory.mktemp("api") / "data", shared) as made:
        made.work()
        yield made


@pytest.mark.slow
def test_from_a_file_to_an_answer_through_the_api_alone(rig: Rig):
    with make_client() as client:
        csv = "sentence,kind\n" + "".join(f"What is number {i}?,question\nThis is number {i}.,statement\n"
                                          for i in range(30))
        made = client.post("/api/v1/datasets", files={"file": ("kinds.csv", csv), "eval": ("more.csv", csv)}).json()
        _settles(client, f"/api/v1/datasets/{made['id']}", rig)
        dataset = client.get(f"/api/v1/datasets/{made['id']}?preview=3").json()
        assert dataset["state"] == "ready", dataset
        assert dataset["columns"] == {"text": "sentence", "label": "kind"} and dataset["task"] == "text_classification"
        assert len(dataset["preview"]["rows"]) == 3 and len(dataset["eval_datasets"]) == 1
        _model_becomes_ready(client, rig)
        run = _run_succeeds(client, rig, made["id"])
        _curves_and_log_have_cursors(client, run["id"])
        (adapter,) = client.get(f"/api/v1/adapters?run={run['id']}").json()["items"]
        _zip_is_an_adapter(client, adapter["id"])
        _answers_come_whole_and_as_events(client, adapter["id"])
        assert client.get(f"/download/runs/{run['id']}/result.json").json()["state"] == "succeeded"
        assert client.delete(f"/api/v1/runs/{run['id']}").status_code == 204
        assert client.get(f"/api/v1/adapters/{adapter['id']}").json()["run_id"] is None


def _settles(client: TestClient, path: str, rig: Rig) -> None:
    until(lambda: client.get(path).json()["state"] in ("ready", "succeeded", "failed"), 120, rig.tail())


def _model_becomes_ready(client: TestClient, rig: Rig) -> None:
    model = client.post("/api/v1/models", json={"id": "local/bert-tiny"})
    assert model.status_code == 201
    _settles(client, f"/api/v1/models/{model.json()['id']}", rig)
    assert client.get(f"/api/v1/models/{model.json()['id']}").json()["shape"]["layers"] == 2


def _run_succeeds(client: TestClient, rig: Rig, dataset: str) -> dict[str, Any]:
    document = {"task": "text_classification", "model": {"id": "local/bert-tiny"}, "data": {"train": dataset},
                "method": {"name": "lora", "r": 4}, "training": {"epochs": 3, "batch_size": 8, "max_length": 32,
                                                                 "learning_rate": 1e-3, "precision": "fp32"}}
    started = client.post("/api/v1/runs?name=Kinds", json=document)
    assert started.status_code == 201, started.json()
    id = started.json()["id"]
    _settles(client, f"/api/v1/runs/{id}", rig)
    run = client.get(f"/api/v1/runs/{id}").json()
    assert run["state"] == "succeeded" and run["result"]["metrics"]["accuracy"] >= 0.5, run["error"]
    assert client.get(f"/api/v1/runs/{id}/spec").json()["data"]["train"] == dataset
    assert client.post(f"/api/v1/runs/{id}/stop", json={"mode": "save"}).status_code == 409
    assert client.post(f"/api/v1/runs/{id}/resume").json()["kind"] == "not_resumable"
    return run


def _curves_and_log_have_cursors(client: TestClient, run: str) -> None:
    read = client.get(f"/api/v1/runs/{run}/metrics").json()
    assert {"train/loss", "train/learning_rate"} <= {point["name"] for point in read["points"]}
    assert client.get(f"/api/v1/runs/{run}/metrics", params={"since": read["cursor"]}).json()["points"] == []
    later = client.get(f"/api/v1/runs/{run}/metrics", params={"since": "10", "name": "train/loss"}).json()["points"]
    assert later and all(point["step"] > 10 for point in later)
    log = client.get(f"/api/v1/runs/{run}/log").json()
    assert log["lines"] and client.get(f"/api/v1/runs/{run}/log?since={log['cursor']}").json()["lines"] == []


def _zip_is_an_adapter(client: TestClient, adapter: str) -> None:
    answer = client.get(f"/download/adapters/{adapter}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith('attachment; filename="Kinds')
    assert answer.headers["x-content-type-options"] == "nosniff"
    names = [name.rpartition("/")[2] for name in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()]
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "spec.json"} <= set(names)


def _answers_come_whole_and_as_events(client: TestClient, adapter: str) -> None:
    asked = {"adapters": [adapter, None], "rows": [{"text": "What is it?"}]}
    answer = client.post("/api/v1/predictions", json=asked).json()
    assert answer["state"] == "ready", answer
    (mine,), (base,) = answer["result"]["answers"]
    assert mine["label"] in ("question", "statement") and abs(sum(mine["scores"].values()) - 1) < 1e-3
    assert base["note"]
    with client.stream("POST", "/api/v1/predictions", json=asked | {"stream": True}) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        text = "".join(events.iter_text())
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert names[0] == "asked" and names[-1] == "done" and names.count("answer") == 2
    id = json.loads(text.partition("data: ")[2].partition("\n")[0])["id"]
    again = client.get(f"/api/v1/predictions/{id}/events").text
    assert again.rstrip().partition("event: done")[1]


def test_a_question_nobody_takes_can_be_taken_back(client: TestClient):
    ready_model()
    row = service.ask(users.local(), {"model": "local/small", "task": "text_classification", "rows": [{"text": "a"}]})
    assert client.post(f"/api/v1/predictions/{row.id}/stop").json()["state"] == "cancelled"
