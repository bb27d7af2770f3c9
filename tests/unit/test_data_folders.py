"""Every folder of shared data loads as it was found, its zip archive too, with task and roles as a person would say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine import tasks
from engine.data import columns, held, read


@dataclass(frozen=True)
class Folder:
    """What loading a folder should give: rows to learn from and to evaluate on, task and roles."""

    name: str
    rows: int
    eval: int
    task: str
    roles: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    part: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.name, self.part)))


CHAT, TAGS = {"messages": "messages"}, {"tokens": "tokens", "tags": "tags"}
SQUAD = {"question": "question", "context": "context", "answers": "answers"}
PICTURES = {"image": "image", "label": "label"}
TEXTS = {"text": "text", "label": "label"}
FOLDERS = [
    Folder("ants_bees", 244, 153, "image_classification", PICTURES),
    Folder("banking77", 10003, 3080, "text_classification", {"text": "text", "label": "category"}),
    Folder("btc", 9339, 0, "token_classification", TAGS),
    # One of its 2,026 conversations is a bare text, which is named and left out.
    Folder("chatterbot_en", 2025, 0, "causal_lm", CHAT),
    Folder("cola", 7250, 1301, "text_classification", {"text": "column_4", "label": "column_2"}),
    Folder("crossner", 700, 2121, "token_classification", TAGS),
    Folder("e2e_nlg", 4672, 4693, "causal_lm", {"prompt": "mr", "completion": "ref"}),
    Folder("fairytaleqa", 3241, 515, "question_answering", SQUAD),
    Folder("fastchat", 500, 0, "causal_lm", {"messages": "conversations"}),
    Folder("gsm8k", 7473, 0, "causal_lm", {"prompt": "question", "completion": "answer"}),
    Folder("mnist_t10k", 10000, 0, "image_classification", PICTURES),
    Folder("rte", 2127, 363, "text_classification", {"text": "sentence1", "text_pair": "sentence2", "label": "label"}),
    Folder("self_instruct", 427, 0, "causal_lm", {"prompt": "prompt", "completion": "instances.output"}),
    Folder("sentence_polarity", 10662, 0, "text_classification", TEXTS),
    Folder("sms_spam", 4502, 500, "text_classification", {"text": "v2", "label": "v1"}),
    Folder("sst2", 60614, 6735, "text_classification", {"text": "sentence", "label": "label"}),
    Folder("trec6", 5452, 500, "text_classification", TEXTS),
    Folder("xquad_en", 1190, 0, "question_answering", SQUAD),
]
#: Files that lie beside others of another kind: they are read when a person picks them.
PICKED = [
    Folder("fairytaleqa", 8548, 0, "causal_lm", {"prompt": "question", "completion": "answer"}, part="train_qa.jsonl"),
    Folder("sms_spam", 5571, 0, "text_classification", {"text": "v2", "label": "v1"}, part="spam.csv"),
    Folder("crossner", 100, 0, "token_classification", TAGS, part="ai/train.txt"),
    Folder("sst2", 872, 0, "text_classification", {"text": "sentence", "label": "label"}, part="test.tsv"),
    Folder("rte", 277, 0, "text_classification", {"text": "sentence1", "text_pair": "sentence2", "label": "label"},
           part="dev"),
]


@pytest.mark.parametrize("folder", [*FOLDERS, *PICKED], ids=str)
def test_a_folder_loads_as_found(shared: Path, folder: Folder) -> None:
    path = shared / "data" / folder.name
    source = read.sniff(path, part=folder.part)
    table = read.read(path, source)
    assert table.num_rows == folder.rows
    for guess in (columns.guess(table), columns.guess(read.preview(path, source=source))):
        assert (guess.task, guess.columns, guess.options) == (folder.task, folder.roles, folder.options)
    made = tasks.get(folder.task)(**folder.options)
    assert not [item for item in made.check(table, folder.roles) if item.level == "error"]


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_zip_of_it_brings_the_same_rows_and_those_to_evaluate_on(shared: Path, folder: Folder,
                                                                  tmp_path: Path) -> None:
    path = shared / "data" / folder.name
    archive = held.pack_folder(path, tmp_path / "upload.bin")
    stored = read.ingest(archive, tmp_path / "rows.parquet")
    assert stored.rows == folder.rows
    assert not [item for item in stored.findings if item.level == "error"]
    found = held.evaluation(archive, tmp_path)
    assert (found is not None) == (folder.eval > 0)
    if found is not None:
        other = read.ingest(found.path, tmp_path / "held.parquet", found.source)
        assert other.rows == folder.eval
        rows, evaluated = (read.read(tmp_path / name) for name in ("rows.parquet", "held.parquet"))
        made = tasks.get(folder.task)(**folder.options)
        assert not [item for item in made.check(rows, folder.roles, evaluated) if item.level == "error"]


def test_every_folder_of_the_shared_data_is_in_the_list(shared: Path) -> None:
    assert {path.name for path in (shared / "data").iterdir() if path.is_dir()} == {one.name for one in FOLDERS}
