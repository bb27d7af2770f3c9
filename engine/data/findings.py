"""Short ways to write a finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.findings import Finding, Level

#: What is said of a conversation without messages.
EMPTY = "The conversation is empty"
#: Kind of the finding about an evaluation file that could not be read.
EVAL_UNREAD = "eval_unread"


def error(kind: str, what: str, where: str, try_this: str) -> Finding:
    """Return a finding that forbids training."""
    return Finding(kind=kind, level="error", what=what, where=where, try_this=try_this)


def warning(kind: str, what: str, where: str, try_this: str) -> Finding:
    """Return a finding that asks."""
    return Finding(kind=kind, level="warning", what=what, where=where, try_this=try_this)


def note(kind: str, what: str, where: str, try_this: str) -> Finding:
    """Return a finding that informs."""
    return Finding(kind=kind, level="note", what=what, where=where, try_this=try_this)


def some(level: Level, kind: str, what: str, rows: list[int], count: int, try_this: str, column: str,
         turns: Sequence[int] = ()) -> Finding:
    """Return a finding about `count` rows, of which the first are in `rows`; they are named at the end of the text.

    `turns` gives, for each of `rows`, the message concerned, counted from 1.
    """
    named = [f"{row:,}" + (f", message {turns[i]}" if turns else "") for i, row in enumerate(rows[:5])]
    shown = ("; " if turns else ", ").join(named)
    more = " …" if count > 5 else ""
    text = f"{what} in {count:,} rows ({shown}{more})." if count > 1 else f"{what} in row {shown}."
    places = [f"row {first}" for first in named[:1]] + [f"column {name}" for name in (column,) if name]
    return Finding(kind=kind, level=level, what=text, where=", ".join(places), try_this=try_this, rows=rows,
                   count=count)


def beyond(reading: Sequence[Mapping[str, Any]], counted: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what counting found beyond what reading has said: a conversation that cannot be read is empty as well."""
    lost = next((one for one in reading if one["kind"] == "messages_malformed"), None)
    if lost is None:
        return list(counted)
    kept: list[dict[str, Any]] = []
    for one in counted:
        more = one.get("count", 0) - lost["count"]
        if one["kind"] != "conversation_empty" or not one["what"].startswith(EMPTY):
            kept.append(one)
        elif more > 0:
            rows = [row for row in one["rows"] if row not in lost["rows"]]
            column = one["where"].partition("column ")[2]
            told = some("error", one["kind"], EMPTY, rows or one["rows"], more, one["try_this"], column)
            kept.append(told.model_dump(mode="json"))
    return kept


def in_eval(findings: Sequence[Finding]) -> list[Finding]:
    """Say that findings are about the evaluation file."""
    return [item.model_copy(update={"what": f"In the evaluation file: {item.what[0].lower()}{item.what[1:]}"})
            for item in findings]


def about_eval(what: str) -> bool:
    """Tell whether what is said in a finding is about the evaluation file, rather than about the rows to learn from."""
    return "evaluation file" in what.lower()


def listed(names: Iterable[str]) -> str:
    """Return names as a person reads them, each in quotes."""
    return ", ".join(f"'{name}'" for name in names)
