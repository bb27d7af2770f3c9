"""What is said of tagged words and of answered questions before anything is trained: rows are named, fixes offered."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from engine.data import annotated, columns
from engine.tasks import get

GOOD = {"w": [["Tim", "ran"]] * 20, "t": [["B-PER", "O"]] * 20}
ROLES = {"tokens": "w", "tags": "t"}
ASKED = {"question": "q", "context": "c", "answers": "a"}


def told(rows: dict[str, list[Any]], held: dict[str, list[Any]] | None = None) -> dict[str, tuple[str, list[int]]]:
    tables = [None if part is None else pa.table(part) for part in (rows, held)]
    return {item.kind: (item.level, item.rows)
            for item in get("token_classification")().check(tables[0], ROLES, tables[1])}


def added(words: list[Any], tags: list[Any]) -> dict[str, list[Any]]:
    return {"w": [*GOOD["w"], words], "t": [*GOOD["t"], tags]}


def test_sound_rows_are_passed_in_silence_as_lists_and_as_texts() -> None:
    assert told(GOOD) == {}
    assert told({"w": ["Tim ran"] * 20, "t": ["B-PER O"] * 20}) == {}
    assert told({"w": ["['Tim', 'ran']"] * 20, "t": ["['B-PER', 'O']"] * 20}) == {}


@pytest.mark.parametrize(("words", "tags", "kind", "level"), [
    (["a", "b"], ["O"], "tags_unequal", "error"), (["a"], [None], "label_missing", "error"),
    (["a"], [" "], "label_missing", "error"), ([], [], "text_empty", "warning"),
    (["a", ""], ["O", "O"], "word_empty", "warning"), (["a", "b"], ["I-PER", "O"], "tags_repaired", "note"),
    (["a", "b"], ["PER", "O"], "tags_odd", "warning")])
def test_a_fault_of_one_row_names_it(words: list[Any], tags: list[Any], kind: str, level: str) -> None:
    assert told(added(words, tags))[kind] == (level, [21])


def test_tags_that_say_less_than_they_could_are_told() -> None:
    numbers = told({"w": [["a", "b"]] * 20, "t": [[0, 1]] * 20})
    assert numbers == {"tags_numbered": ("warning", [])}
    assert told({"w": GOOD["w"], "t": [["I-PER", "O"]] * 20}) == {"tags_without_beginnings": ("note", [])}


def test_evaluation_rows_are_held_against_training_rows() -> None:
    assert told(GOOD, {"w": [["a"], ["b"]], "t": [["O"], ["B-LOC"]]}) == {"label_unseen": ("warning", [2])}
    assert told(GOOD, {"w": [["a"]], "t": [["O"]]}) == {"entities_missing": ("warning", [])}
    assert told(added(["a"], ["I-PER"]), {"w": [["a"]], "t": [["B-PER"]]}).keys() == {"tags_repaired"}
    assert told(GOOD, {"w": [["a"]], "t": [[]]})["tags_unequal"][0] == "error"


def test_columns_that_hold_no_lists_are_refused() -> None:
    assert told({"w": GOOD["w"], "t": [1] * 20})["not_lists"][0] == "error"


def asked(answers: list[Any], held: list[Any] | None = None, **options: Any) -> dict[str, tuple[str, list[int]]]:
    def table(cells: list[Any]) -> pa.Table:
        return pa.table({"q": [f"Where {i}?" for i in range(len(cells))], "c": ["In Rome, or near it."] * len(cells),
                         "a": pa.array(cells, pa.string())})

    found = get("question_answering")(**options).check(table(answers), ASKED, held if held is None else table(held))
    return {item.kind: (item.level, item.rows) for item in found}


def test_questions_without_answers_must_be_meant() -> None:
    assert asked([""] * 20)["answers_none"][0] == "error"
    assert asked([""] * 20, unanswerable=True)["answers_none"][0] == "error"
    assert asked(["Rome"] * 20, [""] * 5, unanswerable=True) == {"answers_none": ("warning", [])}
    assert asked(["Rome"] * 20, [""] * 5)["answers_none"][0] == "error"
    assert asked([*["Rome"] * 20, ""]) == {"answer_empty": ("error", [21])}
    assert asked([*["Rome"] * 20, ""], unanswerable=True) == {}


def test_answers_that_are_elsewhere_or_too_long_name_their_rows() -> None:
    moved = '{"text": ["Rome"], "answer_start": [9]}'
    found = asked([*["Rome"] * 20, "Oslo", moved, "Rome, or near it."], longest_answer=3)
    assert found == {"answer_not_found": ("warning", [21]), "answer_moved": ("note", [22]),
                     "answer_long": ("warning", [23])}


def test_questions_and_passages_that_are_empty_name_their_rows() -> None:
    table = pa.table({"q": ["Where?"] * 20 + [" "], "c": ["In Rome."] * 21, "a": ["Rome"] * 21})
    found = get("question_answering")().check(table, ASKED)
    assert [(item.kind, item.level, item.rows) for item in found] == [("text_empty", "warning", [21])]


@pytest.mark.parametrize(("rows", "found"), [
    ({"tokens": ["EU rejects it", "no"], "ner_tags": ["B-ORG O O", "O"]}, {"tokens": "tokens", "tags": "ner_tags"}),
    ({"words": ["['a', 'b']"], "tags": ["['O', 'B-X']"]}, {"tokens": "words", "tags": "tags"}),
    ({"words": ["dog", "cat"], "labels": ["animal", "animal"]}, None), ({"tokens": ["a b"], "tags": ["O"]}, None)])
def test_words_and_tags_are_recognised_in_columns_of_texts(rows: dict[str, list[str]], found: Any) -> None:
    assert annotated.tagged(pa.table(rows)) == found


def test_rows_with_a_tag_too_few_hide_neither_the_task_nor_themselves() -> None:
    rows = {"tokens": [["Tim", "saw", "Rome"]] * 60, "ner_tags": [["B-PER", "O", "B-LOC"]] * 60}
    rows["ner_tags"][4] = ["B-PER", "O"]
    found = columns.guess(pa.table(rows))
    assert (found.task, found.columns) == ("token_classification", {"tokens": "tokens", "tags": "ner_tags"})
    (unequal,) = [item for item in get(found.task)().check(pa.table(rows), found.columns) if item.level == "error"]
    assert unequal.kind == "tags_unequal" and "in row 5." in unequal.what
    assert annotated.tagged(pa.table({"tokens": [["a", "b"]] * 9, "labels": [["x"]] * 9})) is None
    texts = {"words": ["a b c"] * 5, "tags": ["x y z"] * 3 + ["x"] * 2}
    assert annotated.tagged(pa.table(texts)) is None
