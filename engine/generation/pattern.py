"""What a regular expression finds in answers, compared as numbers where it finds numbers.

The expressions are RE2's, which pyarrow carries: they take time in proportion to the text, whatever somebody writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import pyarrow as pa

from engine.data.compute import pc

#: Two letters for private use, put around what is found.
OPEN, CLOSE = "\ue000", "\ue001"
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*%?|[-+]?\.\d+%?")


def check(pattern: str) -> None:
    """Raise ValueError, saying what is wrong, for what is no expression, or one that finds nothing in particular."""
    _group(pattern)
    if bool(pc.match_substring_regex(pa.array([""]), pattern)[0].as_py()):
        raise ValueError("the pattern also matches an empty text; say what must be there, such as #### (.+)")


def found(texts: Sequence[str], pattern: str) -> list[str | None]:
    """Return what the last match of `pattern` in each text says, normalised; None where there is no match.

    Of a pattern with parentheses, what the first of them hold counts.
    """
    plain = pa.array([text.replace(OPEN, "").replace(CLOSE, "") for text in texts], pa.string())
    marked = pc.replace_substring_regex(plain, f"({pattern})", f"{OPEN}\\{_group(pattern)}{CLOSE}").to_pylist()
    return [normalised(text.rpartition(OPEN)[2].partition(CLOSE)[0]) if OPEN in text else None for text in marked]


def normalised(text: str) -> str:
    """Return a text in lower case without spare blanks and a final full stop; a number in its shortest form.

    Currency signs, thousands separators and trailing zeros do not count: $1,234.50 is 1234.5.
    """
    text = " ".join(text.casefold().split()).rstrip(".").strip()
    bare = text.strip("$€£¥ ").replace(" ", "")
    if _NUMBER.fullmatch(bare):
        try:
            number = Decimal(bare.rstrip("%").replace(",", ""))
        except InvalidOperation:
            return text
        return f"{number.normalize() + 0:f}" + "%" * bare.endswith("%")
    return text


@lru_cache(maxsize=64)
def _group(pattern: str) -> int:
    """Return which group of `(pattern)` counts: its own first, else the whole; raises ValueError."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        said = str(error).partition("regular expression: ")[2] or str(error)
        raise ValueError(f"it is not a regular expression of RE2 ({said}); "
                         "look-around and back references are not known to it") from None
    try:
        pc.replace_substring_regex(pa.array([""]), f"({pattern})", r"\2")
    except pa.ArrowInvalid:
        return 1
    return 2
