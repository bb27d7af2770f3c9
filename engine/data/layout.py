"""What is known of the columns of loosely typed rows while they are read, and what is odd about them in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.data import kinds, names
from engine.data.findings import some
from engine.data.kinds import Kind, Widened
from engine.findings import Finding

#: What a person calls values of one sort.
_SORTS: dict[type, str] = {str: "a text", int: "a number", float: "a number", bool: "true or false", list: "a list"}


class Layout:
    """What is known so far of the columns: kinds by name in order of appearance, and fields kept whole as JSON."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.kinds: dict[str, Kind] = {}
        self.whole: set[str] = set()
        self.spread: set[str] = set()
        self.sorts: dict[str, dict[str, int]] = {}
        self.started = False

    def learn(self, name: str, kind: Kind) -> None:
        """Widen a column; raises Widened when rows were already given out with a narrower one."""
        known = self.kinds.get(name)
        joined = kind if known is None else kinds.join(known, kind)
        if joined != known:
            self.kinds[name] = joined
            if self.started and not (known == "null" and joined in ("string", "json")):
                raise Widened(name)

    def notice(self, name: str, values: Sequence[Any], first: int) -> None:
        """Remember the first row, number `first` being that of the first value, of each sort of value in a column."""
        known = self.sorts.setdefault(name, {})
        for sort in set(map(type, values)) & _SORTS.keys():
            if _SORTS[sort] not in known:
                known[_SORTS[sort]] = first + next(i for i, value in enumerate(values) if type(value) is sort)

    def keep_whole(self, name: str) -> None:
        """Keep a nested field as JSON text from now on; raises Widened when rows were already spread into columns."""
        self.whole.add(name)
        if name in self.spread:
            self.spread.discard(name)
            self.kinds = {key: kind for key, kind in self.kinds.items() if not key.startswith(name + ".")}
            raise Widened(name)


def kept_whole(layout: Layout) -> list[Finding]:
    """Return a warning for columns that hold nested data as JSON text."""
    found = [name for name, kind in layout.kinds.items() if kind == "json" and name not in names.UNDERSTOOD]
    if not found:
        return []
    listed = ", ".join(f"'{name}'" for name in found)
    return [Finding(kind="nested_json", level="warning", where=found[0], count=len(found),
                    what=f"The columns {listed} hold nested data; they are kept as JSON text.",
                    try_this="Flatten them into fields of their own if you want to train on what is inside.")]


def mixed(layout: Layout) -> list[Finding]:
    """Return a warning for each column whose values are of several sorts; the first row that is unlike is named."""
    found: list[Finding] = []
    for name, rows in layout.sorts.items():
        if len(rows) > 1 and layout.kinds.get(name) in ("string", "strings"):
            (usual, _), *_, (other, row) = sorted(rows.items(), key=lambda item: item[1])
            read_as = "lists" if layout.kinds[name] == "strings" else "texts"
            found.append(some("warning", "mixed_types", f"There is {other} in '{name}' where other rows have {usual}; "
                              f"all are read as {read_as}; so it is first", [row], 1,
                              "Write all of them alike, or go on if they are meant alike.", name))
    return found
