"""A JSON text decoded value by value from a stream, in bounded memory."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from engine.data.doubles import Decoder
from engine.data.errors import BadJson, DataError, JsonTooDeep, LineTooLong
from engine.data.source import Source
from engine.data.stream import Hooks, clean, size_text

_SPACE = re.compile(r"[ \t\r\n]*")


class JsonText:
    """A JSON text and the place that has been reached in it."""

    def __init__(self, path: Path, source: Source, hooks: Hooks) -> None:
        """Open the text; raises what reading it raises."""
        self.path = path
        self.hooks = hooks
        self.chunks = clean(path, source, hooks.endless())
        self.decoder = Decoder()
        self.undecoded = b""
        self.text = ""
        self.at = 0
        self.line = 1
        self.more()

    def more(self) -> bool:
        """Read on; False at the end of the file."""
        data = next(self.chunks, b"")
        if not data:
            return False
        data = self.undecoded + data
        cut = _whole_letters(data)
        self.line += self.text.count("\n", 0, self.at)
        self.text = self.text[self.at:] + data[:cut].decode("utf-8")
        self.undecoded, self.at = data[cut:], 0
        return True

    def peek(self) -> str:
        """Return the next character that is not a blank, "" at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self) -> None:
        """Step over one character."""
        self.at += 1

    def value(self) -> tuple[Any, int]:
        """Return the next value and its length in characters; raises BadJson, JsonTooDeep, LineTooLong."""
        self.peek()
        while True:
            size = len(self.text) - self.at
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except RecursionError:
                raise JsonTooDeep(self.path.name, row=self.line, limit=sys.getrecursionlimit()) from None
            except json.JSONDecodeError as error:
                if size > self.hooks.longest_line:
                    raise LineTooLong(self.path.name, line=self._line(self.at),
                                      limit=size_text(self.hooks.longest_line)) from None
                surely = error.pos < len(self.text) - 32 and "Unterminated" not in error.msg
                if surely or not self._grow(size):
                    raise self.broken(error.msg, error.pos) from None
                continue
            except ValueError:
                raise self.broken("a number has too many digits") from None
            if end < len(self.text) or not self.more():
                length, self.at = end - self.at, end
                return value, length

    def _grow(self, size: int) -> bool:
        """Read at least as much again, so that a long value is not tried once a chunk."""
        grown = self.more()
        while grown and len(self.text) < 2 * size and self.more():
            pass
        return grown

    def _line(self, position: int) -> int:
        return self.line + self.text.count("\n", 0, position)

    def broken(self, reason: str, position: int | None = None) -> DataError:
        """Return the error for a fault at `position` (the current one by default)."""
        place = self.at if position is None else position
        column = place - self.text.rfind("\n", 0, place)
        line = self._line(place)
        return BadJson(f"{self.path.name}, line {line}", line=line, column=column, reason=reason)


def _whole_letters(data: bytes) -> int:
    """Return how many bytes end with a whole UTF-8 letter."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            need = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if back >= need else len(data) - back
    return len(data)
