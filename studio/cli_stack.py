"""Broker and worker for one command: those that are already up, or its own, stopped when the command ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.errors import Refused

Tick = Callable[..., None]


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
    from db import migrate
    from db.settings import settings
    from studio.up import Tree
    from worker import client
    from worker.errors import AlreadyRunning

    migrate.upgrade()
    if client.broker_ok() and worker_there():
        say("Using the studio that is already running.")
        yield _nothing
        return

    tree = Tree(settings(), web=[], say=say)
    try:
        tree.__enter__()
    except AlreadyRunning:
        say("Using the studio that is just starting.")
        yield _nothing
        return
    say("Starting broker and worker ...")
    with _ending_in_order() as go_on:
        def tick(*_: object) -> None:
            go_on()
            tree.watch()

        try:
            yield tick
        finally:
            tree.close()


@contextmanager
def _ending_in_order() -> Iterator[Tick]:
    """Let SIGTERM and SIGHUP end this command as Ctrl-C does, so that what it started is stopped.

    Yields a check for where the command waits: Python drops what a handler raises inside a weak reference's callback.
    """
    asked = False

    def end(*_: object) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    def go_on(*_: object) -> None:
        if asked:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield go_on
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(*_: object) -> None:
    """There is nothing to keep running."""
