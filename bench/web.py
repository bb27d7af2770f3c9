"""The web process: what it imports, the memory it needs at rest, and while twenty runs report to twenty open pages."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from bench import server
from bench.report import Row, quantile
from bench.server import Memory, Page

PAGES = ("/", "/data", "/models", "/train", "/runs", "/compare", "/adapters", "/playground", "/settings")
RUNS, STEPS_A_SECOND, SHIP_SECONDS, TICK_SECONDS = 20, 4, 0.5, 1.5
IDLE_LIMIT, GROWTH_LIMIT = 300, 64
MB = 2**20


def measure(quick: bool) -> list[Row]:
    """Return the rows of memory and imports; sizes are resident memory in MiB."""
    with server.data_folder() as folder, server.web(folder) as process:
        memory = Memory(process.pid)
        started = memory.now()
        for path in PAGES:
            _open(process.address, path).close()
        _ring(process.address)
        time.sleep(1.0)
        idle = memory.now()
        seconds = 15 if quick else 60
        with memory:
            taken = _report(process.address, seconds)
        torch = memory.holds("libtorch")
    growth = (memory.peak - idle) / MB
    note = f"{RUNS} runs and {RUNS} pages for {seconds} s, {len(taken)} polls"
    return [
        Row("Web process: torch libraries loaded", float(torch), "libraries", 0.0),
        Row("Web process: memory after start", started / MB, "MiB", IDLE_LIMIT),
        Row("Web process: memory at rest, every page opened once", idle / MB, "MiB", IDLE_LIMIT),
        Row(f"Web process: growth while {RUNS} runs report", growth, "MiB", GROWTH_LIMIT, note=note),
        Row("Web process: answer to a poll meanwhile, p95", quantile(taken, 0.95) * 1000, "ms", note=note)]


def _ring(address: str) -> None:
    """Add a small file, so that what tells the workers (Celery's client) is loaded too."""
    httpx.post(address + "/api/v1/datasets", files={"file": ("small.csv", b"text,label\na,b\n")},
               timeout=60).raise_for_status()


def _open(address: str, path: str) -> Page:
    page = Page(address, path)
    for handler in page.triggered("load"):
        page.send(handler)
    return page


def _report(address: str, seconds: float) -> list[float]:
    """Have runs report and pages show them for a while; returns how long each poll took, in seconds."""
    ids = _claim()
    over = threading.Event()
    with ThreadPoolExecutor(RUNS + 1) as pool:
        writing = pool.submit(_write, ids, over)
        watching = [pool.submit(_watch, address, run_id, over) for run_id, _ in ids]
        threading.Timer(seconds, over.set).start()
        taken = [one for future in watching for one in future.result()]
        writing.result()
    return taken


def _claim() -> list[tuple[str, int]]:
    """Make runs and claim them as a worker would; returns (run id, token)."""
    from db import datasets, leases, runs, users
    from engine import spec as specs

    user = users.local()
    dataset = datasets.create(user, name="Measured", state="ready", rows=10_000)
    document = {"task": "text_classification", "model": {"id": "starter/minilm-l6"}, "data": {"train": dataset.id},
                "method": {"name": "lora"}}
    for number in range(RUNS):
        runs.create(user, specs.parse(document), name=f"Measured {number}", dataset_id=dataset.id)
    claimed = [leases.claim("wk_bench", seconds=3600) for _ in range(RUNS)]
    return [(one.run_id, one.token) for one in claimed if one is not None]


def _write(ids: list[tuple[str, int]], over: threading.Event) -> None:
    """Ship every run's events as the worker does: a batch each, twice a second."""
    from db import journal
    from engine.events import Event, RunStarted, StepsTrained

    step, sequence = 0, 0
    while not over.is_set():
        began = time.monotonic()
        batch: list[Event] = []
        if not step:
            batch.append(RunStarted(seq=sequence, at=time.time()))
        for _ in range(int(STEPS_A_SECOND * SHIP_SECONDS)):
            step += 1
            batch.append(StepsTrained(step, step / 100, {
                "loss": 2 * math.exp(-step / 200), "learning_rate": 1e-3, "grad_norm": 1.0, "rss_bytes": 5e8,
                "examples_per_second": 100.0 + step % 7, "tokens_per_second": 4000.0, "cuda_bytes": 0.0},
                eta=60.0, seq=sequence + len(batch), at=time.time()))
        for run_id, token in ids:
            journal.ingest(run_id, token, batch)
        sequence += len(batch)
        over.wait(max(0.0, SHIP_SECONDS - (time.monotonic() - began)))


def _watch(address: str, run_id: str, over: threading.Event) -> list[float]:
    """Be a tab that shows one run: send what its timers send, carrying the page's state along."""
    page = _open(address, f"/runs?run={run_id}")
    taken: list[float] = []
    while not over.is_set():
        began = time.monotonic()
        for handler in page.triggered("tick"):
            sent = time.monotonic()
            page.send(handler)
            taken.append(time.monotonic() - sent)
        over.wait(max(0.0, TICK_SECONDS - (time.monotonic() - began)))
    page.close()
    return taken
