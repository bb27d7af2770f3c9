"""Taggers, readers and writers in the studio: their data is recognised, and what is asked follows from the task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from db import adapters, datasets, users
from db.blobs import Blobs
from engine import tasks
from studio import service
from studio.pages import adapters as adapter_page
from studio.pages import playground
from studio.service.predictions import NotPlayable
from worker.orders import inspect_dataset

TAGGED = "Tim\tB-PER\nran\tO\n\n" * 30
QUESTIONS = json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "Tim lives in Rome.", "qas": [
    {"id": str(i), "question": f"Where does Tim live, question {i}?", "answers": [{"text": "Rome", "answer_start": 13}]}
    for i in range(25)]}]}]})


class Quiet:
    """The line of an order nobody listens to."""

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell nobody."""

    def cancelled(self) -> bool:
        """Nobody changes their mind."""
        return False


@pytest.mark.parametrize(("content", "rows", "task", "roles"), [
    (TAGGED, 30, "token_classification", {"tokens": "tokens", "tags": "tags"}),
    (QUESTIONS, 25, "question_answering", {"question": "question", "context": "context", "answers": "answers"})])
def test_files_of_these_tasks_are_recognised_counted_and_without_errors(
        tmp_path: Path, content: str, rows: int, task: str, roles: dict[str, str]) -> None:
    (tmp_path / "original").write_text(content)
    order: dict[str, Any] = {"original": str(tmp_path / "original"), "parquet": str(tmp_path / "rows.parquet")}
    found = json.loads(json.dumps(inspect_dataset.carry_out(order, Quiet())))  # pyright: ignore[reportArgumentType]
    assert (found["rows"], found["task"], found["columns"]) == (rows, task, roles)
    assert found["stats"]["characters"] and not [item for item in found["findings"] if item["level"] == "error"]


@pytest.mark.parametrize(("task", "columns", "learned"), [
    ("seq2seq", {"prompt": "mr", "completion": "ref"}, {"source": "mr", "target": "ref"}),
    ("seq2seq", {"prompt": "mr", "completion": "ref", "system": "told"}, {}),
    ("causal_lm", {"text": "mr", "label": "ref"}, {})])
def test_another_task_takes_the_columns_where_each_of_them_has_a_part_in_it(
        user: users.User, task: str, columns: dict[str, str], learned: dict[str, str]) -> None:
    data = datasets.create(user, name="pubs", state="ready", columns=columns, rows=40, task=(
        "causal_lm" if "prompt" in columns else "text_classification"), source={"columns": ["mr", "ref", "told"]})
    found = service.check(user, {"task": task, "model": {"id": "tiny/t5"}, "data": {"train": data.id},
                                 "method": {"name": "lora"}})
    assert found.spec.data.columns == learned
    assert ("role_missing" in {one.kind for one in found.obstacles}) == (not learned)


def published(user: users.User, task: str) -> Any:
    return adapters.publish(user, name=f"my {task}", model="tiny/bert", task=task, method="lora", key=task)


def test_a_task_the_playground_cannot_ask_is_refused_with_a_way_out(user: users.User,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    task = "seq2seq"
    monkeypatch.setattr(tasks.get(task), "playground", "")
    row = published(user, task)
    with pytest.raises(NotPlayable) as caught:
        service.ask(user, {"adapters": [row.id], "rows": [{"text": "Tim ran."}]})
    assert "README" in caught.value.as_dict()["try_this"]
    assert "/playground" not in str(adapter_page._view(user, row)[1])
    chosen, rows, chat, nothing, *_ = playground.view(user, f"tiny/bert · {task}", [row.id], 6)
    assert not rows.visible and not chat.visible and "cannot be tried here yet" in nothing


@pytest.mark.parametrize("task", tasks.every())
def test_the_playground_asks_for_what_a_task_reads(user: users.User, task: str) -> None:
    kind, row = tasks.get(task), published(user, task)
    _, rows, chat, nothing, image, settings, how, examples, *boxes = playground.view(
        user, f"tiny/bert · {task}", [row.id], 6)
    boxes = boxes[:2]
    assert (rows.visible, chat.visible, nothing) == (kind.playground != "chat", kind.playground == "chat", "")
    if rows.visible:
        shown = [box.label for box in boxes if box.visible]
        assert [label.partition(" (")[0] for label in shown] == [r.title for r in kind.asks if r.kind != "image"]
        assert image.visible == any(role.kind == "image" for role in kind.asks)
        assert how.visible == bool(kind.asking.model_fields)
        assert {f["name"] for g in settings["groups"] for f in g["fields"]} == set(kind.asking.model_fields)


@pytest.mark.parametrize(("trained", "labels"), [
    ([], ["Text", "Second text (may stay empty)"]), ([["text", "label"]], ["Text"]),
    ([["text", "text_pair", "label"]], ["Text", "Second text"]),
    ([["text", "label"], ["text", "text_pair"]], ["Text", "Second text (may stay empty)"]),
    ([[], ["text"]], ["Text", "Second text (may stay empty)"])])
def test_the_playground_asks_for_what_the_adapters_were_trained_with(user: users.User, trained: list[list[str]],
                                                                    labels: list[str]) -> None:
    ids: list[str] = []
    for number, roles in enumerate(trained):
        folder = Blobs().place(f"adapters/{number}")
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "studio.json").write_text(json.dumps({"columns": {role: role for role in roles}}))
        ids.append(adapters.publish(user, name=f"a{number}", model="tiny/bert", task="text_classification",
                                    method="lora", key=f"adapters/{number}").id)
    *_, text, pair = playground.view(user, "tiny/bert · text_classification", ids, 6)[:10]
    assert [box.label for box in (text, pair) if box.visible] == labels
    # What stood in a box that is hidden is not asked.
    assert pair.visible or pair.value == ""


def test_adapters_that_can_be_asked_lead_to_the_playground(user: users.User) -> None:
    row = published(user, "text_classification")
    assert f"/playground?adapter={row.id}" in str(adapter_page._view(user, row)[1])
