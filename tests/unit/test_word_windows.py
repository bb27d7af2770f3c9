"""Long texts in windows: every word is told once, in the window that shows most around it, by its first token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import models, tiny, words
from engine.tasks import get

TEXT = [f"word{i}" if i % 3 else "Antidisestablishment" for i in range(40)]
ROLES = {"tokens": "w", "tags": "t"}


@pytest.fixture(scope="module", params=["bert", "roberta"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer that knows few words, so that most are several tokens."""
    return models.tokenizer_of(tiny.folder(request.param, tmp_path_factory.mktemp("data")))


def encoded(tokenizer: Any, texts: list[list[str]], length: int, **options: Any) -> Any:
    table = pa.table({"w": texts, "t": [["B-X" if i % 2 else "O" for i in range(len(text))] for text in texts]})
    return get("token_classification")(**options).encode(table, ROLES, tokenizer, length, ["O", "B-X"])


def told(rows: list[dict[str, Any]], row: int) -> list[int]:
    return [int(word) for window in rows if window["row"] == row for word in window["words"] if word >= 0]


@pytest.mark.parametrize(("length", "stride"), [(12, 4), (16, 0), (32, 200), (64, 32), (4, 1)])
def test_every_word_is_told_once(tokenizer: Any, length: int, stride: int) -> None:
    found = encoded(tokenizer, [TEXT, ["one", "two"], [], TEXT[:7]], length, stride=stride)
    assert found.truncated == 0 and max(len(row["input_ids"]) for row in found.rows) <= length
    for row, text in enumerate([TEXT, ["one", "two"], [], TEXT[:7]]):
        assert sorted(told(found.rows, row)) == list(range(len(text)))
    assert [row["row"] for row in found.rows] == sorted(row["row"] for row in found.rows)


def test_words_have_the_tags_and_first_tokens_they_have_in_the_whole_text(tokenizer: Any) -> None:
    whole = encoded(tokenizer, [TEXT], 1000).rows[0]
    expected = {int(word): (int(whole["input_ids"][i]), int(whole["labels"][i]))
                for i, word in enumerate(whole["words"]) if word >= 0}
    for window in encoded(tokenizer, [TEXT], 12, stride=5).rows:
        for i in np.flatnonzero(window["words"] >= 0):
            assert expected[int(window["words"][i])] == (window["input_ids"][i], window["labels"][i])
        assert (window["labels"][window["words"] < 0] == -100).all()


def test_a_word_is_told_where_most_of_the_text_is_around_it(tokenizer: Any) -> None:
    rows = encoded(tokenizer, [["a"] * 60], 22, stride=10).rows
    # The first token of a window stands so far into the text, special ones left out; there are 20 a window.
    starts = [10 * number for number in range(len(rows))]
    last = starts[-1] + len(rows[-1]["input_ids"]) - 3
    assert len(rows) > 4

    def around(number: int, place: int) -> int:
        start, end = starts[number], starts[number] + len(rows[number]["input_ids"]) - 3
        if not start <= place <= end:
            return -1
        return min(place - start if start else last, end - place if end < last else last)

    for number, window in enumerate(rows):
        for token in np.flatnonzero(window["words"] >= 0):
            place = starts[number] + int(token) - 1
            assert around(number, place) == max(around(other, place) for other in range(len(rows)))


def test_without_windows_texts_are_cut_and_counted(tokenizer: Any) -> None:
    found = encoded(tokenizer, [TEXT, ["one", "two"]], 16, windows=False)
    assert found.truncated == 1 and [row["row"] for row in found.rows] == [0, 1]
    assert told(found.rows, 0) == list(range(len(told(found.rows, 0)))) and len(told(found.rows, 0)) < len(TEXT)


@pytest.mark.parametrize(("text", "expected"), [
    ("Tim Berners-Lee's office, in Rome.", ["Tim", "Berners-Lee", "'s", "office", ",", "in", "Rome", "."]),
    ("see https://a.b/c?d #Oslo!!", ["see", "https://a.b/c?d", "#", "Oslo", "!", "!"]),
    ("don't pay 3,000 or 4.5", ["don", "'t", "pay", "3,000", "or", "4.5"]), ("我在 OK", ["我", "在", "OK"]),
    ("O'Brien, AT&T", ["O'Brien", ",", "AT&T"]), ("  \n ", []), ("", [])])
def test_typed_texts_are_split_as_people_write_words(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in words.split(text)] == expected
