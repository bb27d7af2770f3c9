"""Every task is asked alike: through the API, by the lines copied from the page, and on the command line."""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pictures
import pytest
import uvicorn
from fastapi import FastAPI
from rig import Rig, studio, until

from db import models, predictions
from db.settings import settings
from engine import tasks
from studio import api, cli, cli_stack, service, snippets
from studio.guard import Guard
from studio.service import asked_rows
from studio.snippets import Question

EVIL = "Tim's \"dog\" costs $5; `ls` <b>é</b> & more in Rome."
CAT = "a 'cat'.png"
HELLO = [{"role": "user", "content": EVIL}]

#: Task -> (base model, what is asked, the drawing of the reply).
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "text_classification": ("local/bert-tiny", {"row": {"text": EVIL, "text_pair": "-x"}}, "bars"),
    "token_classification": ("local/bert-tiny", {"row": {"tokens": EVIL}}, "marked"),
    "question_answering": ("local/bert-tiny", {"row": {"question": "Where is Tim?", "context": EVIL},
                                               "options": {"shown": 2}}, "marked"),
    "causal_lm": ("local/stories260k", {"conversations": [HELLO], "options": {"temperature": 0.8, "max_new_tokens": 6,
                                                                              "seed": 3}}, ""),
    "seq2seq": ("tiny/mt5", {"row": {"source": EVIL}, "options": {"max_new_tokens": 6, "num_beams": 2}}, "prose"),
    "image_classification": ("tiny/vit", {"files": {"image": CAT}}, "bars"),
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    """A studio with broker, database, a worker, and every base model that is asked."""
    with studio(tmp_path_factory.mktemp("play") / "data", shared) as made:
        made.work()
        until(cli_stack.worker_there, 60, "no worker")
        refs = {case[0] for case in CASES.values()}
        rows = [service.add_model(made.user, ref) for ref in refs]
        until(lambda: all(models.get(made.user, row.id).state in ("ready", "failed") for row in rows), 120, made.tail)
        yield made


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    """The address of a running API."""
    app = FastAPI()
    api.install(app)
    app.add_middleware(Guard, secret=settings().secret_key, host="127.0.0.1")
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        until(lambda: server.started, 30, "the API did not start")
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


def question(task: str) -> Question:
    model, asked, _ = CASES[task]
    return Question(task, model, [None], **asked)


def answers(text: str) -> list[Any]:
    """Return what was said, without how long it took."""
    found = json.loads(text)["result"]["answers"]
    return [{key: value for key, value in one.items() if key != "seconds"} if isinstance(one, dict) else one
            for one in found]


def curled(line: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def scripted(code: str, folder: Path) -> list[Any]:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_task_that_can_be_asked_is_asked_here():
    assert {name for name, task in tasks.every().items() if task.playground} == set(CASES)


@pytest.mark.parametrize("task", CASES)
def test_the_lines_copied_from_the_page_and_the_command_line_get_the_same_answer(
        task: str, rig: Rig, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch):
    asked = question(task)
    (tmp_path / CAT).write_bytes(pictures.data(pictures.noise("reddish", 1)))
    monkeypatch.chdir(tmp_path)
    (first,) = whole = answers(curled(snippets.curl(asked, url), tmp_path))
    reply = first if isinstance(first, dict) else first[0]
    assert reply.get("text") if not CASES[task][2] else reply["drawing"]["kind"] == CASES[task][2], rig.tail()
    if CASES[task][2] == "marked":
        assert reply["drawing"]["text"] == EVIL
    capsys.readouterr()
    words = shlex.split(snippets.command(asked))
    assert cli.main([*words[1:], "--json"]) == 0
    assert answers(capsys.readouterr().out) == whole
    told = scripted(snippets.python(asked, url), tmp_path)
    assert {key: value for key, value in told.items() if key != "seconds"} == first if isinstance(told, dict) \
        else told == first
    assert cli.main(words[1:]) == 0
    assert capsys.readouterr().out.startswith("base: ")
    assert not list((settings().data_dir / "asked").glob("*")), "Images stay only until they are answered."


def test_many_rows_are_heard_in_parts_and_stopping_keeps_what_was_said(rig: Rig):
    ask = {"model": "tiny/mt5", "task": "seq2seq", "rows": [{"source": f"Text {i} {EVIL}"} for i in range(400)],
           "options": {"max_new_tokens": 40}}
    row = service.ask(rig.user, ask)
    parts: list[int] = []
    for message in service.stream(rig.user, row.id):
        if message["event"] == "replies":
            parts.append(len(message["replies"]))
            service.stop_asking(rig.user, row.id)
    over = predictions.get(rig.user, row.id)
    assert over.state == "cancelled" and parts
    (said,) = over.result["answers"]
    assert sum(parts) <= len(said) < 400 and all(reply["drawing"]["kind"] == "prose" for reply in said)


def test_timings_come_with_the_answers(rig: Rig, url: str):
    body = {"model": "local/bert-tiny", "task": "text_classification", "rows": [{"text": "a"}] * 3}
    result = httpx.post(f"{url}/api/v1/predictions", json=body, timeout=120).json()["result"]
    assert len(result["answers"][0]) == 3
    assert result["timings"][0]["seconds"] > 0 and result["timings"][0]["tokens"] == 0
    told = httpx.post(f"{url}/api/v1/predictions", timeout=120, json={
        "model": "local/stories260k", "task": "causal_lm", "messages": HELLO, "options": {"max_new_tokens": 4}}).json()
    assert told["result"]["timings"][0]["tokens"] <= 4


def test_words_may_come_as_a_list(rig: Rig, url: str):
    body = {"model": "local/bert-tiny", "task": "token_classification", "rows": [{"tokens": ["Tim", "ran", "."]}]}
    (reply,), = httpx.post(f"{url}/api/v1/predictions", json=body, timeout=120).json()["result"]["answers"]
    assert "Tim" in reply["drawing"]["text"]


def test_an_image_whose_pixels_are_broken_fails_by_its_name(rig: Rig, url: str):
    data = pictures.data(pictures.noise("reddish", 1, (80, 80)))
    files = {"image": ("half a cat.png", data[:len(data) // 2])}
    told = httpx.post(f"{url}/api/v1/predictions/files", files=files, timeout=120,
                      data={"question": json.dumps({"model": "tiny/vit", "task": "image_classification"})})
    assert told.status_code == 422 and told.json()["kind"] == "image_broken" and "half_a_cat.png" in told.json()["what"]


def vision(**question: Any) -> dict[str, Any]:
    return {"model": "tiny/vit", "task": "image_classification", "wait": 0} | question


PNG = base64.b64encode(pictures.data(pictures.noise("reddish", 1))).decode()


@pytest.mark.parametrize(("asked", "kind", "where"), [
    (vision(rows=[{"image": "not base64!"}]), "row_invalid", "row 1, image"),
    (vision(rows=[{"image": base64.b64encode(b"hello there").decode()}]), "image_broken", "image 1"),
    (vision(rows=[{"image": PNG}, {"image": ""}]), "row_invalid", "row 2, image"),
    (vision(rows=[{"image": [PNG]}]), "row_invalid", "row 1, image"),
    (vision(rows=[{"picture": PNG}]), "row_invalid", "row 1, picture"),
    ({"model": "local/bert-tiny", "task": "question_answering", "rows": [{"question": "a"}]}, "row_invalid",
     "row 1, context"),
    ({"model": "local/bert-tiny", "task": "question_answering", "rows": [{"question": "a", "context": "b"}],
      "options": {"beams": 2}}, "spec_invalid", "options.beams"),
    ({"model": "tiny/mt5", "task": "seq2seq", "rows": [{"source": "a"}], "options": {"num_beams": 0}},
     "spec_invalid", "options.num_beams"),
    ({"model": "local/bert-tiny", "task": "text_classification", "messages": HELLO}, "wrong_question", "rows"),
    ({"model": "local/stories260k", "task": "causal_lm", "messages": HELLO, "options": {"top_p": 2}}, "spec_invalid",
     "options.top_p")])
def test_what_cannot_be_asked_is_refused_by_name(rig: Rig, url: str, asked: dict[str, Any], kind: str, where: str):
    told = httpx.post(f"{url}/api/v1/predictions", json=asked, timeout=30)
    assert (told.status_code, told.json()["kind"], told.json()["where"]) == (422, kind, where), told.json()
    assert told.json()["try_this"]


def test_images_that_are_too_large_are_refused(rig: Rig, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(asked_rows, "IMAGE_BYTES", 2000)
    big = io.BytesIO(os.urandom(4000))
    told = httpx.post(f"{url}/api/v1/predictions", json=vision(rows=[{"image": PNG}]), timeout=30).json()
    assert told["kind"] == "image_too_large"
    told = httpx.post(f"{url}/api/v1/predictions/files", files={"image": ("big.png", big)}, timeout=30,
                      data={"question": json.dumps(vision())}).json()
    assert told["kind"] == "image_too_large" and "big.png" in told["what"]
    (tmp_path / "big.png").write_bytes(big.getvalue())
    words = ["predict", "--model", "tiny/vit", "--task", "image_classification", "--image"]
    assert cli.main([*words, str(tmp_path / "big.png")]) == 2 and "big.png" in capsys.readouterr().err
    assert cli.main([*words, str(tmp_path / "none.png")]) == 2 and "There is no file" in capsys.readouterr().err
    monkeypatch.setattr(asked_rows, "IMAGE_BYTES", 10**6)
    monkeypatch.setattr(asked_rows, "IMAGES_BYTES", 5000)
    told = httpx.post(f"{url}/api/v1/predictions", json=vision(rows=[{"image": PNG}] * 3), timeout=30).json()
    assert told["kind"] == "images_too_large"


@pytest.mark.parametrize("form", ["nonsense", "[1]", '{"rows": [1]}', '{"rows": "x"}'])
def test_a_form_whose_question_is_none_is_refused(rig: Rig, url: str, form: str):
    told = httpx.post(f"{url}/api/v1/predictions/files", files={"image": ("a.png", b"x")}, data={"question": form},
                      timeout=30)
    assert (told.status_code, told.json()["kind"]) == (422, "request_invalid")


@pytest.mark.parametrize("words", ["--row text", "--row =x", "--message hello", "--message robot=x"])
def test_parts_of_another_form_are_named_on_the_command_line(rig: Rig, words: str, capsys: pytest.CaptureFixture[str]):
    task = "causal_lm" if "message" in words else "text_classification"
    assert cli.main(["predict", "--model", "local/bert-tiny", "--task", task, *words.split()]) == 2
    assert "is not of the form" in capsys.readouterr().err


def test_options_of_all_tasks_stand_in_the_openapi_document(url: str):
    document = httpx.get(f"{url}/openapi.json", timeout=30).json()
    body = document["paths"]["/api/v1/predictions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    kinds = schema["properties"]["options"]["anyOf"]
    known = {name for one in kinds for name in one.get("properties", {})}
    assert {"temperature", "top_p", "num_beams", "seed"} <= known


