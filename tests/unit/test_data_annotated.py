"""Tagged words and answers in passages: CoNLL and SQuAD files as they are found, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine.data import columns, read, squad
from engine.data.errors import FoundFault
from engine.tasks import get

CONLL4 = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "data.bin"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("text", ["Tim\tB-PER\nran\tO\n\nHi\tO\n", "Tim B-PER\r\nran O\r\n\r\nHi O",
                                  "\n\nTim B-PER\nran O\n \n\nHi O\n\n\n"])
def test_two_columns_are_words_and_tags(tmp_path: Path, text: str) -> None:
    table = read.read(written(tmp_path, text))
    assert table.to_pydict() == {"tokens": [["Tim", "ran"], ["Hi"]], "tags": [["B-PER", "O"], ["O"]]}
    found = columns.guess(table)
    assert (found.task, found.columns) == ("token_classification", {"tokens": "tokens", "tags": "tags"})


def test_four_columns_have_their_usual_names_and_document_marks_are_no_sentences(tmp_path: Path) -> None:
    table = read.read(written(tmp_path, CONLL4))
    assert table.column_names == ["tokens", "pos_tags", "chunk_tags", "tags"] and table.num_rows == 2
    assert columns.guess(table).columns == {"tokens": "tokens", "tags": "tags"}


def test_a_line_with_a_column_too_few_names_its_sentence(tmp_path: Path) -> None:
    text = "Tim\tB-PER\nran\tO\n\n" * 60 + "Tim\n\n"
    with pytest.raises(FoundFault, match="Sentence 61 has a line with 1 columns where 2"):
        read.read(written(tmp_path, text))


@pytest.mark.parametrize("text", ["text\tlabel\nI ran\tO\nno\tP\n", "a b\nc d\n\ne f\n", "O O\nO O\n"])
def test_other_tables_are_no_conll(tmp_path: Path, text: str) -> None:
    assert read.sniff(written(tmp_path, text)).format != "conll"


def document(**changes: Any) -> str:
    question = {"id": "1", "question": "Where?", "answers": [{"text": "Rome", "answer_start": 3}]} | changes
    return json.dumps({"version": "2.0", "data": [{"title": "T", "paragraphs": [
        {"context": "In Rome or Rome.", "qas": [question, question]}, {"context": "In Oslo.", "qas": []}]}]})


def test_a_squad_file_gives_a_row_for_each_question(tmp_path: Path) -> None:
    table = read.read(written(tmp_path, document()))
    found = columns.guess(table)
    assert table.num_rows == 2 and found.task == "question_answering" and not found.options
    assert squad.answers(table["answers"][0].as_py()) == [("Rome", 3)]
    assert not read.preview(written(tmp_path, document())).findings


def test_questions_without_answers_set_the_option(tmp_path: Path) -> None:
    rows = [{"question": "Where?", "context": "In Rome.", "answers": {"text": text, "answer_start": start}}
            for text, start in ((["Rome"], [3]), ([], []))]
    path = written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    found = columns.guess(read.read(path))
    assert (found.task, found.options) == ("question_answering", {"unanswerable": True})
    assert columns.guess(read.preview(path)) == found
    findings = get(found.task)().check(read.read(path), found.columns)
    assert [(item.kind, item.rows) for item in findings if item.level == "error"] == [("answer_empty", [2])]


def test_answers_in_free_form_stay_a_prompt_and_its_answer(tmp_path: Path) -> None:
    rows = [{"question": f"Why {i}?", "context": "It rained all day.", "answer": f"Because of clouds {i}."}
            for i in range(9)]
    path = written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    assert columns.guess(read.read(path)).task == "causal_lm"


@pytest.mark.parametrize(("answer", "place"), [
    (squad.Answer("Rome", 3), (3, 7)), (squad.Answer("Rome", 10), (11, 15)), (squad.Answer("Rome"), (3, 7)),
    (squad.Answer(" Rome. "), (11, 16)), (squad.Answer("Oslo", 3), None), (squad.Answer("Rome", -9), (3, 7))])
def test_an_answer_is_found_where_it_stands_nearest(answer: squad.Answer, place: tuple[int, int] | None) -> None:
    assert squad.place(answer, "In Rome or Rome.") == place


@pytest.mark.parametrize(("cell", "expected"), [
    (None, []), ("", []), ("Rome", ["Rome"]), (["Rome", "Oslo"], ["Rome", "Oslo"]), ("[sic] Rome", ["[sic] Rome"]),
    ('{"text": "Rome", "answer_start": 3}', ["Rome"]), ('[{"text": "Rome", "answer_start": 3}]', ["Rome"]),
    ({"text": [], "answer_start": []}, [])])
def test_answers_are_understood_however_written(cell: Any, expected: list[str]) -> None:
    assert [answer.text for answer in squad.answers(cell)] == expected


@pytest.mark.parametrize(("words", "tags", "kind"), [
    ([["a", "b"]] * 2, [["O"], ["B-X", "O"]], "tags_unequal"), ([["a"]] * 2, [["O"], ["O"]], "one_label"),
    ([1, 2], [["O"], ["B-X"]], "not_lists"), ([[], []], [[], []], "text_empty"),
    ([["a", "b"]] * 2, [["O", None], ["B-X", "O"]], "label_missing")])
def test_faults_of_tags_forbid_training(words: Any, tags: Any, kind: str) -> None:
    table = pa.table({"w": words, "t": tags})
    found = get("token_classification")().check(table, {"tokens": "w", "tags": "t"})
    assert kind in [item.kind for item in found if item.level == "error"]


def test_tags_that_training_lacks_are_warned_of() -> None:
    table, held = pa.table({"w": [["a", "b"]] * 2, "t": [["O", "B-X"]] * 2}), pa.table({"w": [["a"]], "t": [["B-Y"]]})
    found = get("token_classification")().check(table, {"tokens": "w", "tags": "t"}, held)
    assert ("label_unseen", "warning") in [(item.kind, item.level) for item in found]


def test_answers_that_stand_nowhere_or_elsewhere_are_told() -> None:
    cells = [json.dumps({"text": [text], "answer_start": [start]}) for text, start in (("Rome", 3), ("Rome", 1),
                                                                                       ("Oslo", 3))]
    table = pa.table({"q": ["Where?"] * 3, "c": ["In Rome."] * 3, "a": cells})
    roles = {"question": "q", "context": "c", "answers": "a"}
    found = {item.kind: item.rows for item in get("question_answering")().check(table, roles)}
    assert found["answer_not_found"] == [3] and found["answer_moved"] == [2]
    wrong = get("question_answering")().check(table.slice(2), roles, table)
    assert "answers_missing" in [item.kind for item in wrong if item.level == "error"]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "rows", "task"), [
    ("btc/a.conll", 1000, "token_classification"), ("crossner/ai/train.txt", 100, "token_classification"),
    ("xquad_en/xquad.en.json", 1190, "question_answering"),
    ("fairytaleqa/val_squad.json", 515, "question_answering")])
def test_real_files_are_read_as_they_are(shared: Path, name: str, rows: int, task: str) -> None:
    table = read.read(shared / "data" / name)
    found = columns.guess(table)
    assert (table.num_rows, found.task) == (rows, task)
    assert not [item for item in get(task)(**found.options).check(table, found.columns) if item.level == "error"]
