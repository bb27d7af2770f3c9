"""The images a run kept of its evaluation, small enough for a page."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from db.users import User
from studio.service.rows import small
from studio.service.runs import NoSuchRunFile, run_file

#: Endings that `engine.showcase` gives the images it copies.
ENDINGS = (".jpg", ".png", ".gif", ".webp", ".img")


def kept(user: User, run_id: str, row: int) -> bool:
    """Tell whether a run still has the image of an evaluation row; raises NotFound."""
    return _file(user, run_id, row) is not None


def example(user: User, run_id: str, row: int, size: int = 160) -> bytes:
    """Return the image of an evaluation row that a run kept, as a JPEG of at most `size` pixels a side.

    Raises NotFound, NoSuchRunFile, BrokenImage, ImageTooLarge.
    """
    path = _file(user, run_id, row)
    if path is None:
        name = f"the image of evaluation row {row}"
        raise NoSuchRunFile(f"{run_id}/examples/{row}", noun="file", id=name, name=name)
    return small(path.read_bytes(), path.name, size)


def _file(user: User, run_id: str, row: int) -> Path | None:
    for ending in ENDINGS:
        with suppress(NoSuchRunFile):
            return run_file(user, run_id, f"examples/{row}{ending}")
    return None
