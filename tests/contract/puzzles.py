"""Easy made-up data for each task, that tiny random models learn in seconds, and the runs that do so."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from engine import spec as specs
from engine.spec import RunSpec

#: Task -> the tiny models it is trained on, and its options.
MODELS = {"token_classification": ("bert", "roberta", "deberta-v2", "modernbert"),
          "question_answering": ("bert", "roberta", "deberta-v2", "modernbert"),
          "seq2seq": ("t5", "mt5", "bart")}
OPTIONS: dict[str, dict[str, Any]] = {"question_answering": {"stride": 4}, "seq2seq": {"target_length": 8}}
COLUMNS = {"token_classification": {"tokens": "tokens", "tags": "tags"},
           "question_answering": {"question": "question", "context": "context", "answers": "answers"},
           "seq2seq": {"source": "source", "target": "target"}}


#: Rows and passes that are enough; writing texts takes more of both.
ROWS, EPOCHS = {"seq2seq": 80}, {"seq2seq": 8}


def rows(task: str, count: int) -> list[dict[str, Any]]:
    """Return rows of the task: names in capitals, a digit behind a #, a letter to be written large."""
    chance = random.Random(0)
    make = {"token_classification": _tagged, "question_answering": _asked, "seq2seq": _rewritten}[task]
    return [make(chance) for _ in range(count)]


def _tagged(chance: random.Random) -> dict[str, Any]:
    words: list[str] = []
    tags: list[str] = []
    while len(words) < 3 or (len(words) < 6 and chance.random() < 0.6):
        name = chance.random() < 0.4
        words += ["Xa", "Q"] if name else [chance.choice(("the", "dog", "ran"))]
        tags += ["B-PER", "I-PER"] if name else ["O"]
    return {"tokens": words, "tags": tags}


def _asked(chance: random.Random) -> dict[str, Any]:
    passage = "ab " * chance.randint(1, 6) + f"#{chance.randint(0, 9)} " + "cd " * chance.randint(1, 6)
    start = passage.index("#")
    return {"question": "num?", "context": passage,
            "answers": {"text": [passage[start:start + 2]], "answer_start": [start]}}


def _rewritten(chance: random.Random) -> dict[str, Any]:
    letter = chance.choice("abc")
    return {"source": letter * chance.randint(1, 4), "target": letter.upper()}


def write(task: str, folder: Path) -> Path:
    """Write the rows of the task as jsonl."""
    path = folder / f"{task}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(task, ROWS.get(task, 56))), encoding="utf-8")
    return path


def spec(task: str, model: str, data: Path, method: str | dict[str, Any] = "lora", **training: Any) -> RunSpec:
    """Return the spec of a short run."""
    return specs.parse({
        "task": task, "model": {"id": f"tiny/{model}"},
        "data": {"train": str(data), "columns": COLUMNS[task], "options": OPTIONS.get(task, {})},
        "method": {"name": method} if isinstance(method, str) else method,
        "training": {"epochs": EPOCHS.get(task, 6), "batch_size": 8, "max_length": 32, "learning_rate": 5e-3,
                     "precision": "fp32", "seed": 3} | training})
