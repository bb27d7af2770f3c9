"""Collects the rows that do not fit while a file is read, and turns them into findings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.findings import Finding

#: Row numbers kept of each kind of fault; the count goes on.
KEPT = 20


@dataclass
class Faults:
    """Rows (counted from 1, header aside) that were left out or changed while reading, by kind."""

    skip: bool = False
    _rows: dict[str, list[int]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _texts: dict[str, Finding] = field(default_factory=dict)
    _taken: dict[str, Finding] = field(default_factory=dict)
    _always: set[str] = field(default_factory=set)

    def add(self, kind: str, row: int, what: str, try_this: str, *, where: str = "", always: bool = False) -> None:
        """Note one row; `what` of the first is kept. `always` marks faults that stay warnings, in rows that stay."""
        if kind not in self._texts:
            level = "warning" if self.skip or always else "error"
            self._always |= {kind} if always else set()
            self._texts[kind] = Finding(kind=kind, level=level, what=what, try_this=try_this,
                                        where=where or f"row {row}")
        self._counts[kind] = self._counts.get(kind, 0) + 1
        kept = self._rows.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(row)

    def note(self, finding: Finding) -> None:
        """Keep a finding about the whole file."""
        self._texts.setdefault(finding.kind, finding)

    def take(self, findings: Iterable[Finding], name: str, before: int) -> None:
        """Take over what was found in the file `name`, whose rows come after `before` others."""
        for item in findings:
            rows = [row + before for row in item.rows]
            known = self._taken.get(item.kind)
            if known is None:
                self._taken[item.kind] = item.model_copy(update={"what": f"In '{name}': {item.what}", "rows": rows})
            elif rows:
                self._taken[item.kind] = known.model_copy(update={
                    "rows": [*known.rows, *rows][:KEPT], "count": known.count + item.count})

    def findings(self) -> list[Finding]:
        """Return one finding a kind, errors first."""
        order = {"error": 0, "warning": 1, "note": 2}
        found = [*(self._finished(kind, item) for kind, item in self._texts.items()), *self._taken.values()]
        return sorted(found, key=lambda item: order[item.level])

    def _finished(self, kind: str, item: Finding) -> Finding:
        count = self._counts.get(kind)
        if count is None:
            return item
        what = item.what if count == 1 else f"{item.what} {count - 1:,} more like it."
        if self.skip and item.level == "warning" and kind not in self._always:
            what = f"{what} Left out."
        return item.model_copy(update={"what": what, "rows": sorted(self._rows[kind]), "count": count})
