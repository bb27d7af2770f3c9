"""A name that stands twice in a JSON object is told, with the rows, and with what became of both values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.data import read
from engine.findings import Finding


def ingested(tmp_path: Path, name: str, text: str) -> tuple[list[dict[str, object]], list[Finding]]:
    path, out = tmp_path / name, tmp_path / "out.parquet"
    path.write_text(text, encoding="utf-8")
    made = read.ingest(path, out)
    return read.read(out).to_pylist(), [one for one in made.findings if one.kind == "key_twice"]


TWICE = '{"text": "one", "label": "x", "label": "y"}'
FINE = json.dumps({"text": 'he said: "a": {"label": 1, "label": 2}', "label": "z"})


@pytest.mark.parametrize(("name", "text"), [
    ("rows.jsonl", f"{FINE}\n{TWICE}\n\n{TWICE}\n"), ("rows.json", f"[{FINE}, {TWICE},\n {TWICE}]"),
    ("rows.json", '{"version": 1, "data": [' + f"{FINE}, {TWICE}, {TWICE}" + "]}")])
def test_rows_are_named_and_the_last_value_counts(tmp_path: Path, name: str, text: str) -> None:
    rows, (finding,) = ingested(tmp_path, name, text)
    assert [row["label"] for row in rows] == ["z", "y", "y"]
    assert (finding.level, finding.rows, finding.count) == ("warning", [2, 3], 2)
    assert finding.what == "Row 2 has the field 'label' twice; the last one counts. 1 more like it."
    assert "another name" in finding.try_this


def test_an_object_inside_a_row_is_looked_at_too(tmp_path: Path) -> None:
    chat = '{"messages": [{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]}'
    _, (finding,) = ingested(tmp_path, "chat.jsonl", f"{chat}\n")
    assert "'content'" in finding.what and finding.rows == [1]


@pytest.mark.parametrize(("text", "kept", "expected"), [
    ('{"text": ["a", "b"], "label": ["x", "y"], "label": ["y", "x"]}', "last", ["y", "x"]),
    ('{\n"text": "a",\n"label": "x",\n"label": "y"}', "last", ["y"]),
    ('{"data": [{"text": "a", "label": "x"}], "data": [{"text": "b", "label": "y"}]}', "first", ["x"]),
    ('{"v": 1, "v": 2, "data": [{"text": "a", "label": "x"}]}', "last", ["x"])])
def test_a_document_says_which_of_both_counts(tmp_path: Path, text: str, kept: str, expected: list[str]) -> None:
    rows, (finding,) = ingested(tmp_path, "rows.json", text)
    assert [row["label"] for row in rows] == expected
    assert f"the {kept} one counts" in finding.what and not finding.rows


def test_a_large_document_is_looked_at_as_it_streams(tmp_path: Path) -> None:
    many = ", ".join([FINE] * 20_000)
    _, (finding,) = ingested(tmp_path, "rows.json", f"[{many}, {TWICE}]")
    assert finding.rows == [20_001]


def test_files_without_such_names_say_nothing(tmp_path: Path) -> None:
    for name, text in (("a.jsonl", f"{FINE}\n{FINE}\n"), ("b.json", f"[{FINE}]"),
                       ("c.json", '{"data": [{"text": "a", "label": "x"}], "version": 1}')):
        assert ingested(tmp_path, name, text)[1] == []
