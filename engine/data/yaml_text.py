"""YAML files as rows: lists of mappings, and conversations as lists of lines; nothing but texts is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.events import AliasEvent

from engine.data.errors import ColumnarTooLarge, NoRecords, YamlBroken
from engine.data.faults import Faults
from engine.data.source import Source
from engine.data.stream import Hooks, clean, size_text

#: A YAML text is read as a whole.
LARGEST = 32 << 20
_DEEPEST = 32
#: Share of a list's entries that must be of one kind.
_ALIKE = 0.9
_KEY = re.compile(r"[\w][\w .-]{0,60}:(?:\s|$)")
_ITEM = re.compile(r"-\s+(?:-\s+\S|[\w][\w .-]{0,60}:(?:\s|$))")
_DASH = re.compile(r"\s*-(?:\s|$)")


class _Refused(yaml.MarkedYAMLError):
    """The text is YAML, and asks for what is not done here."""


class _Loader(yaml.BaseLoader):
    """Makes nothing but texts, lists and mappings.

    Aliases, which can spell gigabytes in a few lines, and tags that ask for Python objects are refused.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; raises YAMLError for an alias or where it is nested too deep."""
        event: Any = cast("Any", self).peek_event()
        if isinstance(event, AliasEvent):
            raise _Refused(problem="aliases (*name) are not read", problem_mark=event.start_mark)
        if "python/" in (getattr(event, "tag", None) or ""):
            raise _Refused(problem="it asks to make a Python object, which could run any program",
                           problem_mark=event.start_mark)
        self.depth += 1
        try:
            if self.depth > _DEEPEST:
                raise _Refused(problem="it is nested too deep", problem_mark=event.start_mark)
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def looks_like(text: str, whole: bool) -> bool:
    """Tell whether a text is YAML that holds a list: a name or a list item first, items below; checked when whole."""
    lines = [line for line in text.split("\n")[:60] if line.strip() and not line.lstrip().startswith(("#", "%", "---"))]
    if len(lines) < 2:
        return False
    mapping = bool(_KEY.match(lines[0])) and any(_DASH.match(line) for line in lines[1:])
    listed = bool(_ITEM.match(lines[0]))
    if not (mapping or listed):
        return False
    if not whole:
        return True
    try:
        return _records(_loaded(text)) is not None
    except _Refused:
        return True
    except (yaml.YAMLError, RecursionError):
        return listed or text.lstrip().startswith(("---", "%YAML"))


def rows(path: Path, source: Source, faults: Faults, hooks: Hooks) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Yield (row, mapping, size) for each entry; those unlike the others are noted and left out.

    Raises YamlBroken, NoRecords, ColumnarTooLarge.
    """
    data = bytearray()
    for chunk in clean(path, source, hooks.endless()):
        data += chunk
        if len(data) > LARGEST:
            raise ColumnarTooLarge(path.name, limit=size_text(LARGEST))
    try:
        found = _records(_loaded(data.decode("utf-8")))
    except RecursionError:
        raise YamlBroken(path.name, line=1, reason="it is nested too deep") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        reason = str(getattr(error, "problem", "") or "it cannot be understood")
        raise YamlBroken(f"{path.name}, line {line}", line=line, reason=reason) from None
    if not found:
        raise NoRecords(path.name, what="no list of mappings or conversations")
    size = len(data) // len(found)
    for number, row in enumerate(found, 1):
        if row is not None:
            yield number, row, size
            continue
        faults.add("broken_rows", number, f"Row {number} is unlike the others, which are all lists of lines or all "
                   "mappings; it is left out.", "Correct it in the file, or go on without it.", always=True)


def _loaded(text: str) -> Any:
    loader = _Loader(text)
    try:
        return cast("Any", loader).get_single_data()
    finally:
        loader.dispose()


def _records(value: Any) -> list[dict[str, Any] | None] | None:
    """Return the rows of a document: its list, or the first list of mappings or of lists in it; None without one.

    An entry unlike the others is None.
    """
    lists = [value] if isinstance(value, list) else list(value.values()) if isinstance(value, Mapping) else []
    for items in lists:
        if not isinstance(items, list) or not items:
            continue
        most = _ALIKE * len(items)
        if sum(isinstance(item, Mapping) for item in items) >= most:
            return [dict(item) if isinstance(item, Mapping) else None for item in items]
        if sum(isinstance(item, list) for item in items) >= most:
            return [{"messages": _turns(item)} if isinstance(item, list) else None for item in items]
    return None


def _turns(lines: list[Any]) -> list[dict[str, str]]:
    """Return lines spoken in turn as messages, the user's first."""
    return [{"role": "assistant" if place % 2 else "user", "content": _spoken(line)}
            for place, line in enumerate(lines)]


def _spoken(line: Any) -> str:
    """Return a line as text; a colon in an unquoted line makes it a mapping in YAML's eyes."""
    if isinstance(line, Mapping):
        return "\n".join(f"{key}: {_spoken(value)}" for key, value in line.items())
    if isinstance(line, list):
        return "\n".join(_spoken(item) for item in line)
    return str(line)
