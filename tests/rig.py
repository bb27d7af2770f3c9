"""A studio of its own for tests of the worker: real Valkey, real SQLite, a real worker process, seconds of training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from db import adapters, datasets, migrate, runs, users
from db.session import database
from db.settings import settings
from engine import spec as specs
from worker import broker, client

ROOT = Path(__file__).resolve().parents[1]
#: Short times, so that tests need not wait for long ones; the order of size is that of the real ones.
TIMES = {"HEARTBEAT_SECONDS": "0.5", "ORPHAN_SECONDS": "3", "LEASE_SECONDS": "5", "REAPER_SECONDS": "0.5",
         "RECONCILE_SECONDS": "1", "REAP_SECONDS": "2", "SHIP_SECONDS": "0.1",
         "SHUTDOWN_SECONDS": "20", "DISCARD_SECONDS": "4", "THREADS": "1"}

T = TypeVar("T")


def until(look: Callable[[], T], seconds: float = 60.0, what: str | Callable[[], str] = "") -> T:
    """Return the first true answer of `look`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := look():
            return answer
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what() if callable(what) else what or look}"
        time.sleep(0.02)


class Rig:
    """A data folder with a broker, a database, a small dataset, a small model, and workers as they are asked for."""

    def __init__(self, folder: Path, shared: Path) -> None:
        self.folder = folder
        self.environment = dict(os.environ) | {f"STUDIO_{name}": value for name, value in TIMES.items()} | {
            "STUDIO_DATA_DIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1",
            "STUDIO_TOKEN_CACHE_BYTES": str(64 << 20)}
        self.environment.pop("STUDIO_BROKER_URL", None)
        self.workers: list[subprocess.Popen[bytes]] = []
        migrate.upgrade(settings().database_url)
        self.broker: subprocess.Popen[bytes] | None = broker.start(settings(), folder / "logs" / "broker.log")
        self.user = users.local()
        models = folder / "models" / "local"
        models.mkdir(parents=True)
        for name in ("bert-tiny", "stories260k"):
            (models / name).symlink_to(shared / "models" / name)
        lines = (shared / "data" / "trec6" / "train.txt").read_text("latin-1").splitlines()[:240]
        self.dataset = self.store("trec", {"label": [line.split(":")[0] for line in lines],
                                           "text": [line.split(" ", 1)[1] for line in lines]})

    def store(self, name: str, columns: dict[str, list[Any]]) -> str:
        """Add a dataset that is ready; returns its id."""
        key = f"datasets/{name}/rows.parquet"
        path = self.folder / key
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table(columns), path)
        return datasets.create(self.user, name=name, parquet_key=key, state="ready").id

    def work(self, **times: str) -> subprocess.Popen[bytes]:
        """Start a worker process; `times` sets more of its settings."""
        more = {f"STUDIO_{name.upper()}": value for name, value in times.items()}
        with (self.folder / "logs" / "worker.log").open("ab") as log:
            worker = subprocess.Popen([sys.executable, "-m", "worker"], env=self.environment | more, stdout=log,
                                      stderr=log, cwd=ROOT, start_new_session=True)
        self.workers.append(worker)
        return worker

    def train(self, *, name: str = "run", ring: bool = True, dataset: str | None = None, **training: Any) -> str:
        """Queue a small classification run; returns its id."""
        document = {
            "task": "text_classification", "model": {"id": "local/bert-tiny"},
            "data": {"train": dataset or self.dataset, "columns": {"text": "text", "label": "label"}},
            "method": {"name": "lora", "r": 4},
            "training": {"epochs": 1, "batch_size": 8, "max_length": 32, "precision": "fp32", "learning_rate": 1e-3,
                         **training}}
        row = runs.create(self.user, specs.parse(document), name=name, dataset_id=dataset or self.dataset)
        if ring:
            client.submit(row.id)
        return row.id

    def state(self, run_id: str) -> str:
        """Return the state of a run."""
        return runs.get(self.user, run_id).state

    def ended(self, run_id: str, seconds: float = 90.0) -> Any:
        """Wait until a run is over and return its row."""
        until(lambda: self.state(run_id) in runs.ENDED, seconds, self.tail)
        return runs.get(self.user, run_id)

    def checkpointed(self, run_id: str) -> Any:
        """Wait until a run has a checkpoint and is still going on."""
        until(lambda: (runs.get(self.user, run_id).checkpoint_step or 0) > 0, 60, self.tail)
        row = runs.get(self.user, run_id)
        assert row.state == "running"
        return row

    def weights(self, run_id: str) -> bytes:
        """Return the bytes of the adapter a run published."""
        adapter = adapters.of_run(self.user, run_id)
        assert adapter is not None
        return (self.folder / adapter.key / "adapter_model.safetensors").read_bytes()

    def child_of(self, run_id: str) -> psutil.Process:
        """Return the process that trains a run, as the worker noted it down."""
        def look() -> psutil.Process | None:
            for path in (self.folder / "workers").glob("*.json"):
                with suppress(ValueError, psutil.Error):
                    for entry in json.loads(path.read_text() or "[]"):
                        if entry["run_id"] == run_id:
                            return psutil.Process(entry["pid"])
            return None

        return until(look, 30, "no child")

    def tail(self) -> str:
        """Return the end of the worker's log."""
        return (self.folder / "logs" / "worker.log").read_text()[-3000:]

    def stop_broker(self) -> None:
        """Stop the broker."""
        if self.broker is not None:
            self.broker.terminate()
            self.broker.wait(10)
            self.broker = None

    def close(self) -> None:
        """Stop everything."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(40)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(5)
        self.stop_broker()


@contextmanager
def studio(folder: Path, shared: Path) -> Iterator[Rig]:
    """Make a studio in `folder` and this process's settings point at it; afterwards everything is as before."""
    names = ["STUDIO_DATA_DIR", "STUDIO_BROKER_URL", "STUDIO_DATABASE_URL", *(f"STUDIO_{name}" for name in TIMES)]
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ |= {"STUDIO_DATA_DIR": str(folder)} | {f"STUDIO_{name}": value for name, value in TIMES.items()}
    settings.cache_clear()
    rig = None
    try:
        rig = Rig(folder, shared)
        yield rig
    finally:
        if rig is not None:
            rig.close()
            database().dispose()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        settings.cache_clear()
