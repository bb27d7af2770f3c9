"""Files are recognised by their content, and their values survive reading unchanged."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data import read
from engine.data.errors import Cancelled, NotRows
from engine.data.source import Source

ROWS = [("Grüße, aus \"Köln\"", "a"), ("two\nlines", "b"), ("plain", "007"), ("tab\there", "1.0"), ("", "NA")] * 4


def as_csv(delimiter: str = ",", end: str = "\n") -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerows([("text", "label"), *ROWS])
    return out.getvalue()


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_delimited_text_is_read_in_any_dress(tmp_path: Path, encoding: str, delimiter: str, end: str,
                                             packed: bool) -> None:
    content = as_csv(delimiter, end).encode(encoding)
    path = tmp_path / "misleading.parquet"
    path.write_bytes(gzip.compress(content) if packed else content)
    source = read.sniff(path)
    assert (source.delimiter, source.quote, source.header, source.columns) == (delimiter, '"', True, ["text", "label"])
    assert source.compression == ("gzip" if packed else None)
    assert rows(read.read(path)) == ROWS
    assert [tuple(row.values()) for row in read.preview(path, 7).rows] == ROWS[:7]


def test_an_old_mac_file_ends_its_lines_with_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "mac.csv"
    path.write_bytes(b"text,label\rhello there,a\rgood bye,b\r")
    assert rows(read.read(path)) == [("hello there", "a"), ("good bye", "b")]


def test_a_stray_carriage_return_stays_in_its_cell(tmp_path: Path) -> None:
    path = tmp_path / "stray.tsv"
    path.write_bytes(b"text\tlabel\nhe said\rstop\ta\ngood bye\tb\n")
    assert rows(read.read(path)) == [("he said\rstop", "a"), ("good bye", "b")]


def test_quotes_within_tab_separated_fields_belong_to_the_text(tmp_path: Path) -> None:
    path = tmp_path / "glue.tsv"
    path.write_text('sentence\tlabel\n"Stop" he said.\t1\nnothing "here\t0\n"The Persians" is old\t1\n')
    assert [text for text, _ in rows(read.read(path))] == ['"Stop" he said.', 'nothing "here', '"The Persians" is old']


def test_backslashes_may_escape_quotes(tmp_path: Path) -> None:
    path = tmp_path / "escaped.csv"
    path.write_text('text,label\n"she said \\"no\\", twice",a\n"and \\"yes\\" once",b\n')
    assert rows(read.read(path)) == [('she said "no", twice', "a"), ('and "yes" once', "b")]


def test_blanks_may_follow_delimiters(tmp_path: Path) -> None:
    path = tmp_path / "spaced.csv"
    path.write_text('text, label\n"one, two", a\n' + '"three", "b"\n' * 3)
    assert rows(read.read(path))[:2] == [("one, two", "a"), ("three", "b")]


@pytest.mark.parametrize(("content", "columns"), [
    ("good film,positive\nbad film,negative\nfine film,positive\n", ["column_1", "column_2"]),
    ("gj04\t1\t\tThe cat sat down.\ncj99\t0\t*\tCat the down sat.\n", ["column_1", "column_2", "column_3", "column_4"]),
    ("v1,v2,\nham,hello you,\nspam,win a prize now,\n", ["v1", "v2", "column_3"]),
    ("a line of text\nanother, with a comma\na third one\n", ["text"]),
    (",text,label\n0,hello,a\n1,bye,b\n", ["column_1", "text", "label"]),
    ("Review Text,Star Rating\nsome long review of a film,5\nanother long review of it,4\n",
     ["Review Text", "Star Rating"])])
def test_headers_are_told_from_rows(tmp_path: Path, content: str, columns: list[str]) -> None:
    path = tmp_path / "data"
    path.write_text(content)
    assert read.sniff(path).columns == columns
    assert read.read(path).column_names == columns


CELLS = [(f"my parcel number {i} has not come yet", ("delay", "refund", "praise")[i % 3], ("mail", "phone")[i % 2])
         for i in range(40)]


@pytest.mark.parametrize("names", [
    ("text", "label", "id=5"), ("text", "label", "2024"), ("Message body", "Customer intent", "Channel"),
    ("What they wrote", "Why <1>", "Where from")], ids=lambda names: names[-1])
def test_odd_names_are_still_a_header(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("\n".join(map(",".join, [names, *CELLS])))
    table = read.read(path)
    assert (table.num_rows, table.column_names) == (40, list(names))


@pytest.mark.parametrize("first", [("great film", "praise", "mail"), ("why", "refund", "phone"),
                                   ("my parcel number 77 has not come at all", "odd", "letter")], ids=" ".join)
def test_a_first_row_like_the_others_is_no_header(tmp_path: Path, first: tuple[str, ...]) -> None:
    path = tmp_path / "bare.csv"
    path.write_text("\n".join(map(",".join, [first, *CELLS])))
    assert read.read(path).num_rows == 41


@pytest.mark.parametrize(("said", "columns"), [(True, ["why", "refund", "phone"]),
                                               (False, ["column_1", "column_2", "column_3"])])
def test_a_person_can_say_whether_the_first_row_is_a_header(tmp_path: Path, said: bool, columns: list[str]) -> None:
    path = tmp_path / "said.csv"
    path.write_text("\n".join(map(",".join, [("why", "refund", "phone"), *CELLS])))
    table = read.read(path, read.sniff(path, header=said))
    assert (table.column_names, table.num_rows) == (columns, 41 - said)


@pytest.mark.parametrize(("content", "held"), [("42", "a number"), (" true\n", "true or false"), ("null", "null")])
def test_json_without_rows_is_named_as_what_it_holds(tmp_path: Path, content: str, held: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(content)
    with pytest.raises(NotRows) as raised:
        read.sniff(path)
    assert raised.value.what == f"This JSON holds {held}, not rows."


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["needed", "all"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("extra", ["\nand a second line", ' with "quoted" words', ", with a comma", ",\nand, more"])
def test_quotes_may_enclose_the_cells_of_a_single_column(tmp_path: Path, extra: str, end: str, quoting: int) -> None:
    texts = [f"note number {i} says this" + (extra if i % 9 == 0 else "") for i in range(80)]
    out = io.StringIO()
    csv.writer(out, quoting=quoting, lineterminator=end).writerows([["text"], *([text] for text in texts)])
    path = tmp_path / "one.csv"
    path.write_text(out.getvalue(), newline="")
    assert read.sniff(path).columns == ["text"]
    assert [text for text, in rows(read.read(path))] == texts
    assert [row["text"] for row in read.preview(path, 5).rows] == texts[:5]


def test_quotes_in_lines_of_text_stay_where_they_are(tmp_path: Path) -> None:
    said = [f'"Go on," said number {i}. "I listen."' if i % 3 == 0 else f"Number {i} said nothing." for i in range(60)]
    path = tmp_path / "story.txt"
    path.write_text("\n".join(said))
    assert [text for text, in rows(read.read(path))] == said


RECORDS = [{"text": f"row {i}", "label": i % 2, "score": i / 4} for i in range(5)]


@pytest.mark.parametrize("content", [
    json.dumps(RECORDS), json.dumps(RECORDS, indent=2), json.dumps({"version": 1, "data": RECORDS}),
    json.dumps({"data": RECORDS, "version": 1}, indent=1), "\n".join(map(json.dumps, RECORDS)),
    "\n\n".join(map(json.dumps, RECORDS)) + "\n\n",
    json.dumps({key: [row[key] for row in RECORDS] for key in RECORDS[0]}),
    json.dumps({key: {str(i): row[key] for i, row in enumerate(RECORDS)} for key in RECORDS[0]}),
    json.dumps({"columns": list(RECORDS[0]), "data": [list(row.values()) for row in RECORDS]}),
], ids=["array", "indented", "data", "data-first", "lines", "spaced-lines", "columns", "pandas", "pandas-split"])
def test_json_layouts_give_the_same_table(tmp_path: Path, content: str) -> None:
    for name, data in (("a.csv", content.encode()), ("b.csv", codecs.BOM_UTF8 + content.encode()),
                       ("c.csv", gzip.compress(content.encode()))):
        (tmp_path / name).write_bytes(data)
        found = read.read(tmp_path / name)
        assert found.to_pylist() == RECORDS
        assert [str(kind) for kind in found.schema.types] == ["string", "int64", "double"]


def test_later_rows_may_widen_columns_and_add_some(tmp_path: Path) -> None:
    path, out = tmp_path / "late.jsonl", tmp_path / "out.parquet"
    with path.open("w") as file:
        for i in range(45_000):
            row = {"text": "x", "label": i} if i < 44_000 else {"text": "x", "label": "many", "new": 1.5}
            file.write(json.dumps(row) + "\n")
    read.ingest(path, out)
    found = pq.read_table(out)
    assert [str(kind) for kind in found.schema.types] == ["string", "string", "double"]
    assert found.slice(0, 1).to_pylist() == [{"text": "x", "label": "0", "new": None}]
    assert found.num_rows == 45_000


def test_conversations_come_out_in_one_form(tmp_path: Path) -> None:
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps([{"id": "1", "conversations": [
        {"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"}]}]))
    found = read.read(path)
    assert found.column("conversations").to_pylist() == [[
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"}]]


@pytest.mark.parametrize("ends", [(b"", b"\n", b"\n"), (b"[", b",\n", b"]")], ids=["jsonl", "json"])
def test_rows_of_json_that_are_not_utf8_are_named(tmp_path: Path, ends: tuple[bytes, bytes, bytes]) -> None:
    found = [json.dumps({"text": f"cafe number {i}", "label": i % 2}).encode() for i in range(30)]
    for row in (5, 9):
        found[row] = found[row].replace(b"cafe", b"caf\xe9")
    path = tmp_path / "data"
    path.write_bytes(ends[0] + ends[1].join(found) + ends[2])
    ingested = read.ingest(path, tmp_path / "rows.parquet")
    odd, = ingested.findings
    assert (odd.kind, odd.level, odd.rows, odd.count) == ("invalid_utf8", "warning", [6, 10], 2)
    assert "Row 6" in odd.what and "latin-1" in odd.what
    assert ingested.rows == 30


def test_instructions_with_inputs_get_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps([{"instruction": "Add.", "input": "1 2", "output": "3"},
                                {"instruction": "Sing.", "input": "", "output": "la"}]))
    assert read.read(path).column("prompt").to_pylist() == ["Add.\n\n1 2", "Sing."]
    assert "prompt_added" in {item.kind for item in read.preview(path).findings}


def test_parquet_types_are_simplified_and_class_names_restored(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    features = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}
    chat = [[{"role": "user", "content": "hi", "weight": 1}], None, []]
    pq.write_table(pa.table({
        "text": pa.array(["a", "b", "a"]).dictionary_encode(), "label": [1, 0, 1], "flag": [True, None, False],
        "messages": chat, "tags": [["x"], [], ["y", "z"]], "image": [b"1", b"2", b"3"]}).replace_schema_metadata(
            {"huggingface": json.dumps(features)}), path)
    found = read.read(path)
    assert found.column_names == ["text", "label", "flag", "messages", "tags"]
    assert found.column("label").to_pylist() == ["pos", "neg", "pos"]
    assert found.column("flag").to_pylist() == ["true", None, "false"]
    assert found.column("messages").to_pylist()[0] == [{"role": "user", "content": "hi"}]
    (tmp_path / "packed").write_bytes(gzip.compress(path.read_bytes()))
    assert read.read(tmp_path / "packed").equals(found)


def test_ingest_keeps_every_value_and_says_what_it_read(tmp_path: Path) -> None:
    path, out = tmp_path / "data.csv", tmp_path / "out.parquet"
    path.write_text(as_csv(), encoding="utf-8")
    seen: list[float] = []
    found = read.ingest(path, out, progress=seen.append)
    assert pq.read_table(out).equals(read.read(path))
    assert (found.rows, found.columns) == (20, ["text", "label"])
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.bytes == path.stat().st_size
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_cancelling_leaves_nothing_behind(tmp_path: Path) -> None:
    path, out = tmp_path / "data.csv", tmp_path / "out.parquet"
    path.write_text("text,label\n" + "some words,a\n" * 200_000)
    asked = iter([False, True])
    with pytest.raises(Cancelled):
        read.ingest(path, out, cancelled=lambda: next(asked, True))
    assert [item.name for item in tmp_path.iterdir()] == ["data.csv"]


def test_faulty_rows_can_be_left_out_on_request(tmp_path: Path) -> None:
    path, out = tmp_path / "data.csv", tmp_path / "out.parquet"
    path.write_text("text,label\none,a\ntwo,b,c\nthree\nfour,d\n")
    source = read.sniff(path)
    found = read.ingest(path, out, source)
    assert [(item.kind, item.level, item.rows, item.count) for item in found.findings] == [
        ("ragged_rows", "error", [2, 3], 2)]
    again = read.ingest(path, out, source.model_copy(update={"faulty": "skip"}))
    assert [item.level for item in again.findings] == ["warning"]
    assert rows(pq.read_table(out)) == [("one", "a"), ("four", "d")]


def test_a_person_can_correct_what_was_recognised(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\nhello,a\n")
    source = read.sniff(path).model_copy(update={"header": False, "columns": ["first", "second"]})
    assert rows(read.read(path, source)) == [("text", "label"), ("hello", "a")]


cell = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff\uf8fd\uf8fe"), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=12), st.sampled_from([",", ";", "\t", "|"]))
def test_fast_reading_agrees_with_pythons_csv_module(tmp_path: Path, cells: list[tuple[str, str]],
                                                     delimiter: str) -> None:
    path = tmp_path / "data.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(cells)
    source = Source(format="csv", delimiter=delimiter, quote='"', columns=["a", "b"])
    found = rows(read.read(path, source))
    assert found == [tuple(text.replace("\r\n", "\n") for text in row) for row in cells]


def test_a_row_of_two_megabytes_among_short_ones_is_read(tmp_path: Path) -> None:
    path, out = tmp_path / "data.csv", tmp_path / "out.parquet"
    long = "word " * 400_000
    path.write_text("text,label\n" + "short,a\n" * 300_000 + f'"{long}",b\n' + "short,c\n" * 10)
    assert read.ingest(path, out).rows == 300_011
    assert pq.read_table(out).slice(300_000, 1).to_pylist() == [{"text": long, "label": "b"}]
    assert len(read.preview(path).rows) == 50


@pytest.mark.parametrize("encoding", ["hex", "zlib", "klingon"])
def test_only_text_encodings_can_be_chosen(encoding: str) -> None:
    with pytest.raises(ValueError, match="no text encoding"):
        Source(format="csv", encoding=encoding)
