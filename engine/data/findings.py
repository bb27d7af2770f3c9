"""Short ways to write a finding."""

from __future__ import annotations

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


def some(level: Level, kind: str, what: str, rows: list[int], count: int, try_this: str, column: str) -> Finding:
    """Return a finding about `count` rows, of which the first are in `rows`; they are named at the end of the text."""
    shown = ", ".join(f"{row:,}" for row in rows[:5])
    more = " …" if count > 5 else ""
    text = f"{what} in {count:,} rows ({shown}{more})." if count > 1 else f"{what} in row {shown}."
    place = f"row {rows[0]}, column {column}" if rows else column
    return Finding(kind=kind, level=level, what=text, where=place, try_this=try_this, rows=rows, count=count)
