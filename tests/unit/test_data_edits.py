"""Changes to stored tables: put together, checked against the columns, written, and followed over versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.data import edits
from engine.data.edits import Edit
from engine.data.errors import ColumnUnknown

TABLE = pa.table({"text": [f"text {i}" for i in range(1, 11)], "label": ["a", "b"] * 5, "stars": list(range(10)),
                  "tags": pa.array([["O", "B-X"]] * 10, pa.list_(pa.string()))})


def cell(row: int, column: str, value: Any, before: Any = None) -> Edit:
    return Edit(row=row, column=column, value=value, before=before)


def out(row: int, exclude: bool = True) -> Edit:
    return Edit(row=row, exclude=exclude, before=f"text {row}")


def test_the_last_change_counts_and_the_old_value_again_is_none() -> None:
    made = edits.together([cell(1, "label", "b", "a"), cell(1, "label", "c", "a"), cell(2, "label", "c", "b"),
                           cell(2, "label", "b", "b"), out(3), out(4), out(4, False)])
    assert made.cells == {(1, "label"): "c"} and list(made.excluded) == [3] and made.count == 2
    assert edits.together(made.edits()) == made
    assert not edits.together([out(1), out(1, False)])


def test_changes_are_written_row_group_by_row_group(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "old.parquet", row_group_size=4)
    changes = edits.together([cell(4, "label", "new", "b"), cell(5, "tags", ["O"], ["O", "B-X"]),
                              cell(9, "stars", 7, 8), out(1), out(10)])
    heard: list[float] = []
    rows, digest = edits.write(tmp_path / "old.parquet", changes, tmp_path / "new.parquet", heard.append)
    wanted = TABLE.to_pylist()
    wanted[3]["label"], wanted[4]["tags"], wanted[8]["stars"] = "new", ["O"], 7
    found = pq.read_table(tmp_path / "new.parquet")
    assert found.schema == TABLE.schema and found.to_pylist() == wanted[1:9]
    assert rows == 8 and len(digest) == 64 and heard[-1] == 1.0
    assert pq.read_metadata(tmp_path / "new.parquet").num_row_groups == 3
    assert pq.read_table(tmp_path / "old.parquet").equals(TABLE)
    with pytest.raises(edits.NothingToExclude):
        edits.write(tmp_path / "old.parquet", edits.together(out(i) for i in range(1, 11)), tmp_path / "no.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.parquet", "old.parquet"]


@pytest.mark.parametrize(("column", "value", "kept"), [
    ("text", 3, "3"), ("text", None, None), ("stars", "4", 4), ("stars", " ", None), ("stars", 4.0, 4),
    ("tags", '["O"]', ["O"]), ("tags", ["B-X", "O"], ["B-X", "O"])])
def test_values_become_what_their_column_holds(column: str, value: Any, kept: Any) -> None:
    [made] = edits.checked([cell(1, column, value)], TABLE.schema, 10)
    assert made.value == kept


@pytest.mark.parametrize(("edit", "error", "words"), [
    (cell(1, "stars", "many"), edits.BadValue, "whole number"), (cell(1, "stars", 1.5), edits.BadValue, "whole number"),
    (cell(1, "stars", True), edits.BadValue, "whole number"), (cell(1, "tags", "O"), edits.BadValue, "JSON list"),
    (cell(1, "tags", '{"a": 1}'), edits.BadValue, "JSON list"), (cell(11, "text", "x"), edits.RowUnknown, "1 to 10"),
    (cell(1, "gone", "x"), ColumnUnknown, "gone"), (out(12), edits.RowUnknown, "12"),
    (cell(1, "text", "x" * 200_000), edits.BadValue, "100,000")])
def test_what_does_not_fit_is_refused_by_row_and_column(edit: Edit, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as refused:
        edits.checked([edit], TABLE.schema, 10)
    told: Any = refused.value
    assert words in f"{told.what} {told.try_this}" and told.where


def test_images_are_not_edited_and_too_many_changes_refused() -> None:
    from engine.data import image

    schema = pa.schema([("image", image.TYPE), ("label", pa.string())])
    with pytest.raises(edits.NotEditable):
        edits.checked([cell(1, "image", "x")], schema, 1)
    with pytest.raises(edits.TooManyEdits):
        edits.checked([cell(1, "label", "x")] * (edits.MOST + 1), schema, 1)


def test_changes_of_later_versions_are_told_in_the_rows_of_the_first() -> None:
    first = edits.together([out(2), out(5), cell(6, "label", "x", "b")])
    # Of the rows 1 3 4 6 7 8 9 10, now numbered 1 to 8: the fourth is 6, the fifth 7.
    second = edits.together([cell(4, "label", "y", "x"), out(5)])
    made = edits.line([first, second])
    assert sorted(made.excluded) == [2, 5, 7]
    assert made.cells == {(6, "label"): "y"} and made.before[6, "label"] == "b"


def test_an_edit_is_a_cell_or_a_row_and_nothing_else() -> None:
    for wrong in ({"row": 1}, {"row": 1, "column": "a", "exclude": True}, {"row": 0, "exclude": True},
                  {"row": 1, "exclude": True, "more": 1}):
        with pytest.raises(ValueError):
            Edit.model_validate(wrong)
