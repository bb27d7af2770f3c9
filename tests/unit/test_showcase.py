"""What was asked in an evaluation row can be asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pictures
import pyarrow as pa
import pytest

from engine import showcase, tasks
from engine.data import image


@pytest.mark.parametrize(("name", "table", "columns", "asked"), [
    ("text_classification", {"a": ["x", "one"], "b": ["y", "two"], "c": ["l", "m"]},
     {"text": "a", "text_pair": "b", "label": "c"}, {"text": "one", "text_pair": "two"}),
    ("text_classification", {"a": ["x", None], "c": ["l", "m"]}, {"text": "a", "label": "c"}, {}),
    ("text_classification", {"a": [1.5, 2.5], "c": ["l", "m"]}, {"text": "a", "label": "c"}, {"text": "2.5"}),
    ("token_classification", {"w": [["a"], ["Tim", None, "ran"]], "t": [["O"], ["O"] * 3]},
     {"tokens": "w", "tags": "t"}, {"tokens": ["Tim", "", "ran"]}),
    ("question_answering", {"q": ["", "Who?"], "c": ["", "Tim."], "a": ["", "Tim"]},
     {"question": "q", "context": "c", "answers": "a"}, {"question": "Who?", "context": "Tim."}),
    ("seq2seq", {"s": ["a", "b"], "t": ["c", "d"]}, {"source": "s", "target": "t"}, {"source": "b"}),
    ("seq2seq", {"s": ["a", "b" * 30_000], "t": ["c", "d"]}, {"source": "s", "target": "t"}, {}),
    ("causal_lm", {"m": [[], [{"role": "user", "content": "Hi"}]]}, {"messages": "m"}, {})])
def test_each_role_that_is_asked_for_is_kept_and_no_answer(
        name: str, table: dict[str, Any], columns: dict[str, str], asked: dict[str, Any], tmp_path: Path) -> None:
    found = showcase.question(tasks.get(name)(name=name), pa.table(table), columns, 1, tmp_path / "examples")
    assert found == asked and not (tmp_path / "examples").exists()


def test_an_image_is_copied_beside_the_examples(tmp_path: Path) -> None:
    data = pictures.data(pictures.noise("reddish", 1), "JPEG")
    column = pa.array([{"bytes": data, "path": "a.jpg"}, {"bytes": b"x" * (showcase.LARGEST + 1), "path": "b"}],
                      image.TYPE)
    table, columns = pa.table({"i": column, "l": ["r", "b"]}), {"image": "i", "label": "l"}
    task = tasks.get("image_classification")(name="image_classification")
    assert showcase.question(task, table, columns, 0, tmp_path / "examples") == {"image": "examples/0.jpg"}
    assert (tmp_path / "examples" / "0.jpg").read_bytes() == data
    assert showcase.question(task, table, columns, 1, tmp_path / "examples") == {}
