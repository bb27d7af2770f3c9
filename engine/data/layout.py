"""What is known of the columns of loosely typed rows while they are read, and what is odd about them in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from engine.data import kinds, names
from engine.data.findings import warning
from engine.data.kinds import Kind, Widened
from engine.findings import Finding

#: What a person calls values of one sort.
_SORTS: dict[type, str] = {str: "texts", int: "numbers", float: "numbers", bool: "true or false", list: "lists"}


class Layout:
    """What is known so far of the columns: kinds by name in order of appearance, and fields kept whole as JSON."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.kinds: dict[str, Kind] = {}
        self.whole: set[str] = set()
        self.spread: set[str] = set()
        self.sorts: dict[str, dict[str, tuple[int, int]]] = {}
        self.started = False

    def begin(self) -> None:
        """Read from the start, with the kinds that are known so far."""
        self.started, self.sorts = False, {}

    def learn(self, name: str, kind: Kind) -> None:
        """Widen a column; raises Widened when rows were already given out with a narrower one."""
        known = self.kinds.get(name)
        joined = kind if known is None else kinds.join(known, kind)
        if joined != known:
            self.kinds[name] = joined
            if self.started and not (known == "null" and joined in ("string", "json")):
                raise Widened(name)

    def notice(self, name: str, values: Sequence[Any], first: int) -> None:
        """Remember the first row and the number of rows of each sort of value in a column.

        `first` is the number of the row of the first value.
        """
        known = self.sorts.setdefault(name, {})
        for kind, count in Counter(map(type, values)).items():
            if kind in _SORTS:
                place, before = known.get(_SORTS[kind]) or (first + len(values), 0)
                if place >= first:
                    here = next(i for i, value in enumerate(values) if type(value) is kind)
                    place = min(place, first + here)
                known[_SORTS[kind]] = place, before + count

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
    """Return a warning for each column whose values are of several sorts; the fewer rows are the ones it names."""
    found: list[Finding] = []
    for name, rows in layout.sorts.items():
        if len(rows) > 1 and layout.kinds.get(name) in ("string", "strings"):
            *few, _ = sorted(rows.items(), key=lambda item: (item[1][1], -item[1][0]))
            read_as = "lists" if layout.kinds[name] == "strings" else "texts"
            parts = " and ".join(f"{sort} in {count:,}" for sort, (_, count) in few)
            total, count = (sum(count for _, count in of) for of in (rows.values(), [one for _, one in few]))
            first = min(place for _, (place, _) in few)
            told = warning("mixed_types", f"'{name}' holds {parts} of {total:,} rows; all are read as {read_as}, first "
                           f"in row {first:,}.", f"row {first:,}, column {name}",
                           "Write all of them alike, or go on if they are meant alike.")
            found.append(told.model_copy(update={"rows": [first], "count": count}))
    return found
