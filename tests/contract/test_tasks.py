"""Every task: data in, tokens, a loss that falls, the usual metrics and examples out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from engine import methods, models, precision, tasks, tiny
from engine.batches import split

pytestmark = pytest.mark.shared

GOOD = ["a lovely film", "so much fun", "great, warm and funny", "I loved every minute of it, truly", "superb"]
BAD = ["a dreadful film", "so very dull", "awful, cold and sad", "I hated every minute of it, sorry", "terrible"]
TEXTS = [*GOOD, *BAD] * 2
TALK = [[{"role": "user", "content": f"Tell me about {who}."},
         {"role": "assistant", "content": f"Once upon a time there was {who}. " * (1 + i % 3)}]
        for i, who in enumerate(["a dog", "Tim", "the sun", "a cat", "Lily", "a ball"])]

WORDS = [["Tim", "Berners-Lee", "met", "Lily", "."], ["the", "dog", "saw", "Lily", "in", "Rome"],
         ["no", "one", "there"]]
TAGS = [["B-PER", "I-PER", "O", "B-PER", "O"], ["O", "O", "O", "B-PER", "O", "B-LOC"], ["O"] * 3]
TOWNS = ["Rome", "Oslo", "Paris", "Bonn"]
PASSAGES = [f"Once upon a time Tim lived in {where}, a town by the sea." for where in TOWNS]
ASKED = {"question": "q", "context": "c", "answers": "a"}

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, str], set[str]]] = {
    "single": ("text_classification", {}, {"t": TEXTS, "y": (["good"] * 5 + ["bad"] * 5) * 2},
               {"text": "t", "label": "y"}, {"accuracy", "f1", "f1_micro", "matthews_correlation", "loss"}),
    "pair": ("text_classification", {}, {"t": TEXTS, "u": TEXTS[::-1], "y": [0, 1, 2, 1] * 5},
             {"text": "t", "text_pair": "u", "label": "y"}, {"accuracy", "f1", "matthews_correlation", "loss"}),
    "multi_label": ("text_classification", {"problem": "multi_label"},
                    {"t": TEXTS, "y": (["warm|fun"] * 3 + ["fun"] * 2 + ["cold"] * 3 + [""] * 2) * 2},
                    {"text": "t", "label": "y"}, {"accuracy", "f1", "f1_micro", "loss"}),
    "regression": ("text_classification", {"problem": "regression"},
                   {"t": TEXTS, "y": [1.0] * 5 + [-1.0] * 5 + [0.5] * 10},
                   {"text": "t", "label": "y"}, {"mse", "mae", "pearson", "spearman", "loss"}),
    "messages": ("causal_lm", {}, {"m": TALK}, {"messages": "m"}, {"loss", "perplexity"}),
    "prompt": ("causal_lm", {}, {"p": [t[0]["content"] for t in TALK], "c": [t[1]["content"] for t in TALK]},
               {"prompt": "p", "completion": "c"}, {"loss", "perplexity"}),
    "text": ("causal_lm", {}, {"t": [t[1]["content"] for t in TALK]}, {"text": "t"}, {"loss", "perplexity"}),
    "unpacked": ("causal_lm", {"packing": False, "learn_from": "everything"}, {"m": TALK}, {"messages": "m"},
                 {"loss", "perplexity"}),
    "tagging": ("token_classification", {}, {"w": WORDS * 4, "g": TAGS * 4}, {"tokens": "w", "tags": "g"},
                {"f1", "precision", "recall", "accuracy", "loss"}),
    "answering": ("question_answering", {}, {"q": ["Where?"] * 4, "c": PASSAGES, "a": TOWNS}, ASKED,
                  {"f1", "exact_match", "loss"}),
    "unanswered": ("question_answering", {"unanswerable": True},
                   {"q": ["Where?"] * 4, "c": PASSAGES, "a": [
                       json.dumps({"text": ["Rome"], "answer_start": [30]}), "",
                       json.dumps({"text": [], "answer_start": []}), "Bonn"]}, ASKED, {"f1", "exact_match", "loss"}),
    "rewriting": ("seq2seq", {"target_length": 8}, {"s": GOOD + BAD, "t": ["well"] * 5 + ["woe"] * 5},
                  {"source": "s", "target": "t"}, {"loss", "perplexity", "exact_match", "rougeL", "bleu"}),
}
MODELS = {"text_classification": "bert-tiny", "token_classification": "bert-tiny", "question_answering": "bert-tiny",
          "causal_lm": "stories260k"}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, shared: Path, tmp_path: Path) -> dict[str, Any]:
    name, options, columns, roles, metrics = CASES[request.param]
    task, table = tasks.get(name)(**options), pa.table(columns)
    folder = shared / "models" / MODELS[name] if name in MODELS else tiny.folder("mt5", tmp_path)
    labels = task.label_names(table, roles)
    torch.manual_seed(0)
    loaded = models.load(folder, task, labels, dtype="fp32")
    task.prepare_tokenizer(loaded.tokenizer, roles)
    encoded = task.encode(table, roles, loaded.tokenizer, 64, labels)
    return {"task": task, "table": table, "roles": roles, "labels": labels, "loaded": loaded, "encoded": encoded,
            "metrics": metrics}


def evaluated(case: dict[str, Any], model: torch.nn.Module) -> Any:
    task, rows = case["task"], case["encoded"].rows
    lengths = [len(row["input_ids"]) for row in rows]
    batches = ((part, task.collate([rows[i] for i in part], 0)) for part in split(range(len(rows)), lengths, 128))
    model.eval()
    with torch.inference_mode():
        return task.evaluate(model, case["encoded"], case["table"], case["roles"], case["labels"], batches)


def test_the_data_of_every_task_passes_its_own_check(case: dict[str, Any]) -> None:
    findings = case["task"].check(case["table"], case["roles"])
    assert not [finding for finding in findings if finding.level == "error"]


def test_training_lowers_the_loss_and_evaluation_names_the_usual_metrics(case: dict[str, Any]) -> None:
    task, loaded, rows = case["task"], case["loaded"], case["encoded"].rows
    model = methods.get("lora")().attach(loaded.model, loaded.shape, loaded.heads)
    before = evaluated(case, model)
    assert case["metrics"] <= set(before.metrics)
    precision.training_mode(model, loaded.model.base_model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    terms = sum(task.targets(row) for row in rows)
    for _ in range(12):
        (task.loss(model, task.collate(rows, 0)) / terms).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = evaluated(case, model)
    assert after.metrics["loss"] < 0.8 * before.metrics["loss"]
    assert all(math.isfinite(value) for value in after.metrics.values())


def test_examples_come_worst_first_and_say_what_was_expected(case: dict[str, Any]) -> None:
    outputs = evaluated(case, case["loaded"].model)
    losses = [example["loss"] for example in outputs.examples]
    assert losses == sorted(losses, reverse=True)
    assert {example["row"] for example in outputs.examples} == set(range(case["table"].num_rows))
    assert all({"input", "expected", "predicted", "correct"} <= set(example) for example in outputs.examples)


def test_the_evaluation_loss_is_the_training_loss(case: dict[str, Any]) -> None:
    task, rows, model = case["task"], case["encoded"].rows, case["loaded"].model.eval()
    with torch.no_grad():
        total = float(task.loss(model, task.collate(rows, 0)))
    mean = total / sum(task.targets(row) for row in rows)
    assert evaluated(case, model).metrics["loss"] == pytest.approx(mean, rel=1e-4)


def test_long_rows_are_cut_and_counted(case: dict[str, Any]) -> None:
    encoded = case["task"].encode(case["table"], case["roles"], case["loaded"].tokenizer, 8, case["labels"])
    assert max(len(row["input_ids"]) for row in encoded.rows) <= 8
    long = sum(len(row["input_ids"]) > 8 or case["task"].targets(row) > 8 for row in case["encoded"].rows)
    if case["task"].name in ("question_answering", "token_classification"):
        # Long texts are read in windows: nothing is lost.
        assert encoded.truncated == 0 and len(encoded.rows) > 2 * long > 0
    else:
        assert encoded.truncated == long > 0


def test_labels_unseen_in_training_are_never_right_and_have_no_loss(shared: Path) -> None:
    task = tasks.get("text_classification")()
    roles, labels = {"text": "t", "label": "y"}, ["bad", "good"]
    table = pa.table({"t": GOOD[:2] + BAD[:1], "y": ["good", "odd", "bad"]})
    loaded = models.load(shared / "models" / "bert-tiny", task, labels, dtype="fp32")
    encoded = task.encode(table, roles, loaded.tokenizer, 64, labels)
    assert [row["labels"] for row in encoded.rows] == [1, -100, 0]
    case = {"task": task, "table": table, "roles": roles, "labels": labels, "encoded": encoded}
    outputs = evaluated(case, loaded.model)
    odd = next(example for example in outputs.examples if example["row"] == 1)
    assert odd["correct"] is False and odd["expected"] == "odd" and math.isfinite(outputs.metrics["loss"])


def test_numbers_as_labels_stand_in_numerical_order() -> None:
    table = pa.table({"t": ["a"] * 4, "y": [10, 2, 1, 2]})
    assert tasks.get("text_classification")().label_names(table, {"text": "t", "label": "y"}) == ["1", "2", "10"]


def test_learning_from_everything_learns_prompts_too(shared: Path) -> None:
    tokenizer = models.tokenizer_of(shared / "models" / "stories260k")
    roles, table = {"messages": "m"}, pa.table({"m": TALK})
    some, every = (tasks.get("causal_lm")(learn_from=what) for what in ("completions", "everything"))
    some.prepare_tokenizer(tokenizer, roles)
    rows = [task.encode(table, roles, tokenizer, 200, []).rows for task in (some, every)]
    assert all(some.targets(a) < every.targets(b) == len(b["input_ids"]) - 1 for a, b in zip(*rows, strict=True))


def test_the_first_token_of_a_word_carries_its_tag(shared: Path) -> None:
    task, tokenizer = tasks.get("token_classification")(), models.tokenizer_of(shared / "models" / "bert-tiny")
    table, roles = pa.table({"w": WORDS, "g": TAGS}), {"tokens": "w", "tags": "g"}
    labels = task.label_names(table, roles)
    assert labels == ["O", "B-LOC", "B-PER", "I-PER"]
    row = task.encode(table, roles, tokenizer, 64, labels).rows[0]
    tokens = tokenizer.convert_ids_to_tokens(row["input_ids"].tolist())
    told = {token: labels[label] for token, label in zip(tokens, row["labels"], strict=True) if label >= 0}
    assert told == {"tim": "B-PER", "bern": "I-PER", "met": "O", "lily": "B-PER", ".": "O"}
    assert task.targets(row) == 5 and len(tokens) > 5 + 2


def test_words_beyond_the_longest_text_count_as_not_found(shared: Path) -> None:
    task, table, roles = tasks.get("token_classification")(windows=False), pa.table({"w": WORDS, "g": TAGS}), {
        "tokens": "w", "tags": "g"}
    labels = ["B-LOC"]
    torch.manual_seed(0)
    loaded = models.load(shared / "models" / "bert-tiny", task, labels, dtype="fp32")
    encoded = task.encode(table, roles, loaded.tokenizer, 4, labels)
    case = {"task": task, "table": table, "roles": roles, "labels": labels, "encoded": encoded}
    outputs = evaluated(case, loaded.model)
    assert outputs.metrics["recall"] == 0.0 and outputs.metrics["accuracy"] == 5 / 14
    assert next(item for item in outputs.examples if item["row"] == 1)["expected"] == "Lily [PER], Rome [LOC]"


def test_windows_cover_a_passage_and_point_at_its_answer(shared: Path) -> None:
    task, tokenizer = tasks.get("question_answering")(stride=4), models.tokenizer_of(shared / "models" / "bert-tiny")
    passage = " ".join(f"In {1900 + i} there were {i} cats." for i in range(30)) + " Then Tim came to Rome."
    table = pa.table({"q": ["Where did Tim go to?"], "c": [passage], "a": ["Rome"]})
    rows = task.encode(table, ASKED, tokenizer, 32, []).rows
    assert len(rows) > 5 and all(len(row["input_ids"]) <= 32 for row in rows)
    covered = {place for row in rows for start, end in row["offsets"] for place in range(start, end)}
    assert covered >= {i for i, letter in enumerate(passage) if letter != " "}
    pointing = [row for row in rows if row["labels"][0] != row["start"]]
    for row in pointing:
        first, last, _ = row["labels"]
        assert tokenizer.decode(row["input_ids"][first:last + 1]) == "rome"
    assert pointing and all("token_type_ids" in row for row in rows)


def test_answers_that_are_not_in_their_passage_are_not_learned_from(shared: Path) -> None:
    tokenizer = models.tokenizer_of(shared / "models" / "bert-tiny")
    table = pa.table({"q": ["Where?"] * 3, "c": PASSAGES[:3], "a": ["Rome", "Berlin", ""]})
    for options, expected in (({}, [1, 0, 0]), ({"unanswerable": True}, [1, 0, 1])):
        task = tasks.get("question_answering")(**options)
        assert [task.targets(row) for row in task.encode(table, ASKED, tokenizer, 64, []).rows] == expected


def test_a_text_may_be_as_long_when_asked_as_the_targets_that_were_learned() -> None:
    task = tasks.get("seq2seq")
    assert task(target_length=300, num_beams=2).usual() == {"num_beams": 2, "max_new_tokens": 300}
    assert task(target_length=300, max_new_tokens=20).usual()["max_new_tokens"] == 20
    assert tasks.get("causal_lm")().usual() == {}
