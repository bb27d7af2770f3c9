"""Short ways to write a finding."""

from __future__ import annotations

from collections.abc import Sequence

from engine.findings import Finding, Level


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


def in_eval(findings: Sequence[Finding]) -> list[Finding]:
    """Say that findings are about the evaluation file."""
    return [item.model_copy(update={"what": f"In the evaluation file: {item.what[0].lower()}{item.what[1:]}"})
            for item in findings]
