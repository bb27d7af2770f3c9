"""Follows the quotes of a delimited text, so that one left open is told by its line."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from engine.data.faults import Faults
from engine.findings import Finding, Level

_QUOTE, _BREAK = 34, 10
#: A quote without another up to the end of its line.
_LONE = re.compile(rb'"[^"\n]*\n')
#: Blanks looked past behind a quote.
_BLANKS = 80
#: Lines named of each fault.
_NAMED = 5
#: Quotes of the text itself, as in files that know no quoting, are not worth a warning from this many lines on.
_MANY = 10


class Quotes:
    """The state of a text whose quotes enclose cells: `inside` tells that one is open, `opened` in which line.

    `merged` are lines whose quote was closed lines later, by one that opens another cell; `single` those with a quote
    inside quotes that should be doubled.
    """

    def __init__(self, delimiter: str) -> None:
        """Begin before the first line; `delimiter` is one ASCII character, or "" for a single column."""
        self.inside = False
        self.opened = 1
        self.merged: list[int] = []
        self.single: list[int] = []
        self._edge = np.zeros(256, dtype=bool)
        self._edge[[_BREAK, *delimiter.encode()]] = True
        self._edges = b"\n" + delimiter.encode()
        self._held = b"\n"
        self._line = self._next = 1
        self._closed = -1

    def feed(self, data: bytes) -> None:
        """Take the next stretch of text; its last character waits for what follows."""
        data = self._held + data
        size = len(data) - 2
        if size > 0:
            letters = np.frombuffer(data, dtype=np.uint8)
            places = np.flatnonzero(letters[1:-1] == _QUOTE) + 1
            self._next = self._line + _lines(letters[1:-1])
            if len(places) and not self._proper(data, letters, places):
                self._followed(data, places)
            self._line = self._next
            self._closed -= size
        self._held = data[-2:]

    def _proper(self, data: bytes, letters: np.ndarray, places: np.ndarray) -> bool:
        """Take a stretch in which every quote opens or closes a cell or is doubled; False where one does not."""
        if not self.inside and places[0] == 1 and data[0] == _QUOTE and self._closed != 0:
            return False
        begins, ends = places[int(self.inside)::2], places[int(not self.inside)::2]
        before, after = letters[begins - 1], letters[ends + 1]
        if not ((self._edge[before] | (before == _QUOTE)).all() and (self._edge[after] | (after == _QUOTE)).all()):
            return False
        self.inside ^= bool(len(places) % 2)
        if self.inside:
            # A doubled quote opens nothing: the cell began with the last quote behind an edge.
            edges = begins[self._edge[letters[begins - 1]]]
            if len(edges):
                self.opened = self._line_at(data, int(edges[-1]))
        else:
            self._closed = int(places[-1])
        return True

    def _followed(self, data: bytes, places: np.ndarray) -> None:
        """Go from quote to quote as a parser does."""
        start = 0
        for place in map(int, places):
            if not self.inside:
                doubled = place - 1 == self._closed
                if doubled or data[place - 1] in self._edges:
                    self.inside = True
                    start = start if doubled else place
                continue
            self.inside, self._closed = False, place
            # Blanks between a quote and the end of its cell do no harm.
            after = data[place + 1:place + _BLANKS].lstrip(b" ")[:1]
            if data[place + 1] != _QUOTE and after and after not in self._edges:
                line = self._line_at(data, start) if start else self.opened
                (self.merged if self._line_at(data, place) > line else self.single).append(line)
                # What follows, up to the end of the cell, is taken as it stands.
                self._closed = -1
        if self.inside and start:
            self.opened = self._line_at(data, start)

    def _line_at(self, data: bytes, place: int) -> int:
        # Counted from the end, which is mostly near.
        return self._next - _lines(np.frombuffer(data, dtype=np.uint8)[place:-1])

    def tell(self, faults: Faults) -> None:
        """Note what was found in `faults`."""
        level: Level = "warning" if faults.skip else "error"
        if self.merged:
            faults.note(_finding(level, "quote_not_closed", "A quote is not closed in its cell, so rows run together",
                                 self.merged, "Close the quote in that line, or double a quote that belongs to the "
                                 "text."))
        if self.single:
            faults.note(_finding("warning", "quote_inside", "A quote stands inside quotes without being doubled",
                                 self.single, 'Write "" for a quote inside quotes, else one is lost; or go on.'))


def _lines(letters: np.ndarray) -> int:
    """Return how many lines end; numpy counts four times as fast as bytes do."""
    return int(np.count_nonzero(letters == _BREAK))


def watched(chunks: Iterator[bytes], quotes: Quotes, faults: Faults) -> Iterator[bytes]:
    """Yield chunks as they are while their quotes are followed; at the end, note what was found."""
    for data in chunks:
        quotes.feed(data)
        yield data
    quotes.feed(b"\n")
    quotes.tell(faults)


def unquoted(chunks: Iterator[bytes], delimiter: str, faults: Faults) -> Iterator[bytes]:
    """Yield the chunks of a text that knows no quoting; cells that seem to open a quote are noted at the end."""
    edges = b"\n" + delimiter.encode()
    found: list[int] = []
    rest, line = b"\n", 0
    for data in chunks:
        yield data
        whole, mark, rest_after = (rest + data).rpartition(b"\n")
        if b'"' in whole:
            text = whole + mark
            found += [line + text.count(b"\n", 0, match.start()) for match in _LONE.finditer(text)
                      if match.start() and text[match.start() - 1] in edges]
        line += whole.count(b"\n")
        rest = mark + rest_after
    if b'"' in rest:
        found += [line + 1 for match in _LONE.finditer(rest + b"\n") if rest[match.start() - 1] in edges]
    if found:
        faults.note(_finding("note" if len(found) >= _MANY else "warning", "quote_lone", "A quote opens a cell and is "
                             "not closed; quotes are taken as part of the text", found, "Go on if they belong to the "
                             "text; if they enclose cells, close that one."))


def _finding(level: Level, kind: str, what: str, lines: list[int], try_this: str) -> Finding:
    named = ", ".join(f"{line:,}" for line in lines[:_NAMED])
    many = f" in {len(lines):,} places (lines {named}{' …' if len(lines) > _NAMED else ''})."
    return Finding(kind=kind, level=level, what=what + (f" (line {named})." if len(lines) == 1 else many),
                   where=f"line {lines[0]}", try_this=try_this, count=len(lines))
