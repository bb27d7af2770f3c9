"""What was asked in an evaluation row, role by role, so that a person can ask it again with a click."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.tasks.base import Task

#: Longest text kept, in characters, and largest image, in bytes.
LONGEST, LARGEST = 20_000, 2 * 2**20
#: First bytes of an image and the ending its copy gets.
_ENDINGS = {b"\xff\xd8\xff": ".jpg", b"\x89PN": ".png", b"GIF": ".gif", b"RIF": ".webp"}


def question(task: Task, table: pa.Table, columns: Mapping[str, str], row: int, folder: Path) -> dict[str, Any]:
    """Return what fills each role in row `row`: a text, a list of words, or where in `folder` an image was copied to.

    The copy is named from the folder on ("examples/12.png"). Empty where a role holds something that is too large or
    neither of these.
    """
    asked: dict[str, Any] = {}
    for role in task.asks:
        column = columns.get(role.name, "")
        if column not in table.column_names:
            continue
        value: Any = table.column(column)[row].as_py()
        if role.kind == "image":
            value = _copied(value, row, folder)
        elif isinstance(value, list) and role.kind == "words":
            value = ["" if word is None else str(word) for word in value]
        elif value is not None and not isinstance(value, str | int | float):
            return {}
        if value is None or len(str(value)) > LONGEST:
            return {}
        asked[role.name] = value if isinstance(value, list) else str(value)
    return asked


def _copied(value: Any, row: int, folder: Path) -> str | None:
    data = value.get("bytes") if isinstance(value, dict) else None
    if not isinstance(data, bytes) or len(data) > LARGEST:
        return None
    folder.mkdir(exist_ok=True)
    name = f"{row}{_ENDINGS.get(data[:3], '.img')}"
    (folder / name).write_bytes(data)
    return f"{folder.name}/{name}"
