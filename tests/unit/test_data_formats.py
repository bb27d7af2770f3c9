"""Workbooks, Arrow files, YAML, paragraphs, archives of tables and texts: read as they are, or refused by name."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

from engine.data import columns, held, read
from engine.data.source import Source
from engine.errors import StudioError
from engine.findings import Finding

HEADER = ("text", "label")
ROWS = [(f"example number {i} about {'cats' if i % 2 else 'dogs'}", "cat" if i % 2 else "dog") for i in range(12)]
CSV = "\n".join(",".join(row) for row in [HEADER, *ROWS]) + "\n"


def workbook(path: Path, **sheets: list[tuple[Any, ...]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def packed(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def refused(path: Path, **said: Any) -> str:
    with pytest.raises(StudioError) as caught:
        read.read(path, read.sniff(path, **said))
    assert caught.value.try_this and "{" not in caught.value.what
    return caught.value.kind


def found(path: Path, tmp_path: Path) -> dict[str, Finding]:
    return {item.kind: item for item in read.ingest(path, tmp_path / "rows.parquet").findings}


# -- Excel ---------------------------------------------------------------------------------------------------------


def test_a_workbook_gives_its_first_filled_sheet(tmp_path: Path) -> None:
    path = workbook(tmp_path / "book", Empty=[], Data=[HEADER, *ROWS], More=[("comment",), ("x",)])
    table = read.read(path)
    assert [tuple(row.values()) for row in table.to_pylist()] == ROWS
    assert columns.guess(table).columns == {"text": "text", "label": "label"}
    assert "'More'" in found(path, tmp_path)["other_sheets"].what
    assert read.read(path, read.sniff(path, part="More")).column_names == ["comment"]
    assert refused(path, part="Nothing") == "part_missing"
    assert read.preview(path, 3).rows == [dict(zip(HEADER, row, strict=True)) for row in ROWS[:3]]


def test_cells_of_every_kind_become_plain_values(tmp_path: Path) -> None:
    day = datetime.datetime(2024, 3, 1)
    rows = [("when", "label", "score", "sure", "note"), (day, 1, 0.5, True, "a"),
            (day.replace(hour=9, minute=30), 0, 2, False, None), (datetime.time(8), 1, 1.25, True, "#N/A")]
    path = workbook(tmp_path / "book", Data=rows)
    assert read.read(path).to_pydict() == {
        "when": ["2024-03-01", "2024-03-01 09:30:00", "08:00:00"], "label": [1, 0, 1], "score": [0.5, 2.0, 1.25],
        "sure": ["true", "false", "true"], "note": ["a", None, None]}
    assert found(path, tmp_path)["cell_error"].rows == [3]


def test_headings_empty_rows_and_a_missing_header_do_not_matter(tmp_path: Path) -> None:
    headed = workbook(tmp_path / "headed", Data=[("Report of March",), (), HEADER, *ROWS[:3], (), *ROWS[3:]])
    assert [tuple(row.values()) for row in read.read(headed).to_pylist()] == ROWS
    bare = workbook(tmp_path / "bare", Data=ROWS)
    table = read.read(bare)
    assert table.column_names == ["column_1", "column_2"] and table.num_rows == len(ROWS)
    assert read.read(bare, read.sniff(bare, header=True)).num_rows == len(ROWS) - 1


def test_formulas_without_values_are_told(tmp_path: Path) -> None:
    path = workbook(tmp_path / "book", Data=[("text", "size"), *((text, "=LEN(A2)") for text, _ in ROWS)])
    assert found(path, tmp_path)["formula_uncounted"].count == len(ROWS)


def test_a_row_with_more_cells_than_names_is_told(tmp_path: Path) -> None:
    rows = [HEADER, *ROWS * 40, ("one", "more", "cell")]
    assert found(workbook(tmp_path / "book", Data=rows), tmp_path)["ragged_rows"].rows == [481]


def test_broken_empty_and_exploding_workbooks_are_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "book", Data=[HEADER, *ROWS])
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    assert refused(path) in ("archive_broken", "workbook_broken")
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    broken = packed(tmp_path / "b", **members | {sheet: members[sheet][:300]})
    assert refused(broken) == "workbook_broken"
    assert refused(workbook(tmp_path / "e", Data=[])) == "workbook_empty"
    bomb = packed(tmp_path / "z", **members | {sheet: members[sheet] + b" " * (40 << 20)})
    with pytest.raises(StudioError) as caught:
        read.read(bomb, largest=32 << 20)
    assert caught.value.kind == "expanded_too_large"


# -- Arrow ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream], ids=["file", "stream"])
def test_arrow_files_and_streams_are_read_and_broken_ones_named(tmp_path: Path, make: Any) -> None:
    table = pa.table({"text": [text for text, _ in ROWS],
                      "label": pa.array([label for _, label in ROWS]).dictionary_encode(), "n": range(12)})
    path = tmp_path / "rows.csv"
    with make(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    back = read.read(path)
    assert back.to_pylist() == table.to_pylist()
    assert back.schema.field("label").type == pa.string()
    assert read.ingest(path, tmp_path / "rows.parquet").rows == 12
    path.write_bytes(path.read_bytes()[:-300])
    assert refused(path) == "arrow_broken"


# -- plain text ----------------------------------------------------------------------------------------------------


def test_paragraphs_or_lines_are_rows_whichever_the_text_has(tmp_path: Path) -> None:
    path = tmp_path / "novel"
    path.write_text("It was a dark night,\nand it rained\nwithout end.\n\nNobody came, and\nnobody went.\n\n\n"
                    "Morning.\n")
    source = read.sniff(path)
    assert (source.format, source.unit) == ("text", "paragraph")
    assert read.read(path).column("text").to_pylist() == [
        "It was a dark night, and it rained without end.", "Nobody came, and nobody went.", "Morning."]
    lines = read.read(path, read.sniff(path, unit="line"))
    assert lines.num_rows == 6 and lines["text"][5].as_py() == "Morning."
    path.write_text("One line here.\nAnother line there.\nA third one.\n")
    assert read.sniff(path).unit == "line" and read.read(path).num_rows == 3
    assert columns.guess(read.read(path)).columns == {"text": "text"}


# -- YAML ----------------------------------------------------------------------------------------------------------


def test_conversations_in_yaml_become_messages(tmp_path: Path) -> None:
    path = tmp_path / "chat"
    path.write_text("categories:\n- a\nconversations:\n- - Are you there?\n  - Yes\n- - Name: what?\n  - 12\n  - ok\n")
    table = read.read(path)
    assert [[turn["content"] for turn in cell] for cell in table["messages"].to_pylist()] == [
        ["Are you there?", "Yes"], ["Name: what?", "12", "ok"]]
    assert [turn["role"] for turn in table["messages"][1].as_py()] == ["user", "assistant", "user"]
    path.write_text("- text: one\n  label: no\n- text: two\n  label: 1.0\n")
    assert read.read(path).to_pylist() == [{"text": "one", "label": "no"}, {"text": "two", "label": "1.0"}]


@pytest.mark.parametrize("text", ["a: &x [1, 2]\nrows:\n- text: *x\n", "rows:\n- text: [1\n", "- - " + "[" * 60 + "\n"])
def test_yaml_that_is_broken_or_made_to_explode_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data"
    path.write_text("---\n" + text + "  - x\n")
    assert refused(path) == "yaml_broken"


def test_a_text_with_dashes_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("Things to buy:\n- milk\n- bread and butter\nThat is all.\n")
    assert read.sniff(path).format == "text"


# -- archives and folders ------------------------------------------------------------------------------------------


def test_one_table_in_an_archive_is_read_as_it_is(tmp_path: Path) -> None:
    path = packed(tmp_path / "upload", data__rows=CSV, README="about", data__LICENSE="mine")
    table = read.read(path)
    assert [tuple(row.values()) for row in table.to_pylist()] == ROWS
    assert set(found(path, tmp_path)) == {"other_files"}
    assert held.evaluation(path, tmp_path) is None


def test_parts_are_told_apart_and_evaluation_rows_get_the_names_of_the_others(tmp_path: Path) -> None:
    bare = "\n".join("\t".join(row) for row in ROWS[:4])
    path = packed(tmp_path / "upload", **{"train.tsv": CSV.replace(",", "\t"), "val.tsv": bare, "test.tsv": bare})
    assert read.read(path).num_rows == 12
    told = found(path, tmp_path)
    assert "'val.tsv'" in told["parts_found"].what and told["other_files"].count == 1
    other = held.evaluation(path, tmp_path)
    assert other is not None
    assert read.read(other.path, other.source).to_pylist() == [dict(zip(HEADER, row, strict=True)) for row in ROWS[:4]]
    assert read.read(path, read.sniff(path, part="test.tsv")).num_rows == 4
    assert refused(path, part="nothing.tsv") == "part_missing"


def test_tables_of_one_kind_lie_under_each_other_and_others_are_left_out_by_name(tmp_path: Path) -> None:
    more = "\n".join(json.dumps({"text": f"t {i}", "label": i, "extra": [1]}) for i in range(3))
    path = packed(tmp_path / "upload", **{"a.jsonl": more, "b.jsonl": '{"text": "x", "label": "y"}\n{"text": "broken\n',
                                          "c.jsonl": '{"name": "z"}\n'})
    table = read.ingest(path, tmp_path / "rows.parquet")
    rows = read.read(tmp_path / "rows.parquet").to_pylist()
    assert [row["label"] for row in rows] == ["0", "1", "2", "y"]
    assert [row["file"] for row in rows] == ["a.jsonl"] * 3 + ["b.jsonl"]
    told = {item.kind: item for item in table.findings}
    assert told["broken_rows"].rows == [5] and "'b.jsonl'" in told["broken_rows"].what
    assert told["files_differ"].where == "c.jsonl"


def test_one_file_or_one_folder_a_class_gives_texts_with_labels(tmp_path: Path) -> None:
    files = packed(tmp_path / "files", **{"pos.txt": "good\nfine film\n", "neg.txt": "bad\n"})
    assert sorted(tuple(row.values()) for row in read.read(files).to_pylist()) == [
        ("bad", "neg"), ("fine film", "pos"), ("good", "pos")]
    texts = {f"{part}__{label}__{i}.txt": f"{label} text\nof {i}" for part in ("train", "test") for label in ("a", "b")
             for i in range(3)}
    folders = packed(tmp_path / "folders", **texts)
    rows = read.read(folders).to_pylist()
    assert len(rows) == 6 and rows[0] == {"text": "a text\nof 0", "label": "a"}
    other = held.evaluation(folders, tmp_path)
    assert other is not None and read.read(other.path).num_rows == 6


@pytest.mark.parametrize(("members", "kind"), [
    ({"../evil.csv": CSV}, "archive_unsafe"), ({"notes.pdf": b"%PDF"}, "nothing_inside"),
    ({"inner.csv": None}, "not_a_table"), ({"a.csv": b"\x80\x04\x95aa"}, "not_a_table"), ({"empty.csv": b""},
                                                                                        "nothing_inside")])
def test_archives_that_hold_nothing_fit_to_read_are_refused(tmp_path: Path, members: dict[str, Any],
                                                           kind: str) -> None:
    inner = packed(tmp_path / "inner.zip", **{"a.csv": CSV}).read_bytes()
    path = packed(tmp_path / "upload", **{name: inner if content is None else content
                                         for name, content in members.items()})
    assert refused(path) == kind


def test_an_archive_of_a_later_kind_is_refused_by_name(tmp_path: Path) -> None:
    path = packed(tmp_path / "upload", **{"a.csv": CSV})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 200
    path.write_bytes(data)
    assert refused(path) == "archive_broken"


def test_an_archive_that_explodes_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "upload", **{"a.csv": CSV + "x,y\n" * (9 << 20)})
    with pytest.raises(StudioError) as caught:
        read.ingest(path, tmp_path / "rows.parquet", largest=32 << 20)
    assert caught.value.kind == "expanded_too_large"
    assert not (tmp_path / "rows.parquet").exists()


# -- layouts of chat and questions ---------------------------------------------------------------------------------


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


LONG = [f"tell me about the number {i} and why it matters" for i in range(9)]


@pytest.mark.parametrize(("row", "roles"), [
    (lambda text: {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]},
     {"messages": "messages"}),
    (lambda text: {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "yes"}],
                   "system": "be"}, {"messages": "conversations", "system": "system"}),
    (lambda text: {"instruction": text, "input": "x", "output": f"it is {text}"},
     {"prompt": "prompt", "completion": "output"}),
    (lambda text: {"prompt": text, "completion": f"it is {text}"}, {"prompt": "prompt", "completion": "completion"}),
    (lambda text: {"question": text, "answer": f"it is {text}"}, {"prompt": "question", "completion": "answer"}),
    (lambda text: {"question": text, "answers": [f"it is {text}", "or so"], "type": "x"},
     {"prompt": "question", "completion": "answer"}),
    (lambda text: {"dialog": [text, "yes", "good"], "id": text}, {"messages": "messages"}),
    (lambda text: {"id": text, "instruction": text, "instances": [{"input": "", "output": f"a {text}"},
                                                                 {"input": "i", "output": f"b {text}"}]},
     {"prompt": "prompt", "completion": "instances.output"}),
], ids=["openai", "sharegpt", "alpaca", "prompt", "pairs", "answers", "dialogue", "instances"])
def test_every_layout_of_chat_is_understood(tmp_path: Path, row: Any, roles: dict[str, str]) -> None:
    path = jsonl(tmp_path / "data", *(row(text) for text in LONG))
    for guess in (columns.guess(read.read(path)), columns.guess(read.preview(path))):
        assert (guess.task, guess.columns) == ("causal_lm", roles)


def test_several_instances_of_a_task_are_rows_of_their_own(tmp_path: Path) -> None:
    asked = {"instruction": "add", "instances": [{"input": "1", "output": "2"}, {"input": "2", "output": "3"}]}
    path = jsonl(tmp_path / "data", asked, {"instruction": "go", "instances": [{"input": "", "output": "gone"}]})
    assert read.read(path)["prompt"].to_pylist() == ["add\n\n1", "add\n\n2", "go"]


def test_passages_with_questions_are_read_line_by_line_and_damaged_ones_keep_their_row(tmp_path: Path) -> None:
    asked = {"qid": "1", "question": "Where?", "answers": ["Rome"]}
    path = jsonl(tmp_path / "data", {"header": {"dataset": "x"}}, {"context": "In Rome.", "qas": [asked, asked]},
                 {"context": "In Oslo.", "qas": [{"question": "What?", "answers": []}]})
    table = read.read(path)
    assert (table.num_rows, columns.guess(table).task) == (3, "question_answering")
    assert columns.guess(table).options == {"unanswerable": True}
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [{"qas": [asked]}, {"context": "c", "qas": [7]},
                                                                     {"context": "In Rome.", "qas": [asked]}]}]}))
    assert read.read(path).select(["question", "context"]).to_pylist() == [
        {"question": "Where?", "context": None}, {"question": None, "context": "c"},
        {"question": "Where?", "context": "In Rome."}]


# -- CoNLL ---------------------------------------------------------------------------------------------------------


PLAIN = "\n".join(["Anna PER", "went O", "to O", "Rome LOC", "", "Tim PER", "slept O", "well O", ""] * 5)


@pytest.mark.parametrize("text", [PLAIN, PLAIN.replace(" ", "\t"), "# id 1 x=y z\n" + PLAIN,
                                  PLAIN.replace("PER", "NNP").replace(" O", " VB")],
                         ids=["blank", "tab", "remarks", "parts of speech"])
def test_plain_tags_are_recognised(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data"
    path.write_text(text)
    table = read.read(path)
    assert table.column_names == ["tokens", "tags"] and table.num_rows == 10
    assert table["tokens"][0].as_py() == ["Anna", "went", "to", "Rome"]


def test_three_columns_are_words_parts_of_speech_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("Tim NNP I-PER\nran VBD O\n\nHi UH O\n")
    assert read.read(path).column_names == ["tokens", "pos_tags", "tags"]


@pytest.mark.parametrize("text", ["New York\nLos Angeles\n\n" * 20, "yes No\nno Yes\n" * 30, "Hello there.\n\n" * 30])
def test_other_texts_are_no_tagged_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data"
    path.write_text(text)
    assert read.sniff(path).format != "conll"


@pytest.mark.parametrize("delimiter", ["^", "~", "\x01", "||", "::", "¦"])
def test_rare_delimiters_are_recognised(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "data"
    path.write_text("\n".join(delimiter.join(row) for row in [HEADER, *ROWS]), encoding="utf-8")
    assert [tuple(row.values()) for row in read.read(path).to_pylist()] == ROWS


def test_a_source_stored_before_these_formats_still_reads() -> None:
    assert Source.model_validate({"format": "csv", "delimiter": ",", "quote": '"', "header": True,
                                  "columns": ["text"]}).unit == "line"
