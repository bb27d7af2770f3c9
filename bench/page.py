"""docs/benchmarks.md: a section a bench, each with when and where in the history it was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LEAD = ("Made by `make bench`; nothing here is edited by hand. A ratio is our figure divided by the one beside it: the "
        "peer's, measured in the same run, or the limit we set ourselves. Rows without a limit inform only.")
_SECTION = re.compile(r"^## (.+)\n", re.MULTILINE)
#: A row of a section's table that missed its claim, and one that met it.
_MISSED = re.compile(r"^\| (.+?) +\|.*\| \*\*missed\*\* +\|", re.MULTILINE)
_MET = re.compile(r"^\|.*\| met +\|", re.MULTILINE)


def render(sections: Mapping[str, str], facts: Sequence[tuple[str, str]]) -> str:
    """Return the page of these sections, {title: text}, under what the last whole run says of the machine."""
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts)])
    return _joined(f"{table}\n", sections)


def replaced(page: str, sections: Mapping[str, str]) -> str:
    """Return a page with some sections measured anew; all others, and the facts of the machine, stay as they are."""
    head, *parts = _SECTION.split(page)
    there = dict(zip(parts[::2], parts[1::2], strict=True))
    return _joined(head[head.index("| | |"):].strip() + "\n", there | dict(sections))


def _joined(table: str, sections: Mapping[str, str]) -> str:
    body = "\n".join(f"## {title}\n\n{text.strip()}\n" for title, text in sections.items())
    missed, met = _MISSED.findall(body), len(_MET.findall(body))
    summary = f"**{met} of {met + len(missed)} claims met.**"
    summary += f" Missed: {'; '.join(missed)}." if missed else ""
    return "\n".join(["# Benchmarks", "", LEAD, "", summary, "", table, body])
