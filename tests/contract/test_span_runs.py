"""Taggers and readers of texts longer than the model reads at once: they learn, and mark what they found."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import toys

from engine import events as happened
from engine import spec as specs
from engine.drawing import Marked
from engine.predict import Player
from engine.tasks import get
from engine.train import run

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("one_thread")]

FILLERS = ("the", "old", "dog", "ran", "over", "a", "hill", "and", "saw", "two", "cats", "by", "river", "rain")
PEOPLE, TOWNS = ("Tim", "Lily", "Anna", "Peter"), ("Rome", "Paris", "London", "Berlin")
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"name": "lora", "r": 8}, "prefix": {"name": "prefix_tuning", "length": 8},
    "p_tuning_v2": {"name": "p_tuning_v2", "length": 8}}
#: Passes over the rows that are enough.
EPOCHS = {"lora": 5, "prefix": 9, "p_tuning_v2": 9}
#: Longest text in tokens: less than half of what a row below has.
LENGTH = 24


def tagged(chance: random.Random) -> dict[str, Any]:
    words, tags = [], []
    while len(words) < 45:
        pick = chance.random()
        if pick < 0.12:
            words += [chance.choice(PEOPLE), "Smith"]
            tags += ["B-PER", "I-PER"]
        else:
            words.append(chance.choice(TOWNS if pick < 0.24 else FILLERS))
            tags.append("B-LOC" if pick < 0.24 else "O")
    return {"tokens": words, "tags": tags}


def asked(chance: random.Random, answered: bool) -> dict[str, Any]:
    words = [chance.choice(FILLERS) for _ in range(40)]
    town = chance.choice(TOWNS)
    if answered:
        words.insert(chance.randint(0, 40), town)
    passage = " ".join(words)
    found = {"text": [town], "answer_start": [passage.index(town)]} if answered else {"text": [], "answer_start": []}
    return {"question": "Which town?", "context": passage, "answers": found}


def trained(shared: Path, out: Path, task: str, rows: list[dict[str, Any]], method: dict[str, Any], epochs: int,
            **options: Any) -> dict[str, Any]:
    data = out.with_suffix(".jsonl")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plan = specs.parse({
        "task": task, "model": {"id": str(shared / "models" / "bert-tiny")}, "method": method,
        "data": {"train": str(data), "eval": str(data), "columns": {name: name for name in rows[0]},
                 "options": {"stride": 8} | options},
        "training": {"epochs": epochs, "batch_size": 8, "max_length": LENGTH, "eval_every": 5, "seed": 1}})
    return run(plan, out)


def scores(out: Path) -> list[float]:
    return [event.metrics["f1"] for event in toys.events(out) if isinstance(event, happened.Evaluated)]


@pytest.mark.parametrize("method", METHODS)
def test_a_tagger_of_long_texts_learns_with_every_method_and_marks_what_is_typed(method: str, shared: Path,
                                                                                  tmp_path: Path) -> None:
    chance = random.Random(0)
    rows = [tagged(chance) for _ in range(24)]
    ended = trained(shared, tmp_path / "run", "token_classification", rows, METHODS[method], EPOCHS[method],
                    constrained=True)
    assert ended["state"] == "succeeded", ended["error"]
    f1 = scores(tmp_path / "run")
    assert f1[-1] > max(0.8, f1[0]), f1
    assert ended["metrics"]["f1"] == f1[-1] and ended["metrics"]["accuracy"] > 0.8
    player = Player(shared / "models" / "bert-tiny", "token_classification")
    player.attach("a", tmp_path / "run" / "adapter")
    typed = "It rained when Tim Smith, an old man, came to " + "the hill and the river and " * 12 + "Paris."
    answered, = player.respond(["a"], [{"tokens": typed}, {"tokens": rows[0]["tokens"]}, {"tokens": " "}])
    first, second, empty = answered["replies"]
    drawn = Marked.model_validate(first["drawing"])
    assert drawn.text == typed and all(0 < (span.score or 0) <= 1 for span in drawn.spans)
    found = {typed[span.start:span.end]: span.label for span in drawn.spans}
    assert found.get("Paris") == "LOC" and "PER" in found.values()
    filled = get("token_classification")().filled(second)
    right = [a == b for a, b in zip(json.loads(filled["tags"]), rows[0]["tags"], strict=True)]
    assert json.loads(filled["words"]) == rows[0]["tokens"] and sum(right) > 0.8 * len(right)
    assert all(one["text"] == second["drawing"]["text"][one["start"]:one["end"]]
               for one in json.loads(filled["entities"]))
    assert empty["note"] == "There is no text." and not empty["drawing"]["spans"]


@pytest.mark.parametrize("method", METHODS)
def test_a_reader_of_long_passages_learns_with_every_method_and_knows_when_to_be_silent(method: str, shared: Path,
                                                                                        tmp_path: Path) -> None:
    chance = random.Random(0)
    rows = [asked(chance, i % 4 > 0) for i in range(48)]
    ended = trained(shared, tmp_path / "run", "question_answering", rows, METHODS[method], EPOCHS[method],
                    unanswerable=True)
    assert ended["state"] == "succeeded", ended["error"]
    f1 = scores(tmp_path / "run")
    assert f1[-1] > max(0.8, f1[0]), f1
    assert {"exact_match", "has_answer_f1", "no_answer_accuracy", "no_answer_margin"} <= set(ended["metrics"])
    facts = json.loads((tmp_path / "run" / "adapter" / "studio.json").read_text(encoding="utf-8"))
    assert facts["options"]["margin"] == ended["metrics"]["no_answer_margin"]
    player = Player(shared / "models" / "bert-tiny", "question_answering")
    player.attach("a", tmp_path / "run" / "adapter")
    questions = [{"question": row["question"], "context": row["context"]} for row in rows]
    answered, = player.respond(["a"], [*questions, {"question": "Which town?", "context": ""}], options={"shown": 3})
    replies = answered["replies"]
    task = get("question_answering")(unanswerable=True)
    filled = [task.filled(reply) for reply in replies]
    # A person is told what evaluation counted.
    right = [one["answer"] == "".join(row["answers"]["text"]) for one, row in zip(filled, rows, strict=False)]
    assert sum(right) / len(rows) == pytest.approx(ended["metrics"]["exact_match"])
    for reply, one, row in zip(replies, filled, rows, strict=False):
        assert len(reply["scores"]) <= 4 and sum(reply["scores"].values()) <= 1.0001
        marked = Marked.model_validate(reply["drawing"])
        assert marked.text == row["context"] and len(marked.spans) == bool(one["answer"])
        assert not one["answer"] or row["context"][one["start"]:].startswith(one["answer"])
        assert one["score"] == reply["scores"][reply["label"]]
    assert replies[-1]["note"] == "There is no passage." and replies[-1]["label"] == "no answer"


def test_tags_of_whole_texts_do_not_depend_on_the_windows_once_these_are_wide(shared: Path, tmp_path: Path) -> None:
    chance = random.Random(3)
    rows = [tagged(chance) for _ in range(16)]
    trained(shared, tmp_path / "run", "token_classification", rows, METHODS["lora"], 3)
    player = Player(shared / "models" / "bert-tiny", "token_classification")
    player.attach("a", tmp_path / "run" / "adapter")
    studio = tmp_path / "run" / "adapter" / "studio.json"
    facts = json.loads(studio.read_text(encoding="utf-8"))
    found = []
    for length in (32, 512):
        studio.write_text(json.dumps(facts | {"max_length": length}), encoding="utf-8")
        player.attach("a", tmp_path / "run" / "adapter")
        asking = [{"tokens": row["tokens"]} for row in rows]
        answered, = player.respond(["a"], asking)
        found.append([tag for reply in answered["replies"] for tag in reply["tags"]])  # type: ignore[typeddict-item]
    same = [a == b for a, b in zip(*found, strict=True)]
    assert len(same) == sum(len(row["tokens"]) for row in rows) and sum(same) > 0.95 * len(same)


@pytest.mark.parametrize(("name", "task", "metric"), [
    ("crossner/ai", "token_classification", "accuracy"), ("btc", "token_classification", "accuracy"),
    ("fairytaleqa", "question_answering", "exact_match")])
def test_real_files_are_learned_from_as_they_are(name: str, task: str, metric: str, shared: Path,
                                                 tmp_path: Path) -> None:
    from engine.data import columns, read

    files = {"crossner/ai": "train.txt", "btc": "e.conll", "fairytaleqa": "val_squad.json"}
    table = read.read(shared / "data" / name / files[name])
    found = columns.guess(table)
    assert found.task == task
    some = table.slice(0, 24).select(list(found.columns.values()))
    data = tmp_path / "some.parquet"
    pq.write_table(some, data)
    ended = run(specs.parse({
        "task": task, "model": {"id": str(shared / "models" / "bert-tiny")}, "method": {"name": "p_tuning_v2"},
        "data": {"train": str(data), "columns": found.columns, "options": found.options},
        "training": {"max_steps": 2, "batch_size": 8, "max_length": 48, "seed": 1}}), tmp_path / "run")
    assert (ended["state"], ended["steps"]) == ("succeeded", 2)
    assert 0 <= ended["metrics"][metric] <= 1 and 0 < ended["metrics"]["loss"] < 10
