"""Files of predictions: which column is asked with, how the file grows, and rows that cannot be asked."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engine import tasks
from engine.bulk import roles
from engine.bulk.judging import RolesMissing, fitting, known_rows
from engine.bulk.table import Growing, named
from engine.comparison import LabelsUnknown
from engine.data import image

TEXTS, CHATS = tasks.get("text_classification"), tasks.get("causal_lm")
LONG = "a text of several words"


def batch(**columns: Any) -> pa.RecordBatch:
    if "tags" in columns:
        columns["tags"] = pa.array(columns["tags"], pa.list_(pa.string()))
    return pa.RecordBatch.from_pydict(columns)


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(file, "PNG")
    return file.getvalue()


def written(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(("task", "columns", "trained", "chosen", "expected"), [
    (TEXTS, ["sentence", "n"], {"text": "sentence", "label": "n"}, {}, {"text": "sentence"}),
    (TEXTS, ["body", "text"], {"text": "sentence", "label": "x"}, {}, {"text": "text"}),
    (TEXTS, ["weather"], {"text": "sentence"}, {}, {"text": "weather"}),
    (TEXTS, ["a", "b"], {"text": "a", "text_pair": "b"}, {}, {"text": "a", "text_pair": "b"}),
    (TEXTS, ["text", "text_pair"], {"text": "text"}, {}, {"text": "text"}),
    (TEXTS, ["a", "b"], {"text": "a"}, {"text": "b", "label": "a"}, {"text": "b"}),
    (CHATS, ["prompt", "id"], {"messages": "messages"}, {}, {"prompt": "prompt"}),
    (CHATS, ["instructions to follow"], {}, {}, {"text": "instructions to follow"}),
    (tasks.get("question_answering"), ["context", "question"], {"question": "q", "context": "c", "answers": "a"}, {},
     {"question": "question", "context": "context"}),
    (tasks.get("seq2seq"), ["article"], {"source": "document", "target": "summary"}, {}, {"source": "article"})])
def test_the_column_of_each_part_of_a_question_is_found(
        task: Any, columns: list[str], trained: dict[str, str], chosen: dict[str, str],
        expected: dict[str, str]) -> None:
    table = pa.table({name: [f"{LONG} {i} in {name}" for i in range(4)] for name in columns})
    assert roles.matched(task, table, trained, chosen) == expected


@pytest.mark.parametrize(("columns", "trained", "chosen", "error"), [
    ({"n": [1, 2]}, {}, {}, roles.RoleUnfilled), ({"a": [LONG] * 2}, {"text": "x", "text_pair": "y"}, {}, None),
    ({"a": [LONG] * 2}, {}, {"text": "b"}, roles.NotInFile), ({"a": [LONG] * 2}, {}, {"words": "a"}, roles.NobodyFills),
    ({"a": [LONG] * 2}, {}, {"label": "a"}, roles.RoleUnfilled)])
def test_what_cannot_be_found_is_asked_for_by_name(columns: dict[str, Any], trained: dict[str, str],
                                                   chosen: dict[str, str], error: Any) -> None:
    with pytest.raises(error or roles.RoleUnfilled) as caught:
        roles.matched(TEXTS, pa.table(columns), trained, chosen)
    assert next(iter(columns)) in caught.value.try_this or error is roles.NobodyFills


def test_a_row_that_holds_nothing_asks_nothing() -> None:
    rows = batch(a=["x", " ", None], b=[1.5, 2, 3])
    assert list(roles.rows(rows, TEXTS, {"text": "a", "text_pair": "b"})) == [
        {"text": "x", "text_pair": "1.5"}, None, None]
    words = batch(w=[["Ada", "met"], [], None])
    assert list(roles.rows(words, tasks.get("token_classification"), {"tokens": "w"})) == [
        {"tokens": ["Ada", "met"]}, None, None]


def test_a_name_that_the_file_has_is_given_another() -> None:
    assert named(["prediction", "note"], ["a", "note", "note_predicted"]) == {
        "prediction": "prediction", "note": "note_predicted_2"}


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_rows_before_the_first_reply_wait_until_it_is_known_what_is_filled(tmp_path: Path, format: Any) -> None:
    path = tmp_path / "out"
    with Growing(path, format, ["text", "tags"]) as growing:
        growing.add(batch(text=["", "\n"], tags=[["x"], None], more=[1, 2]), [{"note": "Empty."}] * 2)
        assert growing.rows == 0
        growing.add(batch(text=['say "hi", you'], tags=[["y", "z"]], more=[3]),
                    [{"prediction": "spam", "score": 0.5, "note": None}])
        growing.add(batch(text=["later"], tags=[[]], more=[4]), [{"note": "Broken."}])
    assert growing.rows == 4
    if format == "csv":
        assert written(path) == [
            ["text", "tags", "prediction", "score", "note"], ["", '["x"]', "", "", "Empty."],
            ["\n", "", "", "", "Empty."], ['say "hi", you', '["y", "z"]', "spam", "0.5", ""],
            ["later", "[]", "", "", "Broken."]]
        return
    table = pq.read_table(path)
    assert table.column("tags").to_pylist() == [["x"], None, ["y", "z"], []]
    assert table.schema.field("score").type == pa.float64() and table.column("score").null_count == 3


def test_a_file_without_any_reply_has_its_rows_and_notes(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with Growing(path, "csv", ["text"]) as growing:
        growing.add(batch(text=[""]), [{"note": "Empty."}])
    assert written(path) == [["text", "note"], ["", "Empty."]]


def test_images_are_asked_with_their_bytes_and_stay_as_their_names(tmp_path: Path) -> None:
    red = picture("red")
    rows = pa.RecordBatch.from_arrays([pa.array([{"bytes": red, "path": "a/red.png"}, None], image.TYPE)],
                                      names=["image"])
    kind = tasks.get("image_classification")
    assert list(roles.rows(rows, kind, {"image": "image"})) == [{"image": red}, None]
    path = tmp_path / "out.csv"
    with Growing(path, "csv", ["image"]) as growing:
        growing.add(rows, [{"prediction": "red", "note": None}, {"note": "Empty."}])
    assert written(path)[1:] == [["a/red.png", "red", ""], ["", "", "Empty."]]


def test_a_dataset_is_judged_by_the_roles_an_adapter_was_trained_with() -> None:
    columns = {"text": "a", "text_pair": "b", "label": "c"}
    assert fitting(TEXTS, columns, {"text": "x", "label": "y"}) == {"text": "a", "label": "c"}
    assert fitting(TEXTS, columns, {}) == columns
    with pytest.raises(RolesMissing, match="'Second text'"):
        fitting(TEXTS, {"text": "a", "label": "c"}, columns)
    exchange = {"prompt": "p", "completion": "c"}
    assert fitting(CHATS, exchange, {"messages": "messages"}) == exchange


def test_rows_with_labels_that_nobody_learned_are_left_out_and_named() -> None:
    task = TEXTS.model_validate({"name": "text_classification", "problem": "multi_label"})
    table = pa.table({"text": ["a", "b", "c"], "label": [["x"], ["x", "new"], ["y"]]})
    columns = {"text": "text", "label": "label"}
    left, (finding,) = known_rows(task, table, columns, ["x", "y"])
    assert left.column("text").to_pylist() == ["a", "c"]
    assert (finding.kind, finding.rows, finding.count) == ("labels_unknown", [2], 1) and "new" in finding.what
    assert known_rows(task, table, columns, ["new", "x", "y"])[1] == []
    with pytest.raises(LabelsUnknown, match="new, x, y"):
        known_rows(task, table, columns, ["other"])


def test_a_tagger_is_not_judged_on_rows_without_an_entity_it_knows() -> None:
    task = tasks.get("token_classification").model_validate({"name": "token_classification"})
    table = pa.table({"words": [["in", "Rome"], ["it", "rains"]], "tags": [["O", "B-LOC"], ["O", "O"]]})
    columns = {"tokens": "words", "tags": "tags"}
    with pytest.raises(LabelsUnknown, match="B-LOC"):
        known_rows(task, table, columns, ["O", "B-field", "I-field"])
    assert known_rows(task, table, columns, ["O", "B-LOC"])[1] == []
    assert tasks.get("token_classification").counted(["O", "B-field", "I-field"]) == {"field"}
    assert tasks.get("token_classification").counted(["O"]) == set()
    assert TEXTS.counted(["O", "B-field"]) == {"O", "B-field"}


@pytest.mark.shared
def test_an_image_that_cannot_be_read_has_a_note_and_the_others_a_class(shared: Path, tmp_path: Path) -> None:
    from engine.bulk.predicting import Predicting
    from engine.predict import Player

    colours = ["red", "green", "blue", "white", "black"]
    images = [{"bytes": picture(colour), "path": f"{colour}.png"} for colour in colours]
    images.insert(2, {"bytes": images[0]["bytes"][:60], "path": "cut.png"})
    source, out = tmp_path / "rows.parquet", tmp_path / "out.csv"
    pq.write_table(pa.table({"image": pa.array(images, image.TYPE)}), source)
    heard: list[int] = []
    player = Player(shared / "models" / "mobilenet-v2", "image_classification")
    made = Predicting(player, None, {"image": "image"}).write(source, out, "csv",
                                                              report=lambda made: heard.append(made.rows))
    assert (made.rows, made.answered, heard) == (6, 5, [6])
    found = written(out)
    assert [line[0] for line in found[1:]] == ["red.png", "green.png", "cut.png", "blue.png", "white.png", "black.png"]
    assert found[3][1] == "" and found[3][-1]
    assert all(line[1] for line in found[1:] if line[0] != "cut.png")
    assert made.head[2]["image"] == "cut.png" and made.head[2]["note"] == found[3][-1]
    stopped = Predicting(player, None, {"image": "image"}).write(source, out, "csv", cancelled=lambda: True)
    assert (stopped.rows, stopped.stopped) == (0, True) and written(out) == [["note"]]
