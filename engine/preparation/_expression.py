"""Expressions over columns, such as `length(text) > 20 and label in ["a", "b"]`; read by a grammar, never run as code.

    or: and ("or" and)*          and: not ("and" not)*          not: "not" not | test
    test: sum [("=" | "!=" | "<" | "<=" | ">" | ">=" | "contains" | "startswith" | "endswith" | "matches") sum
              | ["not"] "in" "[" value ("," value)* "]" | "is" ["not"] "empty"]
    sum: product (("+" | "-") product)*          product: sign (("*" | "/" | "%") sign)*          sign: "-" sign | item
    item: number | "text" | true | false | column | `any column` | function "(" or ("," or)* ")" | "(" or ")"
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from engine.preparation._tokens import ExpressionError, Token, fault, tokens, unquoted

LONGEST = 4000
#: How deeply an expression may be nested.
DEEPEST = 40
#: Words that may stand between a text and what is looked for in it.
TESTS = ("contains", "startswith", "endswith", "matches")
#: Functions with the number of things they take.
FUNCTIONS = {"length": 1, "words": 1, "lower": 1, "upper": 1, "trim": 1, "number": 1, "text": 1,
             **dict.fromkeys(TESTS, 2)}
KEYWORDS = ("and", "or", "not", "in", "is", "empty", "true", "false", *TESTS)

@dataclass(frozen=True)
class Node:
    """A part of an expression; `at` is where it begins, from 0."""

    at: int


@dataclass(frozen=True)
class Value(Node):
    """A text, a number, or true or false."""

    value: str | int | float | bool


@dataclass(frozen=True)
class Column(Node):
    """The value of a column."""

    name: str


@dataclass(frozen=True)
class Call(Node):
    """A function, an operator or a test, by name, of its parts: "and", "=", "+", "length", "contains", ..."""

    name: str
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Within(Node):
    """Whether a part is one of several values."""

    part: Node
    choices: tuple[str | int | float | bool, ...]


def parse(text: str) -> Node:
    """Return the expression that a text describes; raises ExpressionError pointing at the character."""
    if len(text) > LONGEST:
        raise fault(text, LONGEST, f"it is longer than {LONGEST:,} characters", "Split it into several steps.")
    return _Parser(text).whole()


def columns(node: Node) -> dict[str, int]:
    """Return the columns an expression speaks of, with the place (from 0) each is first named at."""
    if isinstance(node, Column):
        return {node.name: node.at}
    parts = node.parts if isinstance(node, Call) else (node.part,) if isinstance(node, Within) else ()
    found: dict[str, int] = {}
    for part in parts:
        for name, at in columns(part).items():
            found.setdefault(name, at)
    return found


class _Parser:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(tokens(text))
        self.place = 0
        self.depth = 0

    def whole(self) -> Node:
        """Return the whole expression."""
        if len(self.tokens) == 1:
            raise fault(self.text, 0, "it is empty", "Write a condition, such as: length(text) > 20.")
        node = self.either()
        if self.now.kind != "end":
            raise self.unexpected("'and', 'or' or the end")
        return node

    @property
    def now(self) -> Token:
        """The token to be read next."""
        return self.tokens[self.place]

    def unexpected(self, wanted: str) -> ExpressionError:
        """Return the error for the token to be read next."""
        now = self.now
        if now.kind == "end":
            return fault(self.text, now.at, f"it ends where {wanted} should follow")
        return fault(self.text, now.at, f"'{now.text}' stands where {wanted} should be")

    def take(self, *texts: str, kind: str = "sign") -> Token | None:
        """Return the next token and go on when it is one of `texts`; words are known in small and capital letters."""
        now = self.now
        told = now.text.lower() if kind == "word" and now.text in (now.text.lower(), now.text.upper()) else now.text
        if now.kind != kind or told not in texts:
            return None
        self.place += 1
        return Token(now.kind, told, now.at)

    def expect(self, text: str, wanted: str) -> None:
        """Go past a sign that must stand here."""
        if self.take(text) is None:
            raise self.unexpected(wanted)

    def deeper(self, at: int) -> None:
        """Count a level of nesting."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise fault(self.text, at, f"it is nested deeper than {DEEPEST} levels", "Split it into several steps.")

    def either(self) -> Node:
        """Return alternatives."""
        return self.joined("or", self.both)

    def both(self) -> Node:
        """Return conditions that must hold together."""
        return self.joined("and", self.negated)

    def joined(self, word: str, part: Callable[[], Node]) -> Node:
        """Return what stands alone, or several parts with a word between them."""
        parts = [part()]
        at = self.now.at
        while self.take(word, kind="word"):
            parts.append(part())
        return Call(at, word, tuple(parts)) if len(parts) > 1 else parts[0]

    def negated(self) -> Node:
        """Return a condition, or what must not hold."""
        if found := self.take("not", kind="word"):
            self.deeper(found.at)
            node: Node = Call(found.at, "not", (self.negated(),))
            self.depth -= 1
            return node
        return self.test()

    def test(self) -> Node:
        """Return a comparison, or what stands alone."""
        node = self.sum()
        if found := self.take("=", "==", "!=", "<>", "<", "<=", ">", ">="):
            name = {"==": "=", "<>": "!="}.get(found.text, found.text)
            node = Call(found.at, name, (node, self.sum()))
            if self.now.kind == "sign" and self.now.text in ("=", "==", "!=", "<>", "<", "<=", ">", ">="):
                raise fault(self.text, self.now.at, "comparisons cannot be chained", "Join two of them with 'and'.")
            return node
        if found := self.take("is", kind="word"):
            negated = self.take("not", kind="word") is not None
            if self.take("empty", kind="word") is None:
                raise self.unexpected("'empty'")
            empty = Call(found.at, "empty", (node,))
            return Call(found.at, "not", (empty,)) if negated else empty
        negation = self.take("not", kind="word")
        if found := self.take("in", *TESTS, kind="word"):
            made = Within(found.at, node, self.choices()) if found.text == "in" else \
                Call(found.at, found.text, (node, self.sum()))
            return Call(negation.at, "not", (made,)) if negation else made
        if negation:
            raise self.unexpected(f"'in', {', '.join(repr(name) for name in TESTS)}")
        return node

    def choices(self) -> tuple[str | int | float | bool, ...]:
        """Return the values of a list."""
        closing = {"[": "]", "(": ")"}
        opened = self.take("[", "(")
        if opened is None:
            raise self.unexpected('a list such as ["a", "b"]')
        found: list[str | int | float | bool] = []
        while True:
            item = self.sign()
            if not isinstance(item, Value):
                raise fault(self.text, item.at, "a list holds only texts in quotes and numbers")
            found.append(item.value)
            if self.take(closing[opened.text]):
                return tuple(found)
            if not self.take(","):
                raise self.unexpected(f"',' or '{closing[opened.text]}'")

    def sum(self) -> Node:
        """Return a sum."""
        return self.chain(("+", "-"), self.product)

    def product(self) -> Node:
        """Return a product."""
        return self.chain(("*", "/", "%"), self.sign)

    def chain(self, signs: tuple[str, ...], part: Callable[[], Node]) -> Node:
        """Return what stands alone, or parts with signs between them, the first two together first."""
        node, before = part(), self.depth
        while found := self.take(*signs):
            self.deeper(found.at)
            node = Call(found.at, found.text, (node, part()))
        self.depth = before
        return node

    def sign(self) -> Node:
        """Return an item, or its negative."""
        found = self.take("-")
        if found is None:
            return self.item()
        self.deeper(found.at)
        inner = self.sign()
        self.depth -= 1
        if isinstance(inner, Value) and isinstance(inner.value, int | float) and not isinstance(inner.value, bool):
            return Value(found.at, -inner.value)
        return Call(found.at, "-", (inner,))

    def item(self) -> Node:
        """Return a value, a column, a function, or what stands in parentheses."""
        now = self.now
        if now.kind == "number":
            self.place += 1
            whole = now.text.isdigit() and len(now.text) <= 18
            return Value(now.at, int(now.text) if whole else float(now.text))
        if now.kind == "text":
            self.place += 1
            return Value(now.at, unquoted(now.text))
        if now.kind == "column":
            self.place += 1
            return Column(now.at, now.text[1:-1].replace("``", "`"))
        if self.take("("):
            self.deeper(now.at)
            node = self.either()
            self.depth -= 1
            self.expect(")", "')'")
            return node
        if found := self.take("true", "false", kind="word"):
            return Value(found.at, found.text == "true")
        if now.kind == "word":
            return self.named()
        raise self.unexpected("a column, a value or '('")

    def named(self) -> Node:
        """Return a function or a column."""
        now = self.now
        following = self.tokens[self.place + 1]
        called = following.kind == "sign" and following.text == "("
        if not called:
            if now.text.lower() in KEYWORDS and now.text in (now.text.lower(), now.text.upper()):
                raise self.unexpected(f"a column or a value (a column of that name is written `{now.text}`)")
            self.place += 1
            return Column(now.at, now.text)
        name = now.text.lower()
        if name not in FUNCTIONS:
            close = difflib.get_close_matches(name, FUNCTIONS, 1)
            raise fault(self.text, now.at, f"there is no function '{now.text}'", (
                f"Did you mean {close[0]}()? " if close else "") + f"There are: {', '.join(FUNCTIONS)}.")
        self.place += 2
        self.deeper(now.at)
        parts = [self.either()]
        while self.take(","):
            parts.append(self.either())
        self.depth -= 1
        self.expect(")", "',' or ')'")
        if len(parts) != FUNCTIONS[name]:
            takes = "one thing" if FUNCTIONS[name] == 1 else "two things"
            raise fault(self.text, now.at, f"{name}() takes {takes}, not {len(parts)}")
        return Call(now.at, name, tuple(parts))
