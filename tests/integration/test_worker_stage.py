"""The playground: models answer from children of their own, words arrive as they are made, and stop when told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from rig import Rig, studio

from db import adapters, predictions
from worker import client

pytestmark = pytest.mark.shared

CHAT = {"model": "local/stories260k", "task": "causal_lm", "adapters": [None],
        "messages": [{"role": "user", "content": "Once upon a time"}]}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Rig]:
    with studio(tmp_path_factory.mktemp("studio"), shared) as made:
        made.work()
        yield made


def ask(rig: Rig, **request: Any) -> str:
    id = predictions.create(rig.user, request).id
    assert client.ask(id)
    return id


def kill_children(rig: Rig) -> None:
    """Kill what the fork server forked."""
    for process in psutil.Process(rig.workers[0].pid).children(recursive=True):
        if process.ppid() != rig.workers[0].pid:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def test_base_and_adapter_classify_side_by_side(rig: Rig) -> None:
    run = rig.ended(rig.train(name="classifier"))
    adapter = adapters.of_run(rig.user, run.id)
    assert adapter is not None, run.error
    id = ask(rig, model="local/bert-tiny", task="text_classification", adapters=[None, adapter.id],
             rows=[{"text": "Who wrote this ?"}, {"text": "How many are there ?"}])
    heard = list(client.stream(id, timeout=60))
    assert heard[-1]["event"] == "done" and heard[-1]["state"] == "ready", heard[-1]
    answers = {one["index"]: one["answer"] for one in heard if one["event"] == "answer"}
    assert set(answers) == {0, 1} and len(answers[1]) == 2
    assert set(answers[1][0]["scores"]) == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert answers[0][0]["note"], "an untrained head says so"
    row = predictions.get(rig.user, id)
    assert row.state == "ready" and row.result["answers"] == [answers[0], answers[1]]
    assert len(row.result["timings"]) == 2 and all(one["seconds"] > 0 for one in row.result["timings"])


def test_chat_streams_its_words_and_a_second_question_finds_the_model_warm(rig: Rig) -> None:
    first = list(client.stream(ask(rig, **CHAT, options={"max_new_tokens": 40, "temperature": 0.0}), timeout=60))
    assert first[-1]["state"] == "ready", first[-1]
    said = "".join(one["text"] for one in first if one["event"] == "text")
    answer = next(one["answer"] for one in first if one["event"] == "answer")
    assert answer["text"] and answer["text"].strip() in said and answer["tokens"] > 0
    assert any(one.get("state") == "loading" for one in first)
    second = list(client.stream(ask(rig, **CHAT, options={"max_new_tokens": 40, "temperature": 0.0}), timeout=60))
    assert not any(one.get("state") == "loading" for one in second)
    assert next(one["answer"]["text"] for one in second if one["event"] == "answer") == answer["text"]


def test_stream_goes_on_from_a_cursor(rig: Rig) -> None:
    id = ask(rig, **CHAT, options={"max_new_tokens": 60, "temperature": 0.0})
    whole = list(client.stream(id, timeout=60))
    later = list(client.stream(id, after=whole[1]["cursor"], timeout=60))
    assert later == whole[2:]


def test_answer_stops_when_told_and_keeps_what_was_said(rig: Rig) -> None:
    ids = [ask(rig, **CHAT, options={"max_new_tokens": 450, "temperature": 1.0, "seed": n}) for n in range(12)]
    for id in ids:
        client.stop_asking(id)
    ends = [list(client.stream(id, timeout=60)) if predictions.get(rig.user, id).state != "cancelled" else []
            for id in ids]
    assert {predictions.get(rig.user, id).state for id in ids} <= {"cancelled", "ready"}
    assert predictions.get(rig.user, ids[-1]).state == "cancelled"
    assert all(not heard or heard[-1]["event"] == "done" for heard in ends)
    assert not any(one["event"] in ("text", "answer") for one in ends[-1]), "stopped before it began"


def test_question_without_a_model_fails_by_name(rig: Rig) -> None:
    heard = list(client.stream(ask(rig, messages=[{"role": "user", "content": "hello"}]), timeout=30))
    assert heard[-1]["state"] == "failed" and heard[-1]["error"]["kind"] == "spec_invalid"


def test_model_that_dies_is_loaded_again_for_the_next_question(rig: Rig) -> None:
    list(client.stream(ask(rig, **CHAT, options={"max_new_tokens": 5}), timeout=60))
    kill_children(rig)
    heard = list(client.stream(ask(rig, **CHAT, options={"max_new_tokens": 5}), timeout=60))
    assert heard[-1]["state"] == "ready", heard[-1]
    assert any(one.get("state") == "loading" for one in heard)
    busy = ask(rig, **CHAT, options={"max_new_tokens": 450, "temperature": 1.0})
    for one in client.stream(busy, timeout=60):
        if one["event"] == "text":
            kill_children(rig)
    assert one["state"] in ("failed", "ready") and predictions.get(rig.user, busy).state == one["state"]
    after = list(client.stream(ask(rig, **CHAT, options={"max_new_tokens": 5}), timeout=60))
    assert after[-1]["state"] == "ready", after[-1]
