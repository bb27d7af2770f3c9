"""Roles and tasks are guessed from names and content."""

from __future__ import annotations

import pyarrow as pa
import pytest

from engine.data import columns
from engine.data.source import Preview, Source

TEXTS = [f"this is sentence number {i} of the lot" for i in range(40)]
OTHERS = [f"and another, longer than the first, number {i * 7}" for i in range(40)]
CHATS = [[{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}] for text in TEXTS]

CASES = [
    ({"text": TEXTS, "label": ["a", "b"] * 20}, "text_classification", {"text": "text", "label": "label"}, {}),
    ({"Review Text": TEXTS, "Star Rating": ["1", "2", "3", "4", "5"] * 8}, "text_classification",
     {"text": "Review Text", "label": "Star Rating"}, {}),
    ({"id": [str(i) for i in range(40)], "premise": TEXTS, "hypothesis": OTHERS, "label": ["0", "1"] * 20},
     "text_classification", {"text": "premise", "text_pair": "hypothesis", "label": "label"}, {}),
    ({"sentence1": TEXTS, "sentence2": OTHERS, "score": [str(i / 10) for i in range(40)]}, "text_classification",
     {"text": "sentence1", "text_pair": "sentence2", "label": "score"}, {"problem": "regression"}),
    ({"description": TEXTS, "price": [99_000 + 1500 * i for i in range(40)]}, "text_classification",
     {"text": "description", "label": "price"}, {"problem": "regression"}),
    ({"review": TEXTS, "rating": ["1", "2", "3", "4"] * 10}, "text_classification",
     {"text": "review", "label": "rating"}, {}),
    ({"text": TEXTS, "label": [i / 7 for i in range(40)]}, "text_classification", {"text": "text", "label": "label"},
     {"problem": "regression"}),
    ({"text": TEXTS, "labels": [["x"], ["x", "y"], [], ["z"]] * 10}, "text_classification",
     {"text": "text", "label": "labels"}, {"problem": "multi_label"}),
    ({"text": TEXTS, "tags": ["x", "x|y", "y|z", "z|x|y"] * 10}, "text_classification",
     {"text": "text", "label": "tags"}, {"problem": "multi_label"}),
    ({"question": TEXTS, "answer": OTHERS}, "causal_lm", {"prompt": "question", "completion": "answer"}, {}),
    ({"question": TEXTS, "answer": ["yes", "no"] * 20}, "text_classification",
     {"text": "question", "label": "answer"}, {}),
    ({"Prompt": TEXTS, "Response": OTHERS, "system": ["be kind"] * 40}, "causal_lm",
     {"prompt": "Prompt", "completion": "Response", "system": "system"}, {}),
    ({"column_1": TEXTS, "column_2": OTHERS}, "causal_lm", {"prompt": "column_1", "completion": "column_2"}, {}),
    ({"messages": CHATS, "id": TEXTS}, "causal_lm", {"messages": "messages"}, {}),
    ({"text": TEXTS}, "causal_lm", {"text": "text"}, {}),
    ({"id": [str(i) for i in range(40)], "story": TEXTS}, "causal_lm", {"text": "story"}, {}),
    ({"number": list(range(40))}, "", {}, {}),
]


@pytest.mark.parametrize(("content", "task", "roles", "options"), CASES, ids=lambda value: None)
def test_the_guess_is_the_one_a_person_would_make(content: dict[str, list[object]], task: str, roles: dict[str, str],
                                                  options: dict[str, str]) -> None:
    table = pa.table(content)
    preview = Preview(columns=table.column_names, rows=table.to_pylist(), source=Source(format="csv"))
    for found in (columns.guess(table), columns.guess(preview)):
        assert (found.task, found.columns, found.options) == (task, roles, options)
        assert found.why
        assert 0 <= found.confidence <= 1


def test_a_table_without_rows_gives_no_guess() -> None:
    assert columns.guess(pa.table({"text": pa.array([], pa.string())})).task == ""
