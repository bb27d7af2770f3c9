"""Real files load with the rows their authors count, and with the roles a person would choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import tasks
from engine.data import columns, read

PAIR = {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
FILES = [
    ("banking77/train.csv", 10003, "text_classification", {"text": "text", "label": "category"}),
    ("banking77/test.csv", 3080, "text_classification", {"text": "text", "label": "category"}),
    ("sms_spam/spam.csv", 5571, "text_classification", {"text": "v2", "label": "v1"}),
    ("sms_spam/train.csv", 4502, "text_classification", {"text": "v2", "label": "v1"}),
    ("cola/train.tsv", 7250, "text_classification", {"text": "column_4", "label": "column_2"}),
    ("cola/dev.tsv", 1043, "text_classification", {"text": "column_4", "label": "column_2"}),
    ("rte/train.tsv", 2127, "text_classification", PAIR),
    ("rte/dev.tsv", 277, "text_classification", PAIR),
    ("rte/val.tsv", 363, "text_classification", {"text": "column_2", "text_pair": "column_3", "label": "column_4"}),
    ("sst2/train.tsv", 60614, "text_classification", {"text": "sentence", "label": "label"}),
    ("sst2/test.tsv", 872, "text_classification", {"text": "sentence", "label": "label"}),
    ("trec6/train.txt", 5452, "text_classification", {"text": "text", "label": "label"}),
    ("trec6/test.txt", 500, "text_classification", {"text": "text", "label": "label"}),
    ("e2e_nlg/devset.csv", 4672, "causal_lm", {"prompt": "mr", "completion": "ref"}),
    ("e2e_nlg/testset_w_refs.csv", 4693, "causal_lm", {"prompt": "mr", "completion": "ref"}),
    ("gsm8k/train.jsonl", 7473, "causal_lm", {"prompt": "question", "completion": "answer"}),
    ("self_instruct/seed_tasks.jsonl", 175, "causal_lm", {"prompt": "prompt", "completion": "instances.output"}),
    ("fastchat/dummy_conversation.json", 500, "causal_lm", {"messages": "conversations"}),
    ("sentence_polarity/rt-polarity.pos", 5331, "causal_lm", {"text": "text"}),
]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "rows", "task", "roles"), FILES, ids=[row[0] for row in FILES])
def test_a_real_file_loads_whole_and_is_understood(shared: Path, tmp_path: Path, name: str, rows: int, task: str,
                                                   roles: dict[str, str]) -> None:
    path = shared / "data" / name
    table = read.read(path)
    assert table.num_rows == rows
    for guess in (columns.guess(table), columns.guess(read.preview(path))):
        assert (guess.task, guess.columns) == (task, roles)
    made = tasks.get(guess.task)(**guess.options)
    assert not [item for item in made.check(table, guess.columns) if item.level == "error"]
    ingested = read.ingest(path, tmp_path / "out.parquet")
    assert read.read(tmp_path / "out.parquet").equals(table)
    assert ingested.rows == rows


@pytest.mark.shared
def test_the_stray_carriage_returns_of_the_spam_collection_survive(shared: Path) -> None:
    texts = read.read(shared / "data/sms_spam/spam.csv").column("v2").to_pylist()
    assert sum("\r" in text for text in texts) == 2
    assert any(text.endswith('u?\\"\rham"') for text in texts)


@pytest.mark.shared
def test_the_odd_byte_of_trec_is_read_as_latin_1(shared: Path) -> None:
    assert read.sniff(shared / "data/trec6/train.txt").encoding == "latin-1"


@pytest.mark.parametrize(("name", "task"), [("support_tickets.csv", "text_classification"),
                                            ("friendly_chat.jsonl", "causal_lm")])
def test_the_sample_files_are_understood_and_clean(name: str, task: str) -> None:
    path = Path(__file__).resolve().parents[2] / "studio" / "samples" / name
    table = read.read(path)
    guess = columns.guess(table)
    assert guess.task == task
    assert guess.confidence > 0.9
    assert not tasks.get(task)().check(table, guess.columns)
