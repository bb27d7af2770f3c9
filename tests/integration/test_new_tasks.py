"""Taggers, readers and writers in the studio: their data is recognised, and what cannot be asked yet says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db import adapters, migrate, users
from db.session import database
from db.settings import settings
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
SILENT = [name for name in tasks.every() if not tasks.playable(name)]


class Quiet:
    """The line of an order nobody listens to."""

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell nobody."""

    def cancelled(self) -> bool:
        """Nobody changes their mind."""
        return False


@pytest.fixture
def user(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[users.User]:
    """The local user of an empty data folder."""
    monkeypatch.delenv("STUDIO_BROKER_URL", raising=False)
    settings.cache_clear()
    migrate.upgrade()
    yield users.local()
    database().dispose()
    settings.cache_clear()


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


def published(user: users.User, task: str) -> Any:
    return adapters.publish(user, name=f"my {task}", model="tiny/bert", task=task, method="lora", key=task)


@pytest.mark.parametrize("task", SILENT)
def test_a_task_the_playground_cannot_ask_is_refused_with_a_way_out(user: users.User, task: str) -> None:
    row = published(user, task)
    with pytest.raises(NotPlayable) as caught:
        service.ask(user, {"adapters": [row.id], "rows": [{"text": "Tim ran."}]})
    assert "README" in caught.value.as_dict()["try_this"]
    assert "/playground" not in str(adapter_page._view(user, row)[1])
    chosen, classify, chat, nothing, *_ = playground._view(user, f"tiny/bert · {task}", [row.id])
    assert not classify.visible and not chat.visible and "cannot be tried here yet" in nothing


def test_adapters_that_can_be_asked_lead_to_the_playground(user: users.User) -> None:
    row = published(user, "text_classification")
    assert f"/playground?adapter={row.id}" in str(adapter_page._view(user, row)[1])
