"""Expressions over columns: what they say, what they refuse and where, and that they are never run."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.chat import MESSAGES
from engine.errors import StudioError
from engine.preparation import _evaluate, _expression

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}]
TABLE = pa.table({
    "text": ["Good morning", "", None, "a card  lost", "Ünïcode 12.50"],
    "label": ["greeting", "other", "other", "card", None],
    "stars": [5, 1, None, 3, 0],
    "price": pa.array([1.5, float("nan"), None, -2.0, 0.0]),
    "year": ["2021", "x", "", "1999", "2021"],
    "flag": [True, False, None, True, False],
    "tags": pa.array([["a", "b"], [], None, ["b"], ["12"]]),
    "chat": pa.array([CHAT, [], None, CHAT * 2, CHAT], MESSAGES),
    "day": pa.array([datetime.date(2024, 1, 1), datetime.date(2024, 6, 1), None, datetime.date(2023, 1, 1), None]),
    "a column": ["x", "y", "z", "x", "y"],
    "instances.input": ["i", "", "", "", ""],
    "in": ["1", "2", "3", "4", "5"]})


def held(text: str, table: pa.Table = TABLE) -> list[int]:
    """Return the rows (from 0) for which an expression holds."""
    mask = _evaluate.mask(_expression.parse(text), table, text)
    assert mask.null_count == 0 and len(mask) == table.num_rows
    return [row for row, kept in enumerate(mask.to_pylist()) if kept]


@pytest.mark.parametrize(("text", "rows"), [
    ('label = "other"', [1, 2]), ("label == 'other'", [1, 2]), ('label != "other"', [0, 3, 4]),
    ('label <> "other"', [0, 3, 4]),
    ("stars >= 3", [0, 3]), ("stars < 1", [4]), ("stars = 0", [4]), ("not stars = 0", [0, 1, 2, 3]),
    ("stars + 1 = 2 or stars * 2 - 1 > 8", [0, 1]), ("stars % 2 = 1", [0, 1, 3]), ("stars / 2 > 1", [0, 3]),
    ("10 / stars > 1", [0, 1, 3]), ("-stars < -3", [0]), ("price < 0", [3]), ("price is empty", [1, 2]),
    ("price != 0", [0, 1, 2, 3]),
    ("year > 2000", [0, 4]), ('year = "2021"', [0, 4]), ("year = 2021", [0, 4]), ('stars = "5"', [0]),
    ("number(year) is empty", [1, 2]),
    ("flag", [0, 3]), ("not flag", [1, 2, 4]), ("flag = true", [0, 3]), ("flag and stars > 4", [0]),
    ('label in ["card", "greeting"]', [0, 3]), ('label not in ("card", "greeting")', [1, 2, 4]),
    ("stars in [0, 1]", [1, 4]), ("year in [2021]", [0, 4]), ("flag in [true]", [0, 3]), ('stars in ["5"]', [0]),
    ('text contains "card"', [3]), ('text not contains "card"', [0, 1, 2, 4]), ('contains(text, "card")', [3]),
    ('text startswith "Good"', [0]), ('text endswith "lost"', [3]), (r'text matches "\d+\.\d"', [4]),
    (r'text matches "^[A-Z]\w+ "', [0]), (r'text matches "\\d"', [4]), ('lower(text) contains "ünï"', [4]),
    ("length(text) > 12", [4]), ("words(text) = 3", [3]), ("words(text) = 0", [1, 2]), ("length(text) = 0", [1, 2]),
    ("text is empty", [1, 2]), ("text is not empty", [0, 3, 4]), ("tags is empty", [1, 2]), ("chat is empty", [1, 2]),
    ('tags contains "b"', [0, 3]), ("tags contains '12'", [4]), ("length(tags) = 2", [0]), ("length(chat) > 2", [3]),
    ('chat contains "Hello"', [0, 3, 4]), ('day >= "2024-02-01"', [1]), ("`a column` = 'x'", [0, 3]),
    ("instances.input is not empty", [0]), ('`in` = "3"', [2]), ("NOT (flag OR stars > 0)", [2, 4]),
    ('upper(trim(label)) = "CARD"', [3]), ("text(stars) endswith '5'", [0]), ("text = label", []),
    ('text = "Good morning" and (label = "card" or stars = 5)', [0]), ("length(text) > 2 * 6", [4]),
    ("stars = 1 or true", [0, 1, 2, 3, 4]), ("1 = 2 or stars = 1", [1]), ('"a" < "b" and stars = 1', [1]),
    ("stars > 1e0 and stars < 0.4e1", [3]), ("flag and " * 400 + "flag", [0, 3])])
def test_an_expression_holds_for_its_rows(text: str, rows: list[int]) -> None:
    assert held(text) == rows


@pytest.mark.parametrize(("text", "at", "said"), [
    ("", 1, "empty"), ("   ", 1, "empty"), ("stars >", 8, "ends where"), ("stars > 3 4", 11, "'and', 'or' or the end"),
    ("stars > > 3", 9, "'>' stands where"), ("(stars > 3", 11, "')'"), ("stars ~ 3", 7, "means nothing"),
    ('text = "open', 8, "never closed"), ("`open = 3", 1, "never closed"), ("1 < stars < 3", 11, "chained"),
    ("len(text) > 3", 1, "no function 'len'"), ("length(text, 2) > 3", 1, "takes one thing"),
    ("stars = 3 and", 14, "ends where"), ("label in stars", 10, "a list"), ("label in [stars]", 11, "only texts"),
    ("label is full", 10, "'empty'"), ("and stars = 3", 1, "'and' stands where"), ("sentence = 'a'", 1, "no column"),
    ("stars", 1, "yes or no is needed"), ("text and flag", 1, "yes or no is needed"), ("tags > 3", 1, "not a list"),
    ("text matches stars", 14, "text in quotes"), ('text matches "("', 14, "pattern cannot be read"),
    (r'text matches "(?=a)"', 14, "pattern cannot be read"), (r'text matches "(a)\1"', 14, "pattern cannot be read"),
    ("1 / 0 = stars", 3, "divides by zero"), ('stars + "a" = 1', 9, "number is needed"),
    ('stars > "3"', 9, "number is needed"), ("3abc = 1", 1, "means nothing"), ('tags in ["a"]', 1, "one value"),
    ("chat + 1 > 2", 1, "not a conversation")])
def test_a_faulty_expression_is_refused_at_its_character(text: str, at: int, said: str) -> None:
    with pytest.raises(_expression.ExpressionError) as caught:
        held(text)
    assert caught.value.facts["position"] == at, caught.value.what
    assert said in caught.value.what
    assert caught.value.try_this and "{" not in caught.value.what + caught.value.try_this


@pytest.mark.parametrize("text", [
    "__import__('os').system('true') = 1", "text.__class__ = 1", "().__class__.__bases__[0]", "lambda: 1",
    "[1 for x in y]", "eval('1') = 1", "open('/etc/passwd') = 1", "text; import os", "f'{text}' = 1", "{'a': 1}",
    "text[0] = 'a'",
    "text := 1", "text = 'a'\x00", "`a` if flag else `b`", "stars ** 99999999 > 1", "(" * 5000 + "flag" + ")" * 5000,
    "not " * 900 + "flag", "-" * 3000 + "1 = stars", "flag and " * 2000 + "flag",
    "1 + " * 900 + "1 = stars", "length(" * 100 + "text" + ")" * 100 + " > 1"])
def test_hostile_expressions_are_refused_by_name(text: str) -> None:
    with pytest.raises(_expression.ExpressionError):
        held(text)


def test_the_hint_names_the_column_that_may_be_meant() -> None:
    with pytest.raises(_expression.ExpressionError) as caught:
        held("lable = 'a'")
    assert "Did you mean 'label'?" in caught.value.try_this


def test_a_pattern_that_would_take_for_ever_elsewhere_is_quick() -> None:
    table = pa.table({"text": ["a" * 50_000 + "b"] * 20})
    began = datetime.datetime.now()
    assert held(r'text matches "^(a+)+$"', table) == []
    assert (datetime.datetime.now() - began).total_seconds() < 5


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet=st.sampled_from(list("text stars label()[]\"'`=<>+-*/%.,0123 andornotin\\é\n")), max_size=60))
def test_any_text_is_either_understood_or_refused_by_name(text: str) -> None:
    try:
        held(text)
    except StudioError as error:
        assert isinstance(error, _expression.ExpressionError)
        assert error.facts["position"] >= 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=30), st.integers(-5, 5))
def test_numbers_compare_as_they_do_in_python(values: list[int | None], number: int) -> None:
    table = pa.table({"x": pa.array(values, pa.int64())})
    tests: dict[str, Any] = {"<": lambda v: v < number, ">=": lambda v: v >= number, "=": lambda v: v == number}
    for sign, test in tests.items():
        assert held(f"x {sign} {number}", table) == [i for i, v in enumerate(values) if v is not None and test(v)]
