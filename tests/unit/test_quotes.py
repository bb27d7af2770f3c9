"""Quotes of delimited texts are followed wherever the text is cut; one left open is told by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.data import read
from engine.data.errors import QuoteNotClosed
from engine.data.faults import Faults
from engine.data.quotes import Quotes, unquoted, watched

#: A text, and the lines of quotes that merge rows and of quotes that should be doubled.
TEXTS: list[tuple[bytes, list[int], list[int]]] = [
    (b'a,b\n"x","y"\n"two\nlines",""\n"""he""","a ""b"" c"\n', [], []),
    (b'6" of,5"" of\n"x",y"z"\nq,"r"\n', [], []),
    (b'"x",1\n"open,2\n"y",3\n"z",4\n', [2], []),
    (b'"x",1\n"he said "no" to",2\n"y",3\n', [], [2]),
    (b'"x" ,1\n"a\nb\nc",2\n"open,3\n\n"y",4\n', [5], []),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
@pytest.mark.parametrize(("text", "merged", "single"), TEXTS)
def test_quotes_are_followed_however_the_text_is_cut(text: bytes, merged: list[int], single: list[int],
                                                     size: int) -> None:
    quotes = Quotes(",")
    parts = [text[start:start + size] for start in range(0, len(text), size)]
    assert b"".join(watched(iter(parts), quotes, Faults())) == text
    assert (quotes.inside, quotes.merged, quotes.single) == (False, merged, single)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_line_of_a_quote_left_open_is_known(size: int) -> None:
    text = b'text,label\n"a ""b""","c"\n"d\ne",f\n"never ""closed"" it,g\nh,i\n'
    quotes = Quotes(",")
    list(watched((text[start:start + size] for start in range(0, len(text), size)), quotes, Faults()))
    assert quotes.inside and quotes.opened == 5


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_text_without_quoting_tells_of_cells_that_seem_to_open_one(size: int) -> None:
    text = b'6" of\ta\n"b" c\td\n"open\te\n\nf\t"open'
    faults = Faults()
    list(unquoted((text[start:start + size] for start in range(0, len(text), size)), "\t", faults))
    found = faults.findings()
    assert [(item.kind, item.level, item.count) for item in found] == [("quote_lone", "warning", 2)]
    assert "lines 3, 5" in found[0].what


def test_quotes_that_belong_to_the_text_stay_in_it(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("text,label\n" + "a plain text,pos\n" * 20 + '"Great" film,neg\n"Poor" one,pos\n')
    assert read.read(path).column("text").to_pylist()[-2:] == ['"Great" film', '"Poor" one']


def test_a_quote_left_open_is_refused_however_many_lines_come_before_it(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text,label\n" + '"a text of some words",pos\n' * 100_000 + '"never closed,pos\nmore,neg\n')
    with pytest.raises(QuoteNotClosed, match="line 100002"):
        read.read(path)
