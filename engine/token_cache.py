"""Tokens kept on disk: a run over rows that an earlier run turned into tokens the same way takes them from there."""

from __future__ import annotations

import dataclasses
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from time import sleep
from typing import Any

import pyarrow as pa

from engine import token_rows
from engine.tasks.base import Task
from engine.tasks.terms import Encoded

#: Bytes kept, when the variable STUDIO_TOKEN_CACHE_BYTES does not say otherwise; 0 keeps nothing.
ROOM = 4 << 30
#: Options of a task that say how rows are chosen or measured, not what they become.
ELSEWHERE = frozenset({"constrained", "eval_fraction", "length_penalty", "longest_answer", "margin", "max_new_tokens",
                       "no_repeat", "num_beams", "packing", "pattern", "samples", "threshold", "written"})
#: Packages that decide what a text becomes.
PACKAGES = ("transformers", "tokenizers", "numpy", "pyarrow")
LOOK_SECONDS = 0.2


class TokenCache:
    """Encoded tables in a folder, found by everything they depend on, the longest unused given up first.

    Any number of processes may use one folder: a file is only ever seen whole, and of two that want the same one waits
    for the other's work.
    """

    def __init__(self, folder: Path, room: int | None = None, check: Callable[[], None] = lambda: None) -> None:
        """Keep at most about `room` bytes; `check` is called while waiting and may raise to give up."""
        self.folder = folder
        self.room = int(os.environ.get("STUDIO_TOKEN_CACHE_BYTES") or ROOM) if room is None else room
        self.check = check

    def encode(self, task: Task, table: pa.Table, columns: Mapping[str, str], tokenizer: Any, max_length: int,
               labels: Sequence[str]) -> tuple[Encoded, bool]:
        """Return what `task.encode` makes of the table, and whether it was there already.

        The tokenizer is left without truncation or padding, whichever way it came.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if self.room <= 0 or task.reads != "text" or backend is None:
            return task.encode(table, columns, tokenizer, max_length, labels), False
        _forget_lengths(backend)
        key = _key(task, table, columns, tokenizer, max_length, labels)
        found = self._read(key, tokenizer)
        if found is None:
            with self._alone(key):
                found = self._read(key, tokenizer)
                if found is None:
                    made = task.encode(table, columns, tokenizer, max_length, labels)
                    _forget_lengths(backend)
                    return self._write(key, made, tokenizer) or made, False
        return found, True

    def _read(self, key: str, tokenizer: Any) -> Encoded | None:
        path = self.folder / f"{key}.arrow"
        try:
            rows, facts = token_rows.read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        kept = facts.pop("tokenizer")
        return Encoded(rows=rows, tokenizer=tokenizer if kept else None, **facts)

    def _write(self, key: str, encoded: Encoded, tokenizer: Any) -> Encoded | None:
        """Keep `encoded` and return it as it is kept; None where that cannot be, for which nobody is to suffer."""
        facts = {field.name: getattr(encoded, field.name) for field in dataclasses.fields(encoded)
                 if field.name not in ("rows", "tokenizer")}
        facts["tokenizer"] = encoded.tokenizer is not None
        if encoded.tokenizer is not None and encoded.tokenizer is not tokenizer:
            return None
        partial: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)
            os.close(handle)
            partial = Path(name)
            token_rows.write(partial, encoded.rows, facts)
            if partial.stat().st_size > self.room:
                return None
            partial.replace(self.folder / f"{key}.arrow")
            self._make_room()
        except (token_rows.Unkept, OSError, pa.ArrowException):
            return None
        finally:
            if partial is not None:
                partial.unlink(missing_ok=True)
        return self._read(key, tokenizer)

    def _make_room(self) -> None:
        """Delete what was unused longest; runs that have it mapped keep it until they end."""
        kept = sorted(((entry.stat().st_mtime, entry.stat().st_size, Path(entry.path))
                       for entry in os.scandir(self.folder) if entry.name.endswith(".arrow")), reverse=True)
        room = self.room
        for _, size, path in kept:
            room -= size
            if room < 0:
                path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Be the only process that makes this file; the lock of one that dies is free at once."""
        lock, path, mine = None, self.folder / f"{key}.lock", False
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
        try:
            while lock is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    mine = True
                    break
                except BlockingIOError:
                    self.check()
                    sleep(LOOK_SECONDS)
                except OSError:
                    # A folder on a disk that knows no locks: two may do the same work, and the last file stays.
                    break
            yield
        finally:
            if lock is not None:
                if mine:
                    path.unlink(missing_ok=True)
                lock.close()


def _key(task: Task, table: pa.Table, columns: Mapping[str, str], tokenizer: Any, max_length: int,
         labels: Sequence[str]) -> str:
    """Return the sha256 of everything that decides what the rows become: they themselves, all settings, all code."""
    options = {name: value for name, value in task.model_dump(mode="json").items() if name not in ELSEWHERE}
    said = {"task": options, "columns": sorted(columns.items()), "labels": list(labels), "max_length": max_length,
            "rows": _content(table), "tokenizer": _identity(tokenizer), "code": _code()}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class _Digest:
    """A file that only adds up what is written to it."""

    def __init__(self) -> None:
        self.sum = hashlib.sha256()
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.sum.update(view)
        return view.nbytes

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        self.closed = True


def _content(table: pa.Table) -> str:
    """Return the sha256 of the rows as Arrow writes them."""
    digest = _Digest()
    with pa.ipc.new_stream(pa.PythonFile(digest, mode="w"), table.schema.remove_metadata()) as out:
        out.write_table(table.replace_schema_metadata(None), max_chunksize=10_000)
    return digest.sum.hexdigest()


def _identity(tokenizer: Any) -> str:
    """Return the sha256 of a tokenizer: its own file, the template of chats, and how it is set."""
    said = {"class": type(tokenizer).__name__, "file": tokenizer.backend_tokenizer.to_str(),
            "template": tokenizer.chat_template, "special": repr(tokenizer.special_tokens_map),
            "sides": [tokenizer.padding_side, tokenizer.truncation_side], "inputs": tokenizer.model_input_names,
            "longest": str(tokenizer.model_max_length),
            # Some templates write today's date into every conversation.
            "day": date.today().isoformat() if "strftime" in str(tokenizer.chat_template) else "",
            "ends": [getattr(tokenizer, name, None) for name in ("add_bos_token", "add_eos_token")]}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=repr).encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Return the sha256 of the engine's own code and the versions of what it calls."""
    found = hashlib.sha256(repr([importlib.metadata.version(name) for name in PACKAGES]).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _forget_lengths(backend: Any) -> None:
    """Undo what the last call set, which would show in files saved later and tell one call from another."""
    backend.no_truncation()
    backend.no_padding()
