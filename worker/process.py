"""The worker process: puts its parts together, listens to the broker, and goes away without losing anything."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from db import light, workers
from db.base import new_id
from db.settings import Settings, settings
from engine import tasks
from worker import held, machine
from worker.desk import Desk
from worker.fleet import Fleet
from worker.nursery import Nursery
from worker.stage import Stage
from worker.station import Station, open_here
from worker.timing import Timing, timing

log = logging.getLogger(__name__)

#: Celery's pool only takes messages; the work is done elsewhere.
RINGERS = 4
#: How long Celery may take to say goodbye to a broker that does not answer.
FAREWELL_SECONDS = 5.0


class Worker:
    """Everything of this process but Celery."""

    def __init__(self, chosen: Settings, times: Timing) -> None:
        self.settings, self.times = chosen, times
        self.id = new_id("wk")
        self.cards = machine.cards()
        slots = len(self.cards) or chosen.slots
        threads = chosen.threads or max(1, machine.cores() // slots)
        self.nursery = Nursery(threads, {
            "STUDIO_DATA_DIR": str(chosen.data_dir), "STUDIO_TOKEN_CACHE_BYTES": str(chosen.token_cache_bytes)})
        self.held = held.Held(chosen.data_dir / "workers", self.id)
        self.fleet = Fleet(self.id, self.nursery, self.held, chosen, times, self.cards)
        (chosen.data_dir / "logs").mkdir(parents=True, exist_ok=True)
        self.desk = Desk(self.nursery, times.light_slots, chosen.data_dir / "logs" / "worker.log")
        self.stage = Stage(self.nursery, chosen, times)
        self._device = machine.describe(self.cards)
        self._stop = threading.Event()
        self._rounds: list[threading.Thread] = []
        self._closing = threading.Lock()
        #: Whether Celery takes messages, which then wants to say goodbye to its broker.
        self.listening = False

    def start(self) -> None:
        """Begin: nursery, signs of life, and the rounds of reaper and reconciler."""
        from worker import reaper, reconciler

        open_here(Station(self.fleet, self.desk, self.stage))
        self.nursery.on_warm = self.fleet.fill
        self.nursery.start()
        self._repeat("heartbeat", self.settings.heartbeat_seconds, self.beat)
        self._repeat("stops", 1.0, self.fleet.look_all)
        self._repeat("reaper", self.times.reaper_seconds, reaper.reap)
        self._repeat("reconciler", self.times.reconcile_seconds,
                     lambda: reconciler.reconcile(self.fleet, self.desk, self.stage))
        threading.Thread(target=self._recover, name="recovery", daemon=True).start()

    def beat(self) -> None:
        """Say that this worker is alive."""
        workers.beat(self.id, host=socket.gethostname(), pid=os.getpid(), slots=self.fleet.slots, busy=self.fleet.busy,
                     device=self._device | {"warm": self.nursery.warm}, versions=machine.versions())

    def close(self) -> None:
        """Interrupt runs at a checkpoint, drop short work, end every child; safe to call twice."""
        with self._closing:
            if self._stop.is_set():
                return
            self._stop.set()
            self.fleet.close()
            self.desk.close()
            self.stage.close()
            self.nursery.close()
            self.held.close()
            try:
                workers.remove(self.id)
            except Exception as error:
                log.warning("The worker's row stays: %s", str(error).splitlines()[0])
            log.info("Worker %s has ended.", self.id)

    def _recover(self) -> None:
        """Settle what a crashed worker left, and have models measured anew that an older version measured."""
        if count := light.measure_again(list(tasks.every())):
            log.info("%d base models were measured by an older version and are measured again.", count)
        for entry in self.held.left_behind():
            try:
                held.recover(entry, self.times.shutdown_seconds)
            except Exception:
                log.exception("Recovering %s; its lease runs out by itself.", entry.get("run_id"))
        self.fleet.fill()

    def _repeat(self, name: str, seconds: float, work: Callable[[], Any]) -> None:
        def rounds() -> None:
            while not self._stop.is_set():
                try:
                    work()
                except Exception as error:
                    log.warning("%s: %s", name, str(error).splitlines()[0] if str(error) else type(error).__name__)
                # Workers that started together should not all come at the same moment.
                self._stop.wait(seconds * random.uniform(0.9, 1.1))

        thread = threading.Thread(target=rounds, name=name, daemon=True)
        self._rounds.append(thread)
        thread.start()


def main() -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code."""
    # Messages are JSON, whoever runs this; Celery's warning is about pickle.
    warnings.filterwarnings("ignore", message=".*superuser privileges.*")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(message)s")
    for noisy in ("celery", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    worker = Worker(settings(), timing())
    leave = _leaving(worker)
    # Until Celery listens to signals; runs may be going on before that.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave())
    try:
        worker.start()
        log.info("Worker %s: %d slot(s) on %s, %d thread(s) each.", worker.id, worker.fleet.slots,
                 worker.fleet.device_class, worker.nursery.threads)
        return _listen(worker, leave)
    finally:
        worker.close()


def _listen(worker: Worker, leave: Callable[[], object]) -> int:
    """Take messages from the broker until told to end, then call `leave`; the broker may come and go."""
    from celery import signals

    from worker.app import LIGHT, PLAY, app, train_queue

    def leaving(**_: Any) -> None:
        leave()

    def logging_is_set_up(**_: Any) -> None:
        """Celery leaves logging alone when anybody listens to this signal."""

    signals.setup_logging.connect(logging_is_set_up, weak=False)
    signals.worker_shutting_down.connect(leaving, weak=False)
    queues = [train_queue(worker.fleet.device_class), LIGHT, PLAY]
    celery: Any = app.Worker(
        hostname=f"{worker.id}@{socket.gethostname()}", pool="threads", concurrency=RINGERS, queues=queues,
        loglevel="WARNING", without_mingle=True, without_gossip=True, without_heartbeat=True, task_events=False,
        optimization="fair", quiet=True)
    worker.listening = True
    celery.start()
    return int(celery.exitcode or 0)


def _leaving(worker: Worker) -> Callable[[], object]:
    """Return what closes the worker and ends this process, for signal handlers to call.

    A thread does it: what a handler raises is lost when the signal comes in a callback of the garbage collector, as
    each import has them, and a handler must not take a lock that the main thread may hold. A pipe needs neither.
    """
    heard, ask = os.pipe()

    def leave() -> None:
        os.read(heard, 1)
        try:
            worker.close()
            if worker.listening:
                # Celery waits for its broker when it says goodbye; nothing of ours depends on that any more.
                time.sleep(FAREWELL_SECONDS)
                log.warning("The broker does not answer; leaving without saying goodbye.")
            logging.shutdown()
        finally:
            os._exit(0)

    threading.Thread(target=leave, name="leaving", daemon=True).start()
    return lambda: os.write(ask, b".")
