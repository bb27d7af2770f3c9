"""Rows are written as they were handed over, in groups small enough for pages, or not at all."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.data import read, store
from engine.data.errors import Cancelled, DiskFull, InvalidText

SCHEMA = pa.schema([("text", pa.string()), ("number", pa.int64())])


def batch(rows: int, weight: int = 10) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": ["é" * weight] * rows, "number": list(range(rows))}, schema=SCHEMA)


@pytest.mark.parametrize("batches", [[], [batch(0)], [batch(1)], [batch(9000, 300)], [batch(50)] * 90,
                                     [batch(2, 2_000_000), batch(3)]])
def test_what_is_read_is_what_was_written(batches: list[pa.RecordBatch], tmp_path: Path) -> None:
    with store.writing(tmp_path / "rows.parquet", SCHEMA) as out:
        for one in batches:
            out.add(one)
    assert pq.read_table(tmp_path / "rows.parquet").equals(pa.Table.from_batches(batches, SCHEMA))
    assert out.rows == sum(one.num_rows for one in batches)
    facts = pq.read_metadata(tmp_path / "rows.parquet")
    sizes = [facts.row_group(i).total_byte_size for i in range(facts.num_row_groups)]
    assert all(size < 3 * store.GROUP_BYTES or facts.row_group(i).num_rows == 1 for i, size in enumerate(sizes))


def test_many_columns_share_a_group_of_their_own_size() -> None:
    wide = pa.schema([(f"c{i}", pa.string()) for i in range(1000)])
    assert store.least(wide) > store.least(SCHEMA) == store.GROUP_BYTES


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(pq.ParquetWriter):
        def write_table(self, table: pa.Table, row_group_size: int | None = None) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.pq, "ParquetWriter", Full)
    (tmp_path / "rows.csv").write_text("text,label\n" + "some words,a\n" * 90_000)
    with pytest.raises(DiskFull, match="No space left"):
        read.ingest(tmp_path / "rows.csv", tmp_path / "rows.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_cancelling_ends_every_thread_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + "some words of a text,a\n" * 400_000)
    before = set(threading.enumerate())
    looks: list[Any] = []

    def cancelled() -> bool:
        looks.append(1)
        return len(looks) > 4

    with pytest.raises(Cancelled):
        read.ingest(tmp_path / "rows.csv", tmp_path / "rows.parquet", cancelled=cancelled)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert not [one for one in set(threading.enumerate()) - before if one.name.startswith(("store", "digest"))]


@pytest.mark.parametrize("place", [5, (1 << 20) - 2, (1 << 20) - 1, 1 << 20, (2 << 20) + 7])
@pytest.mark.parametrize("odd", [b"\xff", b"\xe6\x97", b"\xed\xa0\x80"])
def test_an_invalid_byte_is_found_wherever_chunks_end(place: int, odd: bytes, tmp_path: Path) -> None:
    line = "größe 日本 x,a\n".encode()
    data = bytearray(b"text,label\n" + line * (3 * (1 << 20) // len(line)))
    at = data.index(b"\n", place) - 3
    data[at:at] = odd
    (tmp_path / "rows.csv").write_bytes(data)
    number = data.count(b"\n", 0, at) + 1
    with pytest.raises(InvalidText, match=f"byte {at} .line {number}"):
        read.ingest(tmp_path / "rows.csv", tmp_path / "rows.parquet")


def test_letters_cut_by_chunks_come_out_whole(tmp_path: Path) -> None:
    texts = [f"{'日' * (n % 50)}é{n}" for n in range(60_000)]
    (tmp_path / "rows.csv").write_text("\ufefftext,label\n" + "".join(f"{text},a\n" for text in texts),
                                       encoding="utf-8")
    read.ingest(tmp_path / "rows.csv", tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").column("text").to_pylist() == texts
