"""What is found in a dataset for its page: leaks, samples, tokens, rows that runs did badly on, small images."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from byhand import COLUMNS, LABELS, Hand, add, at, tickets
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import update

from db import datasets, runs, users
from db.session import database
from db.settings import settings
from db.tables import Run
from engine import spec as specs
from engine.evaluation import report
from studio import data_problems, data_rows, data_tokens, service
from worker.jobs.look import Look

pytestmark = pytest.mark.usefixtures("hand")


def test_what_a_worker_looks_for_is_asked_once_and_kept(client: TestClient, hand: Hand) -> None:
    columns = tickets(9)
    columns["text"] = ["pay the bill", "a trip to the sea in summer", "PAY the bill", *columns["text"][3:]]
    row = add(hand, columns)
    add(hand, {"text": ["a trip to the sea in summer!", "pay the bill"], "label": ["travel", "money"]}, name="judge",
        eval_of_id=row.id)
    address = f"/api/v1/datasets/{row.id}"
    assert client.get(f"{address}/leaks", params={"wait": 0}).json() == {
        "state": "queued", "progress": 0.0, "found": None, "error": None}
    client.get(f"{address}/leaks", params={"wait": 0})
    assert [job for job, _, _ in hand.rung] == ["look"]
    hand.work()
    found = client.get(f"{address}/leaks").json()["found"]
    assert found["conflicts"][0]["rows"] == [1, 3] and found["conflicts"][0]["answers"] == ["food", "money"]
    assert [(one["row"], one["same_as"]) for one in found["leaks"]] == [(2, 1), (1, 2)]
    client.get(f"{address}/samples", params={"wait": 0})
    hand.work()
    assert {one["label"] for one in client.get(f"{address}/samples").json()["found"]["labels"]} == set(LABELS)
    assert not hand.rung
    service.delete_dataset(users.local(), row.id)
    assert not (settings().data_dir / "datasets" / row.id).exists()


def test_a_look_that_failed_says_why_and_is_tried_again_when_asked(hand: Hand) -> None:
    row = add(hand, tickets(3))
    user = users.local()
    asked = service.looks.batch(user, row.id, "local/none", 64)
    errand = Look(f"{row.id}.{hand.rung[0][2]['name']}")
    assert asked.state == "queued" and errand.take() and not errand.cancelled()
    errand.advance(0.5, {"facts": {"found": {"rows": 1}}})
    assert service.looks.batch(user, row.id, "local/none", 64).found == {"rows": 1}
    errand.fail({"kind": "x", "what": "It broke.", "where": "", "try_this": ""}, cancelled=False)
    assert service.looks.batch(user, row.id, "local/none", 64).state == "failed"
    assert service.looks.batch(user, row.id, "local/none", 64, again=True).state == "queued"
    with pytest.raises(service.looks.BadLength):
        service.looks.batch(user, row.id, "local/none", 2)
    datasets.delete(user, row.id)
    assert errand.cancelled()


def test_the_first_batch_is_made_with_the_chosen_model(client: TestClient, hand: Hand, shared: Path) -> None:
    folder = settings().data_dir / "models" / "local"
    folder.mkdir(parents=True)
    (folder / "bert-tiny").symlink_to(shared / "models" / "bert-tiny")
    row = add(hand, tickets())
    asked = {"model": "local/bert-tiny", "max_length": 8, "wait": 0}
    client.post(f"/api/v1/datasets/{row.id}/batch", json=asked)
    hand.work()
    found = client.post(f"/api/v1/datasets/{row.id}/batch", json=asked).json()["found"]
    assert found["examples"][0]["answer"] == "money" and found["counted"] == 20
    html = data_tokens.draw(users.local(), row, found)
    assert "ps-token-special" in html and ">ticket<" in html


def test_conversations_are_looked_at_in_a_chat_template_once_asked(hand: Hand) -> None:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    row, user = add(hand, {"messages": [talk] * 3}, task="causal_lm", columns={"messages": "messages"}), users.local()
    assert service.looks.chat(user, row.id, "local/none").state == "queued"
    assert [job for job, _, _ in hand.rung] == ["look"]
    with pytest.raises(service.looks.NoConversations):
        service.looks.chat(user, add(hand, tickets(3), name="plain").id, "local/none")


def test_rows_that_runs_were_wrong_about_are_listed_once_and_linked(client: TestClient, hand: Hand) -> None:
    row, user = add(hand, tickets(30)), users.local()
    judge = add(hand, tickets(5), name="judge", eval_of_id=row.id)

    def ran(name: str, numbers: list[int], other: str | None = None) -> None:
        spec = specs.parse({"task": "text_classification", "model": {"id": "local/none"}, "method": {"name": "lora"},
                            "data": {"train": row.id, "eval": other, "columns": COLUMNS}})
        run = runs.create(user, spec, name=name, dataset_id=row.id, eval_dataset_id=other)
        found = report.Evaluation(suspects=[report.Suspect(row=0, number=number, expected="money", predicted="<food>",
                                                           loss=9.0 - number, confidence=0.9) for number in numbers])
        path = settings().data_dir / "runs" / run.id / "attempt-1" / report.FILE
        path.parent.mkdir(parents=True)
        path.write_text(found.model_dump_json())
        with database().write() as opened:
            opened.execute(update(Run).where(Run.id == run.id).values(state="succeeded", token=1, examples=1))
    ran("first", [2, 3])
    ran("second", [3, 7])
    ran("third", [4], judge.id)
    items = client.get(f"/api/v1/datasets/{row.id}/suspects").json()["items"]
    assert [(one["row"], one["run_name"], one["runs"]) for one in items] == [
        (3, "second", 2), (2, "first", 1), (7, "second", 1)]
    assert [one["row"] for one in client.get(f"/api/v1/datasets/{judge.id}/suspects").json()["items"]] == [4]
    html = data_problems.suspected(user, row)
    assert f"dataset={row.id}&amp;tab=rows&amp;row=3" in html and "&lt;food&gt;" in html and "ticket number 7" in html


def test_images_are_served_small_and_only_those_there_are(client: TestClient, hand: Hand) -> None:
    def picture(shade: int) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (300, 200), (shade, 0, 0)).save(out, "PNG")
        return out.getvalue()
    row = add(hand, {"image": [{"bytes": picture(shade), "path": f"{shade}.png"} for shade in range(0, 200, 20)]
                     + [{"bytes": b"no image", "path": "broken.png"}], "label": ["ant", "bee"] * 5 + ["bee"]},
              task="image_classification", columns={"image": "image", "label": "label"})
    address = f"/api/v1/datasets/{row.id}/rows"
    answer = client.get(f"{address}/9/image", params={"size": 60})
    made = Image.open(io.BytesIO(answer.content))
    pixel = made.convert("RGB").getpixel((30, 20))
    assert answer.headers["content-type"] == "image/jpeg" and made.size == (60, 40)
    assert isinstance(pixel, tuple) and abs(pixel[0] - 160) < 6
    assert client.get(f"{address}/11/image").status_code == 422
    assert client.get(f"{address}/12/image").json()["kind"] == "no_image"
    assert client.get(f"{address}/1/image", params={"size": 5000}).status_code == 422
    assert client.get(address).json()["items"][0]["cells"]["image"] == {"path": "0.png", "bytes": len(picture(0))}
    value, _ = data_rows._first(at(row))
    assert value["at"]["view"] == "grid" and value["rows"][2]["cells"][0]["text"] == "40.png"
    labelled = client.post(f"/api/v1/datasets/{row.id}/edits", json={"edits": [
        {"row": 11, "exclude": True}, {"row": 1, "column": "label", "value": "bee"}]}).json()["edits"]
    assert labelled[0]["before"] == "broken.png · bee"
