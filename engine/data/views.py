"""Lists of row places kept on disk: what a search found, or the order of a column. Bounded, and safe to lose."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

#: Bytes kept beside one file; a list of all its rows takes four a row.
ROOM = 128 << 20
#: Changes whenever what is kept is made differently.
VERSION = 1


class Views:
    """Arrays of row places in a folder, found by key, the longest unused ones given up first."""

    def __init__(self, folder: Path, room: int = ROOM) -> None:
        """Keep at most about `room` bytes in `folder`, which is made when first needed."""
        self.folder = folder
        self.room = room

    @staticmethod
    def key(*parts: Any) -> str:
        """Return the name of what these JSON values say."""
        return hashlib.sha256(json.dumps([VERSION, *parts]).encode()).hexdigest()[:32]

    def has(self, key: str) -> bool:
        """Tell whether it is kept."""
        return self._path(key).exists()

    def get(self, key: str) -> np.ndarray | None:
        """Return the places kept under `key`, mapped rather than read; None when there are none."""
        path = self._path(key)
        try:
            found = np.load(path, mmap_mode="r")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return found

    def put(self, key: str, places: np.ndarray) -> np.ndarray:
        """Keep `places` and return them; a full disk only means that they are not kept."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(places.nbytes)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.save(file, places)
                Path(name).replace(self._path(key))
            finally:
                Path(name).unlink(missing_ok=True)
        return places

    def _make_room(self, wanted: int) -> None:
        kept = sorted(((entry.stat().st_mtime, entry.stat().st_size, entry.path)
                       for entry in os.scandir(self.folder) if entry.name.endswith(".npy")), reverse=True)
        room = self.room - wanted
        for _, size, path in kept:
            room -= size
            if room < 0:
                Path(path).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"
