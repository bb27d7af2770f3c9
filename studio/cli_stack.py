"""Broker and worker for one command: those that are already up, or its own, stopped when the command ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.errors import Refused

if TYPE_CHECKING:
    from studio.up import Tree

Tick = Callable[..., None]

#: How long a worker may take to say that it is there.
START_SECONDS = 60.0


class NoWorker(Refused):
    """No worker is running on this data folder."""

    kind = "no_worker"
    try_this = "Start 'peft-studio up' in another terminal. 'train --follow' starts one of its own."
    exit_code = 2


def require() -> None:
    """Raise NoWorker when nobody would do the work."""
    if not worker_there():
        raise NoWorker()


def worker_there() -> bool:
    """Return whether a worker was heard of lately."""
    from worker import client

    return bool(client.queue_state()["workers"])


@contextmanager
def stack(say: Callable[[str], None] = lambda _: None) -> Iterator[Tick]:
    """Use the studio that is up on the data folder, or start broker and worker and stop them at the end.

    Yields a function to be called a few times a second while waiting: it keeps what was started running.
    """
    from db.settings import settings
    from worker import client
    from worker.errors import AlreadyRunning

    if not settings().broker_bundled and client.queue_state()["workers"]:
        yield _nothing
        return
    from studio.up import Tree

    tree = Tree(settings(), web=[], say=say)
    try:
        tree.__enter__()
    except AlreadyRunning:
        say("Using the studio that is already running.")
        yield _nothing
        return
    say("Starting broker and worker ...")
    try:
        _migrated(tree)
        yield lambda *_: tree.watch()
    finally:
        tree.close()


def _migrated(tree: Tree) -> None:
    """Wait until the tables are there."""
    import time

    deadline = time.monotonic() + START_SECONDS
    while not tree.ready() and time.monotonic() < deadline:
        tree.watch()
        time.sleep(0.02)


def _nothing(*_: object) -> None:
    """There is nothing to keep running."""
