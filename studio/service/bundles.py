"""Folders and archives as the files they are stored as: rows to learn from, and rows to evaluate on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db.settings import settings
from engine.errors import DataError, NotEnough


@dataclass(frozen=True)
class Files:
    """Files to store: `train` under `name`, `eval` if there is one; `made` tells that it was taken out of an archive.

    `source` is how to read `eval` where that has been found out.
    """

    train: Path
    name: str
    eval: Path | None = None
    made: bool = False
    source: dict[str, Any] | None = None


@contextmanager
def files(path: Path, eval_path: Path | None, part: str) -> Generator[Files, None, None]:
    """Give what to store of a file, folder or archive; what was made for it is gone afterwards.

    A part to evaluate on is looked for unless `eval_path` or a `part` is given. Raises NotEnough, and DataError for a
    folder without rows; what is wrong with an archive is for the worker to say.
    """
    from engine.data import held

    folder = settings().data_dir / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="parts-", dir=folder, ignore_cleanup_errors=True) as place:
        train, name = path, path.name
        if path.is_dir():
            _room(path)
            name = f"{path.resolve().name}.zip"
            train = held.pack_folder(path, Path(place) / name)
        if eval_path is not None or part:
            other = eval_path
            if eval_path is not None and eval_path.is_dir() and eval_path != path:
                other = held.pack_folder(eval_path, Path(place) / f"{eval_path.resolve().name} evaluation.zip")
            yield Files(train, name, other, made=other is not None and other != eval_path)
            return
        inside = Path(place) / "held"
        inside.mkdir()
        found = None
        with suppress(DataError):
            found = held.evaluation(train, inside)
        source = found.source.model_dump(mode="json") if found is not None and found.source is not None else None
        yield Files(train, name, found.path if found is not None else None, found is not None, source)


def source(path: Path | None, header: bool | None, part: str) -> dict[str, Any] | None:
    """Return how to read a file as a person says, None where nothing is said."""
    if path is None or (header is None and not part):
        return None
    from engine.data.sniff import sniff

    return sniff(path, header=header, part=part).model_dump(mode="json")


def _room(folder: Path) -> None:
    """Raise NotEnough when a folder cannot be packed beside what is there."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(settings().data_dir).free
    if free < 2 * size + settings().min_free_bytes:
        raise NotEnough(str(folder), resource="disk space", needed=f"{2 * size + settings().min_free_bytes} bytes",
                        available=f"{free} bytes")
