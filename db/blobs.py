"""Where files are kept: a folder, or anything fsspec reaches (s3://bucket/prefix). Keys are relative POSIX paths."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]
from fsspec.implementations.local import LocalFileSystem  # pyright: ignore[reportMissingTypeStubs]

from db.errors import BadKey, NotFound
from db.settings import settings

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +@=,-]*")


class Blobs:
    """A store of files and folders under one URL. In a folder, a key's file is just there: nothing is copied."""

    def __init__(self, url: str | None = None, *, cache: Path | None = None) -> None:
        """Open the store; `cache` is where remote files are fetched to (default: `cache/` in the data folder)."""
        url = url if url is not None else settings().blob_url
        fs, root = cast("tuple[Any, str]", cast("Any", fsspec).url_to_fs(str(url)))
        self.fs = fs
        self.root = root.rstrip("/")
        self.is_folder = isinstance(fs, LocalFileSystem)
        self._cache = cache

    def put(self, local: Path, key: str, *, move: bool = False) -> str:
        """Store a file or folder under `key`, replacing what is there only when complete; returns the key."""
        target = self._path(key)
        if not self.is_folder:
            if self.fs.exists(target):
                self.fs.rm(target, recursive=True)
            self.fs.put(str(local), target, recursive=local.is_dir())
        elif Path(target) != local.absolute():
            _place(local, Path(target), move)
        if move and not self.is_folder:
            _remove(local)
        return key

    def open(self, key: str) -> IO[bytes]:
        """Open a stored file for reading; raises NotFound."""
        try:
            return self.fs.open(self._path(key), "rb")
        except FileNotFoundError:
            raise NotFound(key, noun="file", id=key) from None

    def local(self, key: str) -> Path:
        """Return a path to read a stored file or folder at; remote ones are fetched once. Raises NotFound."""
        target = self._path(key)
        if self.is_folder:
            if not Path(target).exists():
                raise NotFound(key, noun="file", id=key)
            return Path(target)
        return self._fetch(key, target)

    def place(self, key: str) -> Path:
        """Return the path to write to before `put(path, key)`: the final one in a folder store, else in the cache."""
        target = self._path(key)
        path = Path(target) if self.is_folder else self._cache_folder() / "writing" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def exists(self, key: str) -> bool:
        """Return whether a file or folder is stored under `key`."""
        return bool(self.fs.exists(self._path(key)))

    def delete(self, key: str) -> None:
        """Delete a file or folder; nothing happens when it is not there."""
        target = self._path(key)
        if self.is_folder:
            _remove(Path(target))
        elif self.fs.exists(target):
            self.fs.rm(target, recursive=True)

    def size(self, key: str) -> int:
        """Return the bytes of a file or of all files in a folder; raises NotFound."""
        try:
            return int(self.fs.du(self._path(key))) if self.exists(key) else _absent(key)
        except FileNotFoundError:
            return _absent(key)

    def _path(self, key: str) -> str:
        segments = key.split("/")
        # Two segments at least: the database and the secret key lie at the top of the same folder.
        if len(segments) < 2 or not all(_SEGMENT.fullmatch(segment) for segment in segments):
            raise BadKey(key[:80], key=key[:80])
        return f"{self.root}/{key}"

    def _fetch(self, key: str, target: str) -> Path:
        if not self.fs.exists(target):
            _absent(key)
        stamp = hashlib.sha256(repr(sorted(self._versions(target))).encode()).hexdigest()[:16]
        final = self._cache_folder() / stamp / key
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".fetch-", dir=final.parent))
            try:
                self.fs.get(target, str(partial / "it"), recursive=bool(self.fs.isdir(target)))
                if not final.exists():
                    (partial / "it").replace(final)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return final

    def _versions(self, target: str) -> list[tuple[str, str]]:
        """Return (name, checksum) of the stored files, so that a replaced file is fetched anew."""
        return [(name, str(self.fs.checksum(name))) for name in self.fs.find(target)]

    def _cache_folder(self) -> Path:
        return self._cache if self._cache is not None else settings().data_dir / "cache" / "blobs"


def _place(local: Path, target: Path, move: bool) -> None:
    """Bring a file or folder to `target` so that a reader sees the old one or the new one, never half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".put-", dir=target.parent))
    try:
        if move:
            shutil.move(local, partial / "it")
        elif local.is_dir():
            shutil.copytree(local, partial / "it")
        else:
            shutil.copy2(local, partial / "it")
        if target.is_dir():
            target.rename(partial / "old")
        (partial / "it").replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _absent(key: str) -> Any:
    raise NotFound(key, noun="file", id=key)
