"""Encoded examples come back from the disk exactly as they went, or are not kept at all."""

from __future__ import annotations

import fcntl
import multiprocessing
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine import token_rows
from engine.tasks import get
from engine.tasks.terms import Encoded
from engine.token_cache import TokenCache
from engine.token_rows import Unkept

ROWS: list[dict[str, Any]] = [
    {"ids": np.array([1, 2, 3], np.int32), "spans": np.array([[0, 1], [2, 3]], np.int64), "mask": np.array([True]),
     "half": np.array([0.5], np.float16), "label": 3, "score": 0.1, "many": [1.0, 0.0], "extra": {"a": [1, None, "é"]}},
    {"ids": np.array([], np.int32), "spans": np.zeros((0, 2), np.int64), "mask": np.array([False, True]),
     "half": np.array([], np.float16), "label": -100, "score": float("nan"), "many": [], "extra": {}}]


def same(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and first.dtype == second.dtype and first.shape == second.shape and \
            first.tobytes() == second.tobytes()
    return type(first) is type(second) and repr(first) == repr(second)


def test_every_kind_of_value_comes_back_as_it_was(tmp_path: Path) -> None:
    token_rows.write(tmp_path / "rows.arrow", ROWS * 3, {"truncated": 2, "labels": ["a"]})
    found, facts = token_rows.read(tmp_path / "rows.arrow")
    assert (len(found), facts) == (6, {"truncated": 2, "labels": ["a"]})
    for index in (*range(6), -1):
        row, wanted = found[index], (ROWS * 3)[index]
        assert list(row) == list(wanted)
        assert all(same(wanted[name], row[name]) for name in wanted), row
    assert [row["label"] for row in found] == [row["label"] for row in found[0:6]] == [3, -100] * 3
    with pytest.raises(IndexError):
        found[6]
    with pytest.raises(ValueError, match="read-only"):
        found[0]["ids"][0] = 9


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, object(), {"a": (1,)}, np.int64(3), np.array(["a"]),
                                   np.array(3), ["a", float("inf")]])
def test_what_would_come_back_otherwise_is_not_kept(value: Any, tmp_path: Path) -> None:
    with pytest.raises(Unkept):
        token_rows.write(tmp_path / "rows.arrow", [{"x": value}, {"x": value}], {})
    with pytest.raises(Unkept):
        token_rows.write(tmp_path / "rows.arrow", [{"x": 1}, {"y": 1}], {})


TABLE = pa.table({"text": ["one two three", "two", None, "three one " * 9], "label": ["a", "b", "a", "b"]})
COLUMNS = {"text": "text", "label": "label"}
TASK = get("text_classification")()


def words(**more: Any) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "one": 1, "two": 2, "three": 3}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[UNK]", **more)


def plain(encoded: Encoded) -> list[dict[str, Any]]:
    return [{name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}
            for row in encoded.rows]


def test_the_second_time_nothing_is_tokenised(tmp_path: Path) -> None:
    wanted = TASK.encode(TABLE, COLUMNS, words(), 5, ["a", "b"])
    cache = TokenCache(tmp_path, room=1 << 20)
    first, known = cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    assert not known
    again, known = TokenCache(tmp_path, room=1 << 20).encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    assert known
    assert plain(first) == plain(again) == plain(wanted)
    assert (again.truncated, again.labels) == (wanted.truncated, wanted.labels) == (1, ["a", "b"])


@pytest.mark.parametrize("change", ["row", "columns", "options", "tokenizer", "template", "max_length", "labels"])
def test_whatever_changes_the_tokens_or_targets_starts_anew(change: str, tmp_path: Path) -> None:
    cache = TokenCache(tmp_path, room=1 << 20)
    cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    table, columns, task, tokenizer, length, labels = TABLE, COLUMNS, TASK, words(), 5, ["a", "b"]
    if change == "row":
        table = TABLE.set_column(0, "text", pa.array(["one two three", "two", "", "three one " * 9]))
    elif change == "columns":
        columns = {"text": "label", "label": "label"}
    elif change == "options":
        task = get("text_classification")(problem="multi_label")
    elif change == "tokenizer":
        tokenizer.add_tokens(["four"])
    elif change == "template":
        tokenizer.chat_template = "{{ messages }}"
    elif change == "max_length":
        length = 6
    else:
        labels = ["b", "a"]
    assert not cache.encode(task, table, columns, tokenizer, length, labels)[1]
    share = get("text_classification")(eval_fraction=0.3)
    assert cache.encode(share, TABLE, COLUMNS, words(), 5, ["a", "b"])[1]


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path, room=1 << 20)
    cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    [kept] = tmp_path.glob("*.arrow")
    kept.write_bytes(kept.read_bytes()[:200])
    found, known = cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    assert not known
    assert plain(found) == plain(TASK.encode(TABLE, COLUMNS, words(), 5, ["a", "b"]))
    assert cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])[1]


def test_room_is_kept_by_giving_up_the_longest_unused(tmp_path: Path) -> None:
    sizes = TokenCache(tmp_path / "size", room=1 << 20)
    sizes.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    [one] = (tmp_path / "size").glob("*.arrow")
    cache = TokenCache(tmp_path / "few", room=int(2.5 * one.stat().st_size))
    for length in (5, 6, 7):
        cache.encode(TASK, TABLE, COLUMNS, words(), length, ["a", "b"])
        cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    assert len(list((tmp_path / "few").glob("*.arrow"))) == 2
    assert cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])[1]
    assert not cache.encode(TASK, TABLE, COLUMNS, words(), 6, ["a", "b"])[1]
    nothing = TokenCache(tmp_path / "none", room=0)
    assert [nothing.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])[1] for _ in range(2)] == [False, False]
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_tokens(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found, known = TokenCache(tmp_path / "file" / "tokens", room=1 << 20).encode(
        TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    assert (len(found.rows), known) == (4, False)


class Counting(type(TASK)):  # type: ignore[misc]
    """Classification that notes in a file how often rows were encoded, and waits for a signal to go on."""

    def encode(self, table: pa.Table, columns: Mapping[str, str], tokenizer: Any, max_length: int,
               labels: Sequence[str]) -> Encoded:
        BEGUN.set()
        assert GO_ON.wait(30)
        CALLS.append(table.num_rows)
        return super().encode(table, columns, tokenizer, max_length, labels)


BEGUN, GO_ON = threading.Event(), threading.Event()
CALLS: list[int] = []


def test_two_that_want_the_same_tokens_make_them_once(tmp_path: Path) -> None:
    found: list[Any] = []
    waiting = threading.Event()

    def take(check: Any) -> None:
        cache = TokenCache(tmp_path, room=1 << 20, check=check)
        found.append(cache.encode(Counting(), TABLE, COLUMNS, words(), 5, ["a", "b"]))

    first = threading.Thread(target=take, args=(lambda: None,))
    first.start()
    assert BEGUN.wait(30)
    second = threading.Thread(target=take, args=(waiting.set,))
    second.start()
    assert waiting.wait(30)
    GO_ON.set()
    first.join()
    second.join()
    assert CALLS == [4]
    assert sorted(known for _, known in found) == [False, True]
    assert plain(found[0][0]) == plain(found[1][0])


def _hold(path: str, held: Any) -> None:
    with Path(path).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        held.set()
        threading.Event().wait(60)


def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path, room=1 << 20)
    cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])
    [kept] = tmp_path.glob("*.arrow")
    kept.unlink()
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(str(kept.with_suffix(".lock")), held))
    holder.start()
    assert held.wait(60)

    def end() -> None:
        holder.kill()

    cache.check = end
    assert len(cache.encode(TASK, TABLE, COLUMNS, words(), 5, ["a", "b"])[0].rows) == 4
    holder.join()
