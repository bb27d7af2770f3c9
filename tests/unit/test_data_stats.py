"""Statistics count what a person would count by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import spans, tasks
from engine.data import blocks, stats
from engine.data import tags as tag_columns
from engine.data.errors import Cancelled
from engine.data.paging import Rows

TABLE = pa.table({"text": ["one two", "three", "One two ", "", None, "four five six"],
                  "label": ["a", "b", "b", "a", "", "a"]})
ROLES = {"text": "text", "label": "label"}


class Words:
    """A tokenizer that counts words, with a mark at both ends."""

    def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0, *range(len(text.split())), 0] for text in texts]}


def test_rows_labels_blanks_and_repeats_are_counted() -> None:
    found = stats.summarise(TABLE, tasks.get("text_classification")(), ROLES, tokenizer=Words(), max_length=4)
    assert found.rows == 6
    assert found.empty == {"text": 2, "label": 1}
    assert found.labels == {"a": 3, "b": 2}
    assert (found.duplicates.count, found.duplicates.conflicting_rows) == (2, [3, 5])
    assert found.tokens is not None
    assert (found.tokens.max, found.tokens.p50, found.tokens.rows) == (5, 3.5, 6)
    assert found.tokens.over == pytest.approx(1 / 6)
    assert sum(found.tokens.counts) == 6
    assert {"too_long", "duplicates_conflict"} <= {item.kind for item in found.findings}
    assert stats.DatasetStats.model_validate_json(found.model_dump_json()) == found


def test_overlap_of_train_and_eval_is_found() -> None:
    held = pa.table({"text": ["new", "THREE", "four five six"], "label": ["a", "b", "b"]})
    found = stats.summarise(TABLE, tasks.get("text_classification")(), ROLES, eval_table=held)
    assert found.overlap is not None
    assert (found.overlap.count, found.overlap.rows) == (2, [2, 3])


def test_conversations_are_compared_as_a_whole() -> None:
    one = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    table = pa.table({"messages": [one, one[:1], one, [*one, *one]]})
    found = stats.summarise(table, tasks.get("causal_lm")(), {"messages": "messages"})
    assert found.duplicates.count == 1
    assert found.messages is not None and found.messages.max == 4


def test_numbers_and_several_labels_are_counted_in_their_own_way() -> None:
    task = tasks.get("text_classification")
    table = pa.table({"text": ["a", "b", "c"], "score": ["1", "2.5", "4"], "tags": ["x|y", "", "y"]})
    numbers = stats.summarise(table, task(problem="regression"), {"text": "text", "label": "score"}).label_numbers
    assert numbers is not None and (numbers.mean, numbers.max) == (2.5, 4.0)
    several = stats.summarise(table, task(problem="multi_label"), {"text": "text", "label": "tags"})
    assert several.labels == {"y": 2, "x": 1}


def test_a_million_rows_take_seconds_and_a_seeded_sample_is_tokenised() -> None:
    rng = np.random.default_rng(0)
    words = np.array(["alpha", "beta", "gamma", "delta"])
    texts = np.char.add(np.char.add(words[rng.integers(0, 4, 1_000_000)], " "), np.arange(1_000_000).astype(str))
    table = pa.table({"text": texts, "label": words[rng.integers(0, 4, 1_000_000)]})
    task = tasks.get("text_classification")()
    seen: list[float] = []
    found = stats.summarise(table, task, ROLES, tokenizer=Words(), progress=seen.append)
    assert found.tokens is not None and (found.tokens.rows, found.tokens.sampled) == (stats.TOKENISED, True)
    assert (found.duplicates.count, found.label_count) == (0, 4)
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert not [item for item in task.check(table, ROLES) if item.level == "error"]


def test_counting_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        stats.summarise(TABLE, tasks.get("text_classification")(), ROLES, cancelled=lambda: True)


@pytest.mark.shared
def test_real_token_lengths_are_those_of_the_tokenizer(shared: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(shared / "models/bert-tiny/tokenizer.json"))
    tokenizer.enable_truncation(4)
    table = pa.table({"text": ["the cat sat on the mat today", "hello"], "label": ["a", "b"]})
    found = stats.summarise(table, tasks.get("text_classification")(), ROLES, tokenizer=tokenizer, max_length=4)
    assert found.tokens is not None and found.tokens.max == 9
    assert tokenizer.truncation is not None, "the caller's tokenizer is left as it was"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 7)
    monkeypatch.setattr(stats, "EVERY", -1.0)


@pytest.mark.usefixtures("small_blocks")
def test_a_file_gone_through_in_pieces_has_the_statistics_of_the_whole_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    texts = [None if n % 11 == 0 else f"Text {n}" for n in rng.integers(0, 60, 100)]
    table = pa.table({"text": texts, "label": [["a", "b", "", None][n] for n in rng.integers(0, 4, 100)],
                      "messages": [[{"role": "user", "content": "x" * int(n)}] * int(n % 3) for n in range(100)]})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=9)
    pq.write_table(table.slice(90), tmp_path / "eval.parquet")
    for name, columns in (("text_classification", ROLES), ("causal_lm", {"messages": "messages"})):
        seen: list[stats.DatasetStats] = []
        task = tasks.get(name)()
        whole = _by_hand(table, table.slice(90), list(columns.values())[:1])
        found = stats.summarise(Rows(tmp_path / "rows.parquet"), task, columns, tokenizer=Words(), max_length=3,
                                eval_table=Rows(tmp_path / "eval.parquet"), partial=seen.append)
        again = stats.summarise(table, task, columns, tokenizer=Words(), max_length=3, eval_table=table.slice(90))
        assert found == again
        assert (found.duplicates.count, found.overlap and found.overlap.count) == whole
        assert [one.counted for one in seen] == sorted({one.counted for one in seen})
        assert all(0 < (one.counted or 0) < 100 and one.rows == 100 for one in seen) and len(seen) > 5
        assert found.counted is None


def _by_hand(table: pa.Table, held: pa.Table, columns: list[str]) -> tuple[int, int]:
    """Return how many rows repeat an earlier one, and how many rows of `held` stand in the table."""
    def keys(part: pa.Table) -> list[str]:
        return [repr([str(row[name] or "").lower() for name in columns]) for row in part.to_pylist()]

    return table.num_rows - len(set(keys(table))), sum(key in set(keys(table)) for key in keys(held))


def test_labels_too_long_to_count_are_those_of_a_sample_and_it_is_said(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "WHOLE", 100)
    monkeypatch.setattr(blocks, "SAMPLE", 20)
    pq.write_table(pa.table({"text": [f"t{n}" for n in range(100)], "label": [f"l{n}" for n in range(100)]}),
                   tmp_path / "rows.parquet", row_group_size=9)
    found = stats.summarise(Rows(tmp_path / "rows.parquet"), tasks.get("text_classification")(), ROLES)
    assert (found.label_count, found.labels_counted) == (20, 20)
    assert "labels_sampled" in {item.kind for item in found.findings}


def test_entities_are_counted_by_kind_and_their_tags_as_labels() -> None:
    tags = [["B-PER", "I-PER", "O", "I-LOC"], ["O", "B-PER", "B-PER", "I-PER"], None, ["S-ORG", "I-ORG"]]
    table = pa.table({"words": [["a"] * len(row or []) for row in tags], "tags": tags})
    task = tasks.get("token_classification")()
    found = stats.summarise(table, task, {"tokens": "words", "tags": "tags"})
    assert (found.labels, found.labels_of) == ({"PER": 3, "ORG": 2, "LOC": 1}, "entities")
    assert found.label_count == len(task.label_names(table, {"tokens": "words", "tags": "tags"}))
    plain = pa.table({"words": ["a b", "c"], "tags": ["NOUN VERB", "NOUN"]})
    found = stats.summarise(plain, task, {"tokens": "words", "tags": "tags"})
    assert (found.labels, found.labels_of, found.label_count) == ({"NOUN": 2, "VERB": 1}, "words", 2)


def test_kinds_of_entities_are_those_of_the_scores() -> None:
    draw = np.random.default_rng(3)
    for known in (["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "L-B", "U-B", "odd"], ["O", "A", "B"]):
        rows = [[known[place] for place in draw.integers(0, len(known), size)] for size in draw.integers(0, 9, 200)]
        expected = Counter(kind for row in rows for kind, _, _ in spans.entities(row, spans.scheme(known)))
        assert tag_columns.kinds(tag_columns.lists(pa.chunked_array([rows])))[0] == expected


def test_questions_are_counted_with_and_without_an_answer() -> None:
    answers = ['{"text": ["x"], "answer_start": [0]}', '{"text": [], "answer_start": []}', None]
    table = pa.table({"q": ["a", "b", "c"], "p": ["x", "y", "z"], "answers": answers})
    roles = {"question": "q", "context": "p", "answers": "answers"}
    found = stats.summarise(table, tasks.get("question_answering")(), roles)
    assert (found.labels, found.labels_of) == ({"with an answer": 1, "without an answer": 2}, "questions")
    assert found.label_count == 0


def test_texts_that_are_read_in_windows_are_not_said_to_be_cut() -> None:
    table = pa.table({"words": [["a"] * 50, ["b"]], "tags": [["O"] * 50, ["B-X"]]})
    roles, task = {"tokens": "words", "tags": "tags"}, tasks.get("token_classification")
    kinds = [{item.kind for item in stats.summarise(table, task(windows=windows), roles, tokenizer=Words(),
                                                    max_length=8).findings} for windows in (True, False)]
    assert "read_in_windows" in kinds[0] and "too_long" not in kinds[0]
    assert "too_long" in kinds[1] and "read_in_windows" not in kinds[1]
