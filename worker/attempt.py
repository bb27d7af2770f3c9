"""One attempt of one run: starts its child, ships its events, renews its lease, and settles how it ended."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.exc import SQLAlchemyError

from db import adapters, datasets, leases
from db.blobs import Blobs
from db.errors import LeaseLost, NotFound
from db.leases import Claimed
from db.settings import Settings
from engine.errors import DataError, StudioError
from engine.evaluation.report import NEUTRAL
from engine.events import Event, RunCancelled, RunFailed, RunSucceeded
from worker import journal
from worker.errors import ChildCrashed, ChildUnresponsive, killed_by
from worker.journal import Shipper
from worker.nursery import Child, Nursery
from worker.timing import Timing

log = logging.getLogger(__name__)

Mode = Literal["save", "discard", "interrupt"]
#: Until the first update is reported the child is looked at this often: somebody is waiting for a sign of life.
IMPATIENT_SECONDS = 0.1
IMPATIENT_FOR = 30.0
ASK_AGAIN_SECONDS = 2.0


class DatasetUnready(DataError):
    """The dataset of this run is not ready: {problem}"""

    kind = "dataset_unready"
    try_this = "Wait until it is read, or upload it again, then resume the run."


class SourceMissing(DataError):
    """The adapter {adapter} that this run starts from is not there."""

    kind = "source_missing"
    try_this = "Choose one of your adapters, or start without one."


class Attempt:
    """Supervises one claimed run from its child's birth to its settled end; `run` belongs in a thread of its own."""

    def __init__(self, claimed: Claimed, nursery: Nursery, settings: Settings, timing: Timing,
                 card: int | None = None) -> None:
        """`card` is the number of the graphics card to use, None for the processor."""
        self.claimed, self.card = claimed, card
        self._nursery, self._settings, self._timing = nursery, settings, timing
        self._blobs = Blobs(settings.blob_url)
        self.key = f"runs/{claimed.run_id}/attempt-{claimed.token}"
        self.folder = self._blobs.place(self.key)
        self.child: Child | None = None
        #: Whether the database knows how this attempt ended.
        self.settled = False
        self._shipper = Shipper(claimed.run_id, claimed.token, self.folder / "events.jsonl", self._store_files)
        self._mode: Mode | None = None
        self._asked_at = 0.0
        self._asked_last = 0.0
        self._renewed = time.monotonic()
        self._refused: dict[str, str] | None = None
        self._leaving = threading.Event()

    def begin(self) -> None:
        """Start the child; raises StudioError when the run cannot begin."""
        self.folder.mkdir(parents=True, exist_ok=True)
        order = self._order()
        environment = {"CUDA_VISIBLE_DEVICES": "" if self.card is None else str(self.card)}
        self.child = self._nursery.spawn(order, self.folder / "log.txt", environment=environment)

    def run(self) -> None:
        """Follow the child to its end and settle the run's state."""
        child = self.child
        assert child is not None
        began = time.monotonic()
        while True:
            impatient = self._shipper.next_seq < 5 and time.monotonic() - began < IMPATIENT_FOR
            message = child.poll(IMPATIENT_SECONDS if impatient else self._timing.ship_seconds)
            if message is not None and message["kind"] == "error":
                self._refused = message["error"]
            self._shipper.ship()
            self._renew(child)
            self._press(child)
            if message is None and not child.alive:
                break
        code, forced = child.exit_code or 0, child.forced
        child.kill()
        child.close()
        self._settle(code, forced)

    def fail(self, error: StudioError) -> None:
        """Settle a run that could not begin."""
        self._refused = error.as_dict()
        self._settle(error.exit_code, forced=False)

    def ask(self, mode: Mode) -> None:
        """Ask the child to stop; a person's wish counts more than the worker's own going away."""
        if self._mode in (None, "interrupt") or mode != "interrupt":
            if self._mode != mode:
                self._asked_at = time.monotonic()
                self._asked_last = 0.0
            self._mode = mode

    def leave(self) -> None:
        """Interrupt the run because the worker ends, and stop waiting for a database that does not answer."""
        self._leaving.set()
        self.ask("interrupt")

    def look(self) -> None:
        """Renew the lease now, which also tells whether the run was asked to stop."""
        self._renewed = 0.0

    # -- starting --------------------------------------------------------------------------------------------------

    def _order(self) -> dict[str, Any]:
        claimed, spec = self.claimed, self.claimed.spec
        train = self._rows(claimed.dataset_id or spec["data"]["train"])
        wanted, second = claimed.eval_dataset_id or spec["data"].get("eval"), spec["data"].get("forgetting")
        return {"kind": "train", "spec": spec, "out": str(self.folder), "train": str(train),
                "eval": str(self._rows(wanted)) if wanted else None, "start": self._start(),
                "forgetting": str(self._rows(second)) if second and second != NEUTRAL else None,
                "data_dir": str(self._settings.data_dir), "checkpoint_dirs": [str(path) for path in self._earlier()],
                "names": self._names(claimed.dataset_id or spec["data"]["train"], wanted),
                "device": None if self.card is not None else "cpu", "orphan_seconds": self._settings.orphan_seconds}

    def _rows(self, dataset_id: str) -> Path:
        try:
            row = datasets.get(self.claimed.owner, dataset_id)
            if row.parquet_key is None or row.state != "ready":
                raise DatasetUnready(dataset_id, problem=f"'{row.name}' is {row.state}.")
            return self._blobs.local(row.parquet_key)
        except NotFound as error:
            raise DatasetUnready(dataset_id, problem=error.what) from error

    def _names(self, train: str, held: str | None) -> dict[str, str]:
        """Return the names of the files that the datasets were made of."""
        rows = {part: datasets.get(self.claimed.owner, id) for part, id in (("train", train), ("eval", held)) if id}
        return {part: row.filename or row.name for part, row in rows.items()}

    def _start(self) -> str | None:
        """Return the folder of the adapter that the method starts from; never a path somebody wrote into the spec."""
        wanted = self.claimed.spec["method"].get("start_from")
        if not wanted:
            return None
        try:
            return str(self._blobs.local(adapters.get(self.claimed.owner, wanted).key))
        except NotFound as error:
            if any(folder.iterdir() for folder in self._earlier()):
                # What was learned since lies in the checkpoints; the source is needed no more.
                return None
            raise SourceMissing("method.start_from", adapter=wanted) from error

    def _earlier(self) -> list[Path]:
        """Return the checkpoint folders of earlier attempts, the newest attempt first."""
        found = []
        for token in range(self.claimed.token - 1, 0, -1):
            here = self.folder.parent / f"attempt-{token}" / "checkpoints"
            key = f"runs/{self.claimed.run_id}/attempt-{token}/checkpoints"
            if here.is_dir():
                found.append(here)
            elif not self._blobs.is_folder and self._blobs.exists(key):
                found.append(self._blobs.local(key))
        return found

    # -- following -------------------------------------------------------------------------------------------------

    def _renew(self, child: Child) -> None:
        if time.monotonic() - self._renewed < self._settings.heartbeat_seconds or self._shipper.lost:
            return
        self._renewed = time.monotonic()
        try:
            held = leases.renew(self.claimed.run_id, self.claimed.token)
        except SQLAlchemyError as error:
            # The child hears nothing, and stops itself before anybody else may take the run.
            log.warning("The lease of %s could not be renewed: %s", self.claimed.run_id, str(error).splitlines()[0])
            return
        if held is None:
            # Either the run is over and the child is about to end, or somebody else has it.
            if self._shipper.ending is None:
                self._shipper.ship()
            if self._shipper.ending is None:
                log.warning("The lease of %s is lost; its child stops.", self.claimed.run_id)
                self.ask("interrupt")
            return
        child.put("renewed")
        if held.stop_mode in ("save", "discard"):
            self.ask("save" if held.stop_mode == "save" else "discard")

    def _press(self, child: Child) -> None:
        """Ask a child that is to stop, again and again: it may not have listened yet. In the end, by force."""
        if self._mode is None:
            return
        moment = time.monotonic()
        patience = {"save": self._timing.save_seconds, "discard": self._timing.discard_seconds,
                    "interrupt": self._timing.shutdown_seconds}[self._mode]
        if moment - self._asked_at > patience:
            child.kill()
        elif moment - self._asked_last > ASK_AGAIN_SECONDS:
            self._asked_last = moment
            partial = self.folder / ".tmp-stop.json"
            partial.write_text(json.dumps({"mode": self._mode}), encoding="utf-8")
            partial.replace(self.folder / "stop.json")
            child.terminate()

    def _store_files(self, event: Event) -> None:
        """Bring the attempt's files to where every machine can read them, before a row points at them."""
        if self._blobs.is_folder or not self.folder.is_dir():
            return
        keep = isinstance(event, RunSucceeded) or (isinstance(event, RunCancelled) and event.saved)
        for path in sorted(self.folder.iterdir()):
            if not path.name.startswith(".") and (keep or path.name != "model") and not (
                    keep and path.name == "checkpoints"):
                self._blobs.put(path, f"{self.key}/{path.name}")

    # -- settling --------------------------------------------------------------------------------------------------

    def _settle(self, code: int, forced: bool) -> None:
        while not (settled := self._try_to_settle(code, forced)):
            if self._leaving.wait(1.0):
                # Its file keeps what is not in the database yet; the next worker here ships it.
                settled = self._try_to_settle(code, forced)
                break
        self.settled = settled
        if isinstance(self._shipper.ending, RunSucceeded):
            for folder in self._earlier():
                shutil.rmtree(folder, ignore_errors=True)

    def _try_to_settle(self, code: int, forced: bool) -> bool:
        """Ship the rest and set the run's state; False while the database does not answer."""
        run_id, token = self.claimed.run_id, self.claimed.token
        if not self._shipper.ship():
            return False
        if self._shipper.lost or self._shipper.ending is not None:
            return True
        if self._refused is not None and self._mode is None:
            return self._shipper.end(RunFailed(self._refused, seq=self._shipper.next_seq, at=time.time()))
        try:
            if self._mode is not None and not (forced and self._mode == "save"):
                leases.release(run_id, token)
            else:
                leases.lose(run_id, token, self._reason(code, forced))
        except LeaseLost:
            return True
        except journal.OUTAGES:
            return False
        return True

    def _reason(self, code: int, forced: bool) -> str:
        if forced and self._mode is not None:
            return ChildUnresponsive(seconds=f"{self._timing.save_seconds:g}").what
        return (killed_by(-code, forced) if code < 0 else ChildCrashed(code=code)).what
