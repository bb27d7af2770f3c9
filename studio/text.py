"""Words and numbers as a person reads them; every value that enters HTML passes through `esc`."""

from __future__ import annotations

import html
import math
from datetime import UTC, datetime
from typing import Any

from engine import digits


def esc(value: Any) -> str:
    """Return the value as text that is safe inside HTML and inside quoted attributes."""
    return html.escape("" if value is None else str(value), quote=True)


def count(number: float | None) -> str:
    """Return a whole number with thin grouping: 12,345; a dash for None."""
    return "–" if number is None else f"{number:,.0f}"


def short(number: float | None) -> str:
    """Return a number in at most four characters and a letter: 39.9 M, 7.24 B; a dash for None."""
    if number is None:
        return "–"
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size * 0.9995:
            scaled = number / (1e3 if letter == "k" else size)
            return f"{scaled:.3g} {letter}" if scaled < 999.5 else f"{scaled:.0f} {letter}"
    return f"{number:,.0f}"


def size(count_of_bytes: float | None) -> str:
    """Return bytes as 512 B, 4.2 MB, 1.31 GB (powers of 1000); a dash for None."""
    if count_of_bytes is None:
        return "–"
    value = float(count_of_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 99.95 else f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError


def percent(share: float | None, digits: int = 3) -> str:
    """Return a share of one as a percentage with `digits` significant digits: 0.00118 -> 0.118 %."""
    return "–" if share is None else f"{share * 100:.{digits}g} %"


def duration(seconds: float | None) -> str:
    """Return seconds as 0.4 s, 42 s, 3 min 05 s, 2 h 10 min, 3 d 4 h; a dash for None."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def metric(value: float | None) -> str:
    """Return a metric or setting in short, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    return digits.short(value)


def ago(moment: datetime | float | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was: just now, 5 min ago, yesterday, 3 March; a time without zone is UTC."""
    if moment is None:
        return "–"
    then = datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else moment
    then = then.replace(tzinfo=UTC) if then.tzinfo is None else then
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if seconds < 45:
        return "just now"
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} min ago"
    if seconds < 86_400:
        return f"{round(seconds / 3600)} h ago"
    if seconds < 2 * 86_400:
        return "yesterday"
    return f"{then.day} {then:%B}" if seconds < 300 * 86_400 else f"{then.day} {then:%B %Y}"


def plural(number: int, noun: str, many: str = "") -> str:
    """Return "1 run", "3 runs"."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"
