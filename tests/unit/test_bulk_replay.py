"""Rows to be predicted go through the preparation of the adapter's rows: what changes columns, not what picks rows."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import tasks
from engine.bulk import holding, replay
from engine.bulk.predicting import Predicting
from engine.bulk.replay import NotPrepared, Replay
from engine.bulk.roles import NotInFile

TEXTS = tasks.get("text_classification")
SHORT = {"name": "shorten", "column": "text", "limit": 2}
JOINED = {"name": "template", "column": "text", "template": "{title}: {body}"}
PICKING: list[dict[str, Any]] = [
    {"name": "filter", "where": "length(text) > 3"}, {"name": "deduplicate"}, {"name": "sample", "rows": 3},
    {"name": "split"}, {"name": "balance", "column": "label"}]


def planned(steps: list[dict[str, Any]], table: pa.Table, chosen: dict[str, str] | None = None,
            trained: dict[str, str] | None = None) -> tuple[Replay, dict[str, str]]:
    return replay.planned(steps, table, TEXTS, trained or {"text": "text", "label": "label"}, chosen or {})


def asked(steps: list[dict[str, Any]], table: pa.Table, chosen: dict[str, str] | None = None) -> list[Any]:
    """Return what the model is asked with, row by row."""
    made, columns = planned(steps, table, chosen)
    return made.prepare(table)[0].column(columns["text"]).to_pylist()


@pytest.mark.parametrize(("steps", "columns", "expected"), [
    ([SHORT], {"text": "one two three"}, "one two"),
    ([{"name": "rename", "names": {"body": "text"}}, SHORT], {"body": "one two three"}, "one two"),
    ([{"name": "rename", "names": {"body": "text", "y": "label"}}], {"body": "one"}, "one"),
    ([{"name": "drop", "columns": ["text"]}, {"name": "rename", "names": {"body": "text"}}],
     {"text": "old", "body": "new"}, "new"),
    ([JOINED, SHORT], {"title": "Rain", "body": "one two"}, "Rain: one"),
    ([{"name": "map_labels", "column": "kind", "labels": {"a": "alpha", "b": ""}, "others": "drop"},
      {"name": "template", "column": "text", "template": "{kind} {kind}"}], {"kind": "a"}, "alpha alpha"),
    ([{"name": "merge_labels", "column": "text", "labels": ["x"], "rarer_than": 5}], {"text": "x"}, "other")])
def test_steps_that_change_columns_are_repeated(steps: Any, columns: dict[str, str], expected: str) -> None:
    assert asked(steps, pa.table({name: [value] for name, value in columns.items()})) == [expected]


def test_steps_that_pick_rows_are_not_and_it_is_said() -> None:
    table = pa.table({"text": ["a", "a", "a b c"], "id": [1, 2, 3]})
    made, _ = planned([*PICKING[:3], SHORT, *PICKING[3:]], table)
    assert made.prepare(table)[0]["text"].to_pylist() == ["a", "a", "a b"]
    assert made.said == (
        "Prepared as the adapter's rows were: cut 'text' to 2 words. Not repeated, as every row is predicted: "
        "keep rows where length(text) > 3; remove duplicates: all columns the same; keep 3 rows at random; random "
        "split, 10% to evaluate on; balance 'label' by repeating rare ones, at most 1 to 1.")


def test_no_row_goes_where_labels_are_left_out() -> None:
    step = {"name": "map_labels", "column": "text", "labels": {"a": "", "b": "B"}, "others": "drop"}
    assert asked([step], pa.table({"text": ["a", "b", "c"]})) == ["a", "B", "c"]


def test_steps_about_the_answer_are_left_out_where_the_file_has_none() -> None:
    step = {"name": "map_labels", "column": "label", "labels": {"a": "b"}}
    made, columns = planned([step, SHORT], pa.table({"text": ["one two three"]}))
    assert columns == {"text": "text"} and [one.name for one in made.taken] == ["shorten"]
    assert made.said.endswith("Not repeated, as there is no column 'label': in 'label' 'a → b'.")
    assert planned([], pa.table({"text": ["one"]}))[0].said == ""


@pytest.mark.parametrize("steps", [[SHORT], [{"name": "rename", "names": {"body": "text"}}, SHORT]])
@pytest.mark.parametrize("chosen", [{}, {"text": "weather"}, {"text": "text"}])
def test_the_one_text_of_a_file_is_prepared_whatever_its_column_is_called(
        steps: Any, chosen: dict[str, str]) -> None:
    table = pa.table({"weather": ["rain and more rain", "a clear cold sky"]})
    made, columns = planned(steps, table, chosen)
    assert columns == {"text": "text"}
    assert made.prepare(table)[0]["text"].to_pylist() == ["rain and", "a clear"]


def test_a_text_that_cannot_be_written_is_not_guessed_but_can_be_chosen() -> None:
    table = pa.table({"body": ["one two three"]})
    with pytest.raises(NotPrepared, match="'title'") as caught:
        planned([JOINED, SHORT], table)
    assert "say which column" in caught.value.try_this
    assert asked([JOINED, SHORT], table, {"text": "body"}) == ["one two"]
    ready = pa.table({"text": ["Rain: one two"]})
    assert asked([JOINED, SHORT], ready) == ["Rain: one"], "it was written before"
    both = pa.table({"title": ["Rain"], "body": ["wet"], "text": ["none"]})
    assert asked([JOINED], both) == ["Rain: wet"] and asked([JOINED], both, {"text": "body"}) == ["wet"]
    with pytest.raises(NotInFile, match="'other'"):
        planned([SHORT], table, {"text": "other"})


def test_a_column_is_known_by_its_name_before_and_after_the_steps() -> None:
    table = pa.table({"a": ["one"], "b": ["two"]})
    step = {"name": "rename", "names": {"a": "text"}}
    for chosen, expected in (({"text": "a"}, "text"), ({"text": "text"}, "text"), ({"text": "b"}, "b")):
        assert planned([step], table, chosen)[1] == {"text": expected}


class Echo:
    """A player whose model says what it was asked."""

    task_name = "text_classification"

    def respond(self, ids: Any, rows: Any, **_: Any) -> Any:
        yield {"replies": [{"label": row["text"], "scores": {}, "note": "", "drawing": {}} for row in rows]}


def filled(tmp_path: Path, table: pa.Table, steps: list[dict[str, Any]]) -> tuple[Any, list[dict[str, str]]]:
    source, out = tmp_path / "rows.parquet", tmp_path / "out.csv"
    pq.write_table(table, source, row_group_size=7)
    made, columns = planned(steps, table)
    predicting = Predicting(SimpleNamespace(task_name=Echo.task_name, respond=Echo().respond), None,  # type: ignore[arg-type]
                            columns, prepares=made)
    result = predicting.write(source, out, "csv")
    with out.open(encoding="utf-8", newline="") as file:
        return result, list(csv.DictReader(file))


def test_the_file_comes_back_with_its_own_columns_and_every_row(tmp_path: Path) -> None:
    table = pa.table({"id": range(40), "body": [f"{i % 3} two three" for i in range(40)]})
    result, lines = filled(tmp_path, table, [{"name": "rename", "names": {"body": "text"}}, SHORT, PICKING[1],
                                             {"name": "drop", "columns": ["id"]}])
    assert list(lines[0])[:3] == ["id", "body", "prediction"]
    assert [line["id"] for line in lines] == [str(i) for i in range(40)]
    assert [line["prediction"] for line in lines] == [f"{i % 3} two" for i in range(40)]
    assert lines[1]["body"] == "1 two three" and result.answered == 40
    assert result.prepared.startswith("Prepared as the adapter's rows were: rename 'body → text'; cut")


def test_a_long_text_has_a_line_for_each_window(tmp_path: Path) -> None:
    table = pa.table({"id": range(30), "text": [None if i == 1 else "a b c d e" if i % 2 else "a" for i in range(30)]})
    result, lines = filled(tmp_path, table, [{"name": "windows", "column": "text", "size": 2, "stride": 2}])
    assert [line["id"] for line in lines][:8] == ["0", "1", "2", "3", "3", "3", "4", "5"]
    assert [line["window"] for line in lines][:8] == ["1", "1", "1", "1", "2", "3", "1", "1"]
    assert [line["prediction"] for line in lines][:6] == ["a", "", "a", "a b", "c d", "e"]
    assert lines[4]["text"] == "a b c d e" and "window" in result.prepared
    assert (result.rows, result.total, len(lines), result.answered, result.noted) == (30, 30, 58, 57, 1)


def test_a_base_in_few_bits_is_kept_so_where_that_can_be() -> None:
    assert holding.held("nf4", possible=True) == ("nf4", []) and holding.held(None, possible=False) == (None, [])
    wanted, (finding,) = holding.held("int8", possible=False)
    assert wanted is None and finding.kind == "base_unquantized" and "bitsandbytes" in finding.try_this
