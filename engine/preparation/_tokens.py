"""An expression's pieces (words, numbers, texts and signs), and the error that points at one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import DataError

_TOKEN = re.compile(r"""\s*(?:
    (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])) | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') |
    (?P<column>`(?:[^`]|``)+`) | (?P<word>[^\W\d]\w*(?:\.[^\W\d]\w*)*) |
    (?P<sign><=|>=|!=|<>|==|[=<>+\-*/%(),\[\]]))""", re.VERBOSE | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class ExpressionError(DataError):
    """The expression is wrong at character {position}, near {near}: {problem}."""

    kind = "expression_invalid"
    try_this = "{hint}"


@dataclass(frozen=True)
class Token:
    """A piece of an expression; `at` is where it begins, from 0."""

    kind: str
    text: str
    at: int


def fault(text: str, at: int, problem: str, hint: str = "") -> ExpressionError:
    """Return the error for a place in an expression, from 0."""
    rest = text[at:at + 24].split("\n")[0]
    near = f"'{rest}{'…' if len(text) > at + 24 else ''}'" if rest.strip() else "its end"
    return ExpressionError(f"character {at + 1}", position=at + 1, near=near, problem=problem,
                           hint=hint or "Correct it there, for example: length(text) > 20 and label != \"other\".")


def tokens(text: str) -> Iterator[Token]:
    """Yield an expression's pieces, and one of kind "end" behind them; raises ExpressionError."""
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            strange = text[at]
            if strange in "\"'`":
                raise fault(text, at, f"the {strange} is never closed", f"Close it with another {strange}.")
            raise fault(text, at, f"'{strange}' means nothing here")
        kind = str(found.lastgroup)
        yield Token(kind, found.group(kind), found.start(kind))
        at = found.end()
    yield Token("end", "", len(text))


def unquoted(quoted: str) -> str:
    """Return a text without its quotes; an escape that means nothing here stays, as patterns need theirs."""
    known = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
    return _ESCAPED.sub(lambda found: known.get(found.group(1), found.group(0)), quoted[1:-1])
