"""The first batch as a person sees it: tokens, what is learned of them, and how many rows are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine import tasks
from engine.data import first_batch, token_lengths


def made(shared: Path, model: str, task: Any, table: pa.Table, columns: dict[str, str],
         length: int) -> first_batch.Batch:
    return first_batch.make(table, task, columns, task.processor(shared / "models" / model), length)


def test_texts_have_one_answer_and_the_cut_ones_are_counted(shared: Path) -> None:
    table = pa.table({"text": ["a short text", "many words " * 40] * 6, "label": ["good", "bad"] * 6})
    batch = made(shared, "bert-tiny", tasks.get("text_classification")(), table, {"text": "text", "label": "label"}, 16)
    assert (batch.learns, batch.counted, batch.truncated, len(batch.examples)) == ("rows", 12, 6, first_batch.ROWS)
    first, second = batch.examples[:2]
    assert (first.answer, second.answer) == ("good", "bad") and first.row == 1
    assert [token.text for token in first.sequences[0].tokens] == ["[CLS]", "a", "short", "text", "[SEP]"]
    assert [token.special for token in first.sequences[0].tokens] == [True, False, False, False, True]
    assert second.sequences[0].length == 16 and batch.lengths["longest"] == 16 and batch.padding > 0.3


def test_of_a_prompt_and_its_answer_only_the_answer_is_learned(shared: Path) -> None:
    table = pa.table({"ask": ["Once upon a time"], "say": ["there was a dog."]})
    batch = made(shared, "stories260k", tasks.get("causal_lm")(), table, {"prompt": "ask", "completion": "say"}, 64)
    tokens = batch.examples[0].sequences[0].tokens
    learned = "".join(token.text for token in tokens if token.learned).replace("·", " ")
    assert batch.learns == "tokens" and "dog" in learned and "Once" not in learned
    assert batch.examples[0].targets == sum(token.learned for token in tokens) and batch.truncated == 0


def test_words_have_tags_and_only_their_first_tokens_are_learned(shared: Path) -> None:
    table = pa.table({"tokens": [["Wolfgang", "lives", "here"]], "tags": [["B-PER", "O", "O"]]})
    batch = made(shared, "bert-tiny", tasks.get("token_classification")(), table,
                 {"tokens": "tokens", "tags": "tags"}, 32)
    tagged = [(token.text, token.tag) for token in batch.examples[0].sequences[0].tokens if token.learned]
    assert batch.learns == "tokens" and [tag for _, tag in tagged] == ["B-PER", "O", "O"]


def test_the_answer_of_a_question_is_marked_in_its_passage(shared: Path) -> None:
    passage = "The river is long. The bridge was built in 1901 by the city."
    table = pa.table({"question": ["When was the bridge built?"], "context": [passage], "answers": pa.array(
        [{"text": ["1901"], "answer_start": [passage.index("1901")]}])})
    columns = {"question": "question", "context": "context", "answers": "answers"}
    batch = made(shared, "bert-tiny", tasks.get("question_answering")(), table, columns, 64)
    marked = [token.text for token in batch.examples[0].sequences[0].tokens if token.tag == "answer"]
    assert "".join(marked).replace("##", "") == "1901" and batch.examples[0].answer == "the answer is marked"


def test_lengths_are_counted_uncut_as_training_would_encode_the_rows(shared: Path) -> None:
    task = tasks.get("text_classification")()
    table = pa.table({"text": ["a short text", "many words " * 600] * 300, "label": ["good", "bad"] * 300})
    found = token_lengths.count(table, task, {"text": "text", "label": "label"},
                                task.processor(shared / "models" / "bert-tiny"))
    assert (found.rows, found.counted, found.told) == (600, 600, "the rows")
    assert found.lengths[:300] == [5] * 300 and found.lengths[300:] == [1202] * 300
    assert found.over(1201) == 0.5 and found.over(1202) == 0 and found.within(0.5) == 5 and found.within(0.51) == 1202


def test_comparing_stops_when_nobody_waits(shared: Path) -> None:
    task = tasks.get("text_classification")()
    with pytest.raises(first_batch.Cancelled):
        first_batch.make(pa.table({"text": ["a"], "label": ["b"]}), task, {"text": "text", "label": "label"},
                         task.processor(shared / "models" / "bert-tiny"), 16, cancelled=lambda: True)
