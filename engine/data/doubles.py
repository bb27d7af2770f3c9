"""Names that stand twice in one JSON object: of both values a parser keeps the last, and says nothing."""

from __future__ import annotations

import json
from typing import Any

from engine.data.faults import Faults
from engine.findings import Finding

_FIX = "Give one of the two another name, or take it out; if the last one is the right one, go on."
KIND = "key_twice"


class Decoder(json.JSONDecoder):
    """Decodes JSON, and remembers the first name that stood twice in an object, `twice`, until it is noted.

    One decoder for many texts takes about as long as json.loads, which makes itself ready for each, does without.
    """

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=self._object)
        self.twice = ""

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            self.see([name for name, _ in pairs])
        return found

    def see(self, names: list[str]) -> None:
        """Remember the first of the names of one object that stands there twice."""
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self.twice = self.twice or name or "(without a name)"
            seen.add(name)

    def note(self, row: int, faults: Faults) -> None:
        """Note the row that was decoded since the last time, if a name stood twice in it."""
        if self.twice:
            faults.add(KIND, row, f"Row {row} has the field '{self.twice[:80]}' twice; the last one counts.", _FIX,
                       always=True)
            self.twice = ""

    def note_document(self, faults: Faults, kept: str = "last") -> None:
        """Note that a name stood twice in what is around the rows, or in columns; one of both is `kept`."""
        if self.twice:
            faults.note(Finding(kind=KIND, level="warning", where=self.twice[:80], try_this=_FIX, what=(
                f"The field '{self.twice[:80]}' stands twice in the document; the {kept} one counts.")))
            self.twice = ""
