"""Who the command line works for, on which database, and how it waits for workers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from studio import cli_print

if TYPE_CHECKING:
    from db.users import User

#: Waiting for a worker to read a dataset or measure a model, in seconds; the Hub may be slow.
PATIENCE = 3600.0


def me() -> User:
    """Return the account that STUDIO_USER names, else the local user; the tables are brought up to date first."""
    from db import accounts, migrate, users

    # That nobody is there to be rung for is said by the command itself, in words; what is stored is not lost.
    logging.getLogger("worker.client").setLevel(logging.ERROR)
    migrate.upgrade()
    name = os.environ.get("STUDIO_USER")
    return accounts.by_name(name) if name else users.local()


def wait(read: Callable[[], Any], states: Collection[str], what: str,
         tick: Callable[..., None] = lambda *_: None) -> Any:
    """Wait until a row's state is one of `states`, telling on stderr how far it is; returns the row."""
    from studio.service import settled

    told = ""

    def seen(row: Any) -> None:
        nonlocal told
        tick()
        part = getattr(row, "progress", None)
        text = f"{what}: {row.state}" + (f" {part:.0%}" if part and row.state not in states else "")
        if text != told and (row.state not in states or told):
            told = text
            cli_print.aside(text)
    return settled(read, states, PATIENCE, seen)


def stored(error: dict[str, Any] | None) -> Exception:
    """Return the error that a row holds, to raise."""
    from studio.service.predictions import told

    return told(error)
