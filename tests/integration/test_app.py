"""The web app as a whole: what it loads, what it refuses, and the Train page's handlers on a real database."""

from __future__ import annotations

import asyncio
import html
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from db import datasets, migrate, models, runs, users
from db.settings import settings
from engine import starter
from engine.errors import SpecError, StudioError
from engine.shape import HeadModule, ModelShape, Module
from studio import data_detail, doctor, guard, samples, session, shell
from studio.app import create_app, draw
from studio.draft import Draft
from studio.pages import ORDER, data, home, pages, train
from studio.pages import models as models_page
from studio.pages import settings as settings_page

LOCAL = "http://127.0.0.1:7860"


@pytest.fixture
def client(fresh: None) -> Iterator[TestClient]:
    """A browser that has opened the first page."""
    with TestClient(create_app(), base_url=LOCAL) as made:
        assert made.get("/").status_code == 200
        yield made


@pytest.fixture
def other(client: TestClient) -> TestClient:
    """Another browser on the same app."""
    made = TestClient(client.app, base_url=LOCAL)
    assert made.get("/").status_code == 200
    return made


def asking(query: str = "") -> Any:
    """Return the request of a page's event, as Gradio hands it to a handler."""
    scope = {session.SCOPE_KEY: "a-session"}
    return SimpleNamespace(request=SimpleNamespace(scope=scope), headers={"referer": f"{LOCAL}/train{query}"},
                           query_params={})


def llama(layers: int = 32, width: int = 4096, inner: int = 11008, vocab: int = 32000) -> ModelShape:
    """Return the shape of a 7B Llama."""
    sizes = {"query": (width, width), "key": (width, width), "value": (width, width), "output": (width, width),
             "gate": (width, inner), "up": (width, inner), "down": (inner, width)}
    inside = [Module(name=f"layers.{n}.{role}", kind="linear", role=role, layer=n, d_in=i, d_out=o, parameters=i * o)
              for n in range(layers) for role, (i, o) in sizes.items()]
    outside = [Module(name="embed", kind="embedding", role="embedding", d_in=vocab, d_out=width,
                      parameters=vocab * width)]
    return ModelShape(architecture="LlamaModel", model_type="llama", family="decoder", layers=layers, hidden=width,
                      heads=32, kv_heads=32, head_dim=128, intermediate=inner, vocab=vocab, max_length=4096,
                      total=sum(m.parameters for m in inside + outside), modules=inside + outside,
                      task_heads={"causal_lm": [], "text_classification": [HeadModule(name="score", per_label=width)]})


def prepared(shape: ModelShape | None = None) -> Draft:
    """Add a dataset and a base model as if a worker had read them; returns a run on them."""
    user = users.local()
    data = datasets.create(user, name="Tickets", state="ready", rows=400, task="text_classification", confirmed=True,
                           columns={"text": "text", "label": "intent"}, source={"columns": ["text", "intent"]},
                           stats={"label_count": 8}, filename="tickets.csv")
    model = models.create(user, ref="local/llama", title="Llama")
    models.update(user, model.id, state="ready", shape=(shape or llama(2, 64, 128, 100)).model_dump(mode="json"))
    return Draft(dataset=data.id, task="text_classification", model="local/llama", method="lora")


def chosen_on(page: list[Any]) -> list[Any]:
    """Return what a browser sends back of the Train page's first six components."""
    return page[:6]


# -- what it loads -------------------------------------------------------------------------------------------------

def test_importing_and_drawing_the_app_leaves_torch_out_and_stays_under_300_mb(data_dir: Path) -> None:
    script = ("import sys, psutil; from db import migrate; migrate.upgrade(); from studio.app import create_app; "
              "create_app(); heavy = {'torch', 'transformers', 'peft', 'plotly'} & set(sys.modules); "
              "print(sorted(heavy), psutil.Process().memory_info().rss)")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    heavy, _, size = done.stdout.strip().rpartition(" ")
    assert heavy == "[]" and int(size) < 300e6


def test_every_page_answers_with_our_look_and_nothing_from_elsewhere(client: TestClient) -> None:
    assert [page.name for page in pages()] == [name for name in ORDER if name in {page.name for page in pages()}]
    for page in pages():
        answer = client.get(page.path)
        assert answer.status_code == 200 and f"page-{page.name}" in answer.text
        assert "fonts.googleapis" not in answer.text and "cdn." not in answer.text
    assert {"home", "train", "settings"} <= {page.name for page in pages()}


def test_an_address_where_nothing_is_shows_a_page_with_ways_on_and_programs_get_json(client: TestClient) -> None:
    told = {"Accept": "text/html,*/*"}
    for path in ("/nosuchpage", "/runs/run_1", "/%3Cscript%3E", "/download/adapters/ad_none"):
        answer = client.get(path, headers=told)
        assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/html")
        assert 'href="/runs"' in answer.text and "<script>" not in answer.text.partition("<main")[2]
        assert "Content-Security-Policy" in answer.headers
    for path in ("/api/v1/nowhere", "/api/nowhere", "/download/adapters/ad_none"):
        assert "json" in client.get(path).headers["content-type"]


def test_files_of_ours_are_served_and_nothing_beside_them(client: TestClient) -> None:
    for url in re.findall(r'(?:src|href)="([^"]+)"', shell.head()):
        answer = client.get(url)
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    assert b"Plotly" in client.get("/static-studio/plotly.min.js").content
    for name in ("..%2Fapp.py", ".hidden", "no-such.js"):
        assert client.get(f"/static-studio/{name}").status_code == 404


def test_every_event_of_every_page_is_private(fresh: None) -> None:
    demo = draw()
    assert demo.fns and all(fn.api_visibility == "private" for fn in demo.fns.values())


def test_only_what_a_person_does_takes_back_what_was_asked(fresh: None) -> None:
    stopping = [fn for fn in draw().fns.values() if fn.cancels]
    assert stopping
    assert {event for fn in stopping for _, event in fn.targets} <= {"click", "input", "submit"}


@pytest.mark.parametrize(("act", "given", "said"), [
    (data._add, (None, None, ""), ("No file is chosen.", "Choose a file first.")),
    (data_detail._evaluate, (None,), ("No file is chosen.", "Choose a file first.")),
    (models_page._add_starter, ({"chosen": None},), ("No starter model is chosen.", "Choose one of the")),
    (models_page._add_hub, ("  ", ""), ("No model is named.", "Write the model's name first"))])
def test_a_button_pressed_too_early_says_what_is_missing(
        fresh: None, act: Any, given: tuple[Any, ...], said: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    _, card = shell.safely(act, outputs=1, card="card")(*given, request=asking())
    text = html.unescape(card)
    assert said[0] in text and said[1] in text
    assert not caplog.records


def test_health_readiness_and_metrics_answer(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").json() == {"ready": True, "problems": []}
    figures = client.get("/metrics").text
    assert 'studio_runs{state="queued"} 0' in figures and "studio_broker_up 0" in figures
    assert re.search(r"^studio_web_memory_bytes \d+$", figures, re.M)


# -- what it refuses -----------------------------------------------------------------------------------------------

def test_the_cookie_is_kept_from_scripts_and_other_sites_and_pages_cannot_be_framed(fresh: None) -> None:
    with TestClient(create_app(), base_url=LOCAL) as made:
        answer = made.get("/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{guard.COOKIE}=") and "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Origin": "null"},
                                     {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://127.0.0.1:9999"}])
def test_another_site_cannot_make_a_browser_act_here(client: TestClient, headers: dict[str, str]) -> None:
    body = {"data": [], "fn_index": 0, "session_hash": "abc"}
    for path in ("/gradio_api/queue/join", "/api/v1/runs"):
        answer = client.post(path, json=body, headers=headers)
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_no_other_origin_is_ever_allowed_to_read(client: TestClient) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/gradio_api/queue/join", headers=asked)
    assert answer.status_code == 403 and not any(name.startswith("access-control") for name in answer.headers)
    read = client.get("/", headers={"Origin": "http://evil.example"})
    assert not any(name.startswith("access-control") for name in read.headers)


def test_a_name_that_is_not_ours_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"Host": "localhost:7860"}).status_code == 200


def test_a_forged_cookie_is_no_session(client: TestClient) -> None:
    good = client.cookies[guard.COOKIE]
    stranger = TestClient(client.app, base_url=LOCAL, cookies={guard.COOKIE: "x" + good})
    refused = stranger.post("/gradio_api/queue/join", json={"data": [], "fn_index": 0, "session_hash": "mine"})
    assert refused.status_code == 403


def test_one_browser_cannot_touch_the_event_stream_of_another(client: TestClient, other: TestClient) -> None:
    body = {"data": [], "fn_index": 0, "session_hash": "secret1", "trigger_id": None, "event_data": None}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 200
    assert other.post("/gradio_api/queue/join", json=body).status_code == 403
    assert other.get("/gradio_api/queue/data", params={"session_hash": "secret1"}).status_code == 403
    assert other.get("/gradio_api/heartbeat/secret1").status_code == 403
    stop = {"session_hash": "secret1", "fn_index": 0, "event_id": "e"}
    assert other.post("/gradio_api/cancel", json=stop).status_code == 403


def test_an_upload_that_is_cancelled_leaves_no_file(
        fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "uploads"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    app = create_app()
    cookie = TestClient(app, base_url=LOCAL).get("/").headers["set-cookie"].partition(";")[0]
    begun = b'--limit\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n' + b"x" * 2**20
    seen: list[int] = []

    async def receive() -> dict[str, Any]:
        if not seen:
            seen.append(0)
            return {"type": "http.request", "body": begun, "more_body": True}
        seen.append(sum(path.is_file() for path in folder.rglob("*")))
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        """Nobody is listening any more."""

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "raw_path": b"/gradio_api/upload",
             "root_path": "", "scheme": "http", "query_string": b"", "http_version": "1.1", "client": ("127.0.0.1", 1),
             "server": ("127.0.0.1", 7860), "headers": [
                 (b"host", b"127.0.0.1:7860"), (b"cookie", cookie.encode()),
                 (b"content-type", b"multipart/form-data; boundary=limit")]}
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, app(scope, receive, send)).result()
    assert seen[1] == 1, "the upload was being written when the browser went away"
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_an_uploaded_file_belongs_to_the_browser_that_sent_it(client: TestClient, other: TestClient) -> None:
    path = client.post("/gradio_api/upload", files={"files": ("mine.csv", b"text,label\na,b\n")}).json()[0]
    assert client.get(f"/gradio_api/file={path}").content == b"text,label\na,b\n"
    assert other.get(f"/gradio_api/file={path}").status_code == 403
    named = {"data": [[{"path": path, "meta": {"_type": "gradio.FileData"}}]], "fn_index": 0, "session_hash": "other1"}
    assert other.post("/gradio_api/queue/join", json=named).status_code == 403
    assert client.get(f"/gradio_api/file={settings().data_dir / 'studio.db'}").status_code == 403


@pytest.mark.parametrize("path", ["/gradio_api/call/x", "/gradio_api/api/x", "/gradio_api/vibe-code", "/monitoring",
                                  "/gradio_api/runs", "/gradio_api/deep_link", "/gradio_api/proxy=http://127.0.0.1/",
                                  "/gradio_api/stream/a/b/1/playlist.m3u8"])
def test_ways_in_that_no_page_uses_are_closed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 403


def test_an_event_larger_than_any_form_is_refused(client: TestClient) -> None:
    answer = client.post("/gradio_api/queue/join", content=b"x" * (guard.MAX_EVENT_BYTES + 1))
    assert answer.status_code == 413


def test_behind_a_trusted_proxy_that_speaks_https_the_cookie_is_secure(
        fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_TRUSTED_PROXIES", "10.0.0.2, 172.16.0.0/12")
    settings.cache_clear()
    app, told = create_app(), {"X-Forwarded-Proto": "https"}
    secure = {address: "; Secure" in TestClient(app, base_url=LOCAL, client=(address, 5000)).get(
        "/", headers=told).headers["set-cookie"] for address in ("10.0.0.2", "172.16.9.9", "10.0.0.3")}
    assert secure == {"10.0.0.2": True, "172.16.9.9": True, "10.0.0.3": False}
    assert "; Secure" not in TestClient(app, base_url=LOCAL, client=("10.0.0.2", 1)).get("/").headers["set-cookie"]


@pytest.mark.parametrize(("host", "auth", "allowed"), [("127.0.0.1", False, True), ("localhost", False, True),
                                                       ("::1", False, True), ("0.0.0.0", False, False),
                                                       ("192.168.1.5", False, False), ("0.0.0.0", True, True)])
def test_it_listens_for_others_only_with_authentication(host: str, auth: bool, allowed: bool) -> None:
    if allowed:
        guard.check_address(host, auth)
    else:
        with pytest.raises(guard.NotLoopback, match="authentication is off"):
            guard.check_address(host, auth)


# -- how errors look -----------------------------------------------------------------------------------------------

def test_an_error_of_ours_becomes_a_card_and_leaves_the_rest_as_it_is() -> None:
    def breaks() -> tuple[str, str]:
        raise SpecError("training.<b>", problem="<script>alert(1)</script>")
    first, second, shown = shell.safely(breaks, outputs=2, card=object())()
    assert first == second == gr.skip() and 'role="alert"' in shown
    assert "&lt;script&gt;" in shown and "<script>" not in shown and "Correct the field" in shown


def test_an_unexpected_error_shows_a_reference_and_only_the_log_has_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    def breaks() -> str:
        raise RuntimeError("the password is hunter2")
    _, shown = shell.safely(breaks, outputs=1, card=object())()
    reference = re.search(r"reference ([0-9a-f]{8})", shown)
    assert reference and "hunter2" not in shown
    assert reference[1] in caplog.text and "hunter2" in caplog.text


def test_a_handler_that_streams_ends_with_the_card_of_its_error() -> None:
    def breaks() -> Iterator[str]:
        yield "a"
        raise SpecError("x", problem="late")
    made = list(shell.safely(breaks, outputs=1, card=object())())
    assert made[0] == ("a", "") and "late" in made[1][1]


def test_without_a_card_an_error_opens_a_notice_that_stays() -> None:
    def breaks() -> None:
        raise SpecError("x", problem="bad")
    with pytest.raises(gr.Error) as caught:
        shell.safely(breaks)()
    assert "bad" in caught.value.message and caught.value.duration is None


def test_no_handler_works_without_a_session(fresh: None) -> None:
    nobody = SimpleNamespace(request=SimpleNamespace(scope={}), headers={}, query_params={})
    for handler in (train._open, home._look, settings_page._open):
        with pytest.raises(session.NotSignedIn):
            handler(nobody)


# -- the pages ------------------------------------------------------------------------------------------------------

def test_the_train_page_opens_from_its_address_and_starts_the_run_it_shows(fresh: None) -> None:
    draft = prepared()
    page = train._open(asking(draft.url() + "&set=" + '{"method.lora":{"r":4}}'))
    assert page[0]["chosen"] == draft.dataset and page[3]["chosen"] == "local/llama"
    assert page[5]["values"]["method.lora"]["r"] == 4
    assert "ps-good" in page[10] and page[15].interactive, page[10]
    target = train._start(*chosen_on(page), "My run", request=asking())
    made = runs.get(users.local(), target.removeprefix("/runs?run="))
    assert made.name == "My run" and made.state == "queued" and made.spec["method"]["r"] == 4


def test_a_change_shows_new_numbers_and_rewrites_the_address(fresh: None) -> None:
    page = train._open(asking(prepared().url()))
    page[5]["values"]["method.lora"]["r"] = 2
    shown = train._set(*chosen_on(page), request=asking())
    assert shown[2] != page[12] and "set=" in shown[7] and shown[3]["data"]


def test_what_stands_in_the_way_is_said_and_the_button_is_off(fresh: None) -> None:
    page = train._open(asking(prepared().url()))
    page[5]["values"]["training"]["seed"] = -1
    shown = train._set(*chosen_on(page), request=asking())
    assert "seed" in shown[1].lower() and shown[5].interactive is False
    with pytest.raises(SpecError):
        train._start(*chosen_on(page), "", request=asking())


def test_an_impossible_task_or_method_is_disabled_with_the_reason(fresh: None) -> None:
    shape = llama(2, 64, 128, 100).model_copy(update={"task_heads": {"text_classification": [HeadModule(name="s")]}})
    page = train._open(asking(prepared(shape).url()))
    tasks = {option["value"]: option["disabled"] for option in page[2]["options"]}
    assert not tasks["text_classification"] and "cannot" in tasks["causal_lm"]
    page[5]["values"]["model"]["quantization"] = "nf4"
    methods = {o["value"]: o["disabled"] for o in train._changed(*chosen_on(page), request=asking())[4]["options"]}
    assert "quantized" in methods["head"] and not methods["lora"]


def test_a_forged_choice_of_a_disabled_card_counts_for_nothing() -> None:
    value = shell.choices([{"value": "a", "disabled": "no"}, {"value": "b", "disabled": ""}], "a", label="x")
    assert shell.chosen(value) is None and shell.chosen(value | {"chosen": "b"}) == "b"
    assert shell.chosen(value | {"chosen": "c"}) is None and shell.chosen("junk") is None


def test_a_finished_run_can_be_opened_again_to_change_it(fresh: None) -> None:
    page = train._open(asking(prepared().url() + "&set=" + '{"method.lora":{"r":4}}'))
    id = train._start(*chosen_on(page), "", request=asking()).removeprefix("/runs?run=")
    again = train._open(asking(f"?from={id}"))
    assert again[5]["values"]["method.lora"]["r"] == 4 and again[0]["chosen"] == page[0]["chosen"]
    with pytest.raises(StudioError, match="There is no run"):
        train._open(asking("?from=run_aaaaaaaaaa"))


def test_names_of_datasets_and_models_are_shown_as_text(fresh: None) -> None:
    draft = prepared()
    datasets.rename(users.local(), draft.dataset, "<img src=x onerror=alert(1)>")
    shown = "".join(part for part in train._open(asking(draft.url())) if isinstance(part, str))
    assert "<img" not in shown


def test_the_preview_of_a_7b_model_takes_less_than_100_ms_a_change(fresh: None) -> None:
    page = train._open(asking(prepared(llama()).url()))
    taken = []
    for rank in (4, 8, 16, 32, 64, 128, 256):
        page[5]["values"]["method.lora"]["r"] = rank
        began = time.process_time()
        shown = train._set(*chosen_on(page), request=asking())
        taken.append(time.process_time() - began)
        assert "Trained" in shown[2]
    assert sorted(taken)[3] < 0.1, taken


def test_sample_data_leads_to_a_train_page_that_says_what_it_waits_for(fresh: None) -> None:
    if not starter.installed(starter.get(samples.SAMPLES["support_tickets"].model)):
        pytest.skip("the starter model's package is not installed")
    target = home._prepare("support_tickets", asking())
    page = train._open(asking("?" + target.partition("?")[2]))
    assert page[3]["chosen"] == "starter/minilm-l6" and page[2]["chosen"] == "text_classification"
    assert "Reading" in page[10] and page[15].interactive is False and page[18].active
    assert home._prepare("support_tickets", asking()) == target, "a second click adds nothing"


def test_the_first_page_of_an_empty_studio_says_what_to_do(fresh: None) -> None:
    state, listing = home._look(asking())
    assert "No worker is running" in state and "Nothing has been trained yet" in listing and "/data" in listing


def test_settings_show_everything_but_the_secret(fresh: None) -> None:
    shown = "".join(settings_page._open(asking()))
    secret = settings().secret_key
    assert secret and secret.get_secret_value() not in shown and "********" in shown
    assert "STUDIO_DATA_DIR" in shown and str(settings().data_dir) in shown


def test_the_doctor_finds_what_is_wrong(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {item.name: item.level for item in doctor.report()}
    assert found["database"] == found["folder"] == "good" and found["workers"] == found["broker"] == "warn"
    assert doctor.worker_alive().level == "bad"
    monkeypatch.setattr(migrate, "head", lambda: "9999")
    behind = next(item for item in doctor.report() if item.name == "database")
    assert behind.level == "bad" and "migrate" in behind.try_this and not doctor.healthy([behind])
