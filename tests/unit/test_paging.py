"""Any page, search and order of a stored table equals what loading the whole of it would give."""

from __future__ import annotations

import itertools
import math
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.data import chat, image, order, paging
from engine.data.errors import Cancelled, ColumnUnknown, FileMissing, ParquetBroken
from engine.data.paging import Rows
from engine.data.views import Views

COUNT = 400
WORDS = ["alpha", "Beta", "ÉCLAIR", "été", "naïve", "日本", "x" * 40, "100% sure", "a.b*c", "line\nbreak"]


def _table() -> pa.Table:
    chance = random.Random(7)
    texts: list[str | None] = [" ".join(chance.choices(WORDS, k=chance.randint(0, 3))) for _ in range(COUNT)]
    numbers: list[float | None] = [chance.choice([1.0, 2.5, -3.0, math.nan, 1e9]) for _ in range(COUNT)]
    for row in range(0, COUNT, 17):
        texts[row] = numbers[row] = None
    talks = [None if row % 13 == 0 else [{"role": "user", "content": f"ask {row}"},
                                         {"role": "assistant", "content": chance.choice(WORDS)}]
             for row in range(COUNT)]
    pictures = [None if row % 11 == 0 else {"bytes": bytes(row), "path": f"Cat-{row % 50}.png"} for row in range(COUNT)]
    return pa.table({
        "text": pa.array(texts), "number": pa.array(numbers), "count": pa.array([row % 7 for row in range(COUNT)]),
        "tags": pa.array([None if row % 5 == 0 else chance.sample(WORDS, 2) for row in range(COUNT)]),
        "messages": pa.array(talks, chat.MESSAGES), "image": pa.array(pictures, image.TYPE)})


TABLE = _table()


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    pq.write_table(TABLE, tmp_path / "rows.parquet", row_group_size=37)
    return Rows(tmp_path / "rows.parquet")


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return _texts(value["content"] if "content" in value else value["path"])
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, float) and value.is_integer():
        return [str(int(value))]
    return [] if value is None else [str(value)]


def _holding(text: str) -> list[int]:
    wanted = re.compile(re.escape(text), re.IGNORECASE)
    return [number for number, row in enumerate(TABLE.to_pylist(), 1)
            if any(wanted.search(part) for value in row.values() for part in _texts(value))]


def _sorted(column: str, descending: bool) -> list[int]:
    """Numbers by size and texts case aside; NaN and then empty cells last; equal ones as they stand."""
    def key(value: Any) -> Any:
        return value if isinstance(value, (int, float)) else "\n".join(_texts(value)).lower()

    cells = list(enumerate(TABLE.column(column).to_pylist(), 1))
    odd = [pair for pair in cells if isinstance(pair[1], float) and math.isnan(pair[1])]
    plain = [pair for pair in cells if pair[1] is not None and pair not in odd]
    plain.sort(key=lambda pair: key(pair[1]), reverse=descending)
    if descending:
        # Python turns equal ones round with the rest; here they stay as they stand.
        plain.sort(key=lambda pair: pair[0])
        plain = sorted(plain, key=lambda pair: key(pair[1]), reverse=True)
    return [number for number, _ in [*plain, *odd, *((n, v) for n, v in cells if v is None)]]


def _all(rows: Rows, **how: Any) -> list[int]:
    """Return the numbers of every page, one after the other."""
    total = rows.page(0, 0, **how).total
    return [number for offset in range(0, total, 60) for number in rows.page(offset, 60, **how).numbers]


def test_pages_are_the_rows_as_they_stand(rows: Rows) -> None:
    page = rows.page(30, 20)
    assert (page.numbers, page.total) == (list(range(31, 51)), COUNT)
    for number, row in zip(page.numbers, page.rows, strict=True):
        wanted = TABLE.slice(number - 1, 1).to_pylist()[0]
        picture = wanted.pop("image")
        shown = dict(row)
        assert shown.pop("image") == (None if picture is None else {"path": picture["path"],
                                                                    "bytes": len(picture["bytes"])})
        assert repr(shown) == repr(wanted)
    assert rows.page(COUNT + 5, 20).rows == []
    assert rows.page(COUNT - 3, 20).numbers == [COUNT - 2, COUNT - 1, COUNT]


@pytest.mark.parametrize("text", ["alpha", "BETA", "éclair", "ÉTÉ", "日", "a.b*c", "100%", "ask 12", "cat-7", "2.5",
                                  "line\nbreak", "assistant", "nowhere at all"])
def test_a_search_finds_what_a_person_would_find(rows: Rows, text: str) -> None:
    assert _all(rows, search=text) == _holding(text)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", TABLE.column_names)
def test_an_order_is_that_of_the_whole_column(rows: Rows, column: str, descending: bool) -> None:
    assert _all(rows, sort=column, descending=descending) == _sorted(column, descending)


def test_texts_alike_for_long_are_ordered_by_what_comes_after(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "HELD", 0)
    chance = random.Random(3)
    texts = ["Answer the question: " + "".join(chance.choices("abÄ", k=chance.randint(0, 9))) for _ in range(300)]
    pq.write_table(pa.table({"t": texts}), tmp_path / "t.parquet", row_group_size=50)
    for descending in (False, True):
        found = Rows(tmp_path / "t.parquet").page(0, 300, sort="t", descending=descending)
        assert [row["t"].lower() for row in found.rows] == sorted((t.lower() for t in texts), reverse=descending)
        repeated = [(row["t"].lower(), n) for row, n in zip(found.rows, found.numbers, strict=True)]
        assert all(a[1] < b[1] for a, b in itertools.pairwise(repeated) if a[0] == b[0])


def test_a_search_in_an_order_is_both(rows: Rows) -> None:
    wanted = set(_holding("alpha"))
    assert _all(rows, search=" alpha ", sort="number", descending=True) == \
        [number for number in _sorted("number", True) if number in wanted]


def test_later_pages_do_not_go_through_the_file_again(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not rows.ready("alpha", "text")
    seen: list[float] = []
    assert rows.prepare("alpha", "text", progress=seen.append) == len(_holding("alpha"))
    assert seen == sorted(seen)
    assert 0 <= seen[0] < seen[-1] <= 1
    assert rows.ready("alpha", "text")
    monkeypatch.setattr(Rows, "batches", lambda *_: pytest.fail("the file was gone through again"))
    assert Rows(rows.path).page(10, 10, search="alpha", sort="text").total == len(_holding("alpha"))


def test_what_was_found_holds_only_for_the_file_it_was_found_in(rows: Rows) -> None:
    assert rows.page(0, 5, search="alpha").total > 1
    pq.write_table(pa.table({"text": ["alpha", "beta"]}), rows.path)
    assert rows.page(0, 5, search="alpha").numbers == [1]


def test_damage_to_what_was_kept_only_costs_another_look(rows: Rows) -> None:
    wanted = rows.page(0, 9, search="alpha").numbers
    for kept in rows.views.folder.iterdir():
        kept.write_bytes(kept.read_bytes()[:50])
    assert rows.page(0, 9, search="alpha").numbers == wanted


def test_the_longest_unused_is_given_up_when_there_is_no_room(tmp_path: Path) -> None:
    views = Views(tmp_path / "v", room=10_000)
    for i in range(4):
        views.put(str(i), np.arange(800, dtype=np.uint32))
        os.utime(tmp_path / "v" / f"{i}.npy", (i, i))
    assert views.get("0") is None
    assert np.array_equal(views.get("3"), np.arange(800))  # type: ignore[arg-type]
    assert len(list((tmp_path / "v").iterdir())) <= 3


def test_a_search_can_be_cancelled_and_leaves_nothing(rows: Rows) -> None:
    with pytest.raises(Cancelled):
        rows.page(0, 5, search="alpha", cancelled=lambda: True)
    assert not rows.ready("alpha")


def test_long_cells_are_cut_and_their_length_is_told(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q" * 50}, {"role": "assistant", "content": "a" * 50}]
    pq.write_table(pa.table({"t": ["y" * 30, "z" * 500], "m": pa.array([talk[:1], talk], chat.MESSAGES)}),
                   tmp_path / "t.parquet")
    page = Rows(tmp_path / "t.parquet", longest=60).page(0, 2)
    assert page.clipped == [{}, {"t": 500, "m": 113}]
    assert page.rows[1]["t"] == "z" * 60 + "…"
    assert page.rows[1]["m"][0] == talk[0]
    assert page.rows[1]["m"][1] == {"role": "assistant", "content": "…"}
    assert Rows(tmp_path / "t.parquet").take([2, 1], ["t"]).column("t").to_pylist() == ["z" * 500, "y" * 30]


def test_odd_files_and_columns_are_named(rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(ColumnUnknown, match="'nothing'"):
        rows.page(0, 5, sort="nothing")
    with pytest.raises(FileMissing):
        Rows(tmp_path / "absent.parquet").page(0, 5)
    (tmp_path / "broken.parquet").write_bytes(rows.path.read_bytes()[:500])
    with pytest.raises(ParquetBroken):
        Rows(tmp_path / "broken.parquet").page(0, 5)
    pq.write_table(TABLE.slice(0, 0), tmp_path / "empty.parquet")
    empty = Rows(tmp_path / "empty.parquet")
    assert [empty.page(0, 5, search="a", sort=name).total for name in TABLE.column_names] == [0] * 6


def test_the_first_page_does_not_wait_for_the_rest_of_the_file(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "rows.parquet", row_group_size=37)
    data = bytearray((tmp_path / "rows.parquet").read_bytes())
    last = pq.read_metadata(tmp_path / "rows.parquet").row_group(10).column(0)
    start = last.dictionary_page_offset or last.data_page_offset
    data[start:start + 8] = b"\xff" * 8
    (tmp_path / "rows.parquet").write_bytes(bytes(data))
    assert paging.Rows(tmp_path / "rows.parquet").page(0, 20).numbers[-1] == 20
    with pytest.raises(ParquetBroken):
        paging.Rows(tmp_path / "rows.parquet").page(375, 20)
