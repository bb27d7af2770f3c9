"""How long the pages' questions take in a full SQLite database.

    python -m bench.database                     10,000 runs with 5 million metric points
    python -m bench.database --runs 1000         a tenth of it, the longest runs included

Fills a database in a temporary folder (or `--folder`, used again if it is full already) and times what the run list, a
run's page and the compare page ask for. Ten runs are long (50,000 points each), so that the worst case is in.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.report import Row

LONG_RUNS, LONG_STEPS = 10, 10_000
POINTS_A_RUN, USUAL_STEPS = 500, 70
TRAIN = ("train/loss", "train/learning_rate", "train/grad_norm", "train/examples_per_second", "train/tokens_per_second")
EVAL = ("eval/loss", "eval/accuracy")
STATES = ("succeeded",) * 16 + ("failed", "cancelled", "interrupted", "queued")
METHODS = ("lora", "head", "full")
LIMITS = {"list": 100, "curves": 150, "compare": 300}


def main() -> None:
    """Fill, measure, print a table or JSON; exits 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="Keep the database here; use the one that is there.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="studio-bench-") as temporary:
        folder = options.folder or Path(temporary)
        os.environ["STUDIO_DATA_DIR"] = str(folder)
        os.environ.pop("STUDIO_DATABASE_URL", None)
        facts = fill(options.runs)
        rows = ask(options.repeat)
    report(facts, rows, options.json)
    raise SystemExit(any(row["limit"] and row["p95"] > row["limit"] for row in rows))


def measure(quick: bool) -> list[Row]:
    """Return the rows, in milliseconds: over HTTP as pages and API ask, and the questions themselves."""
    from bench import server

    runs, repeat = (1000, 10) if quick else (10_000, 40)
    with server.data_folder() as folder:
        facts = fill(runs)
        size = f"{facts['runs']:,} runs, {facts['points'] / 1e6:.1f} million points"
        with server.web(folder) as process:
            asked = _over_http(process.address, facts["runs"], repeat)
        asked += [row | {"question": f"{row['question']} (database only)"} for row in ask(repeat)]
    return [Row(f"{row['question']}, p95", row["p95"], "ms", row["limit"],
                note=f"{size}; {repeat} times, median {row['p50']:.0f} ms") for row in asked]


def _over_http(address: str, runs: int, repeat: int) -> list[dict[str, Any]]:
    """Time what browsers and API clients ask of a real web server: list, one run, ten runs."""
    import httpx

    from bench.server import Page

    long = [f"run_{number:010d}" for number in range(runs) if _is_long(number, runs)]
    usual = [f"run_{number:010d}" for number in range(10)]
    found: list[dict[str, Any]] = []
    with httpx.Client(base_url=f"{address}/api/v1", timeout=60) as client:
        for name, query in (("first page", ""), ("search", "?search=tickets+lora"),
                            ("filters", "?state=failed&method=lora")):
            found.append({"question": f"GET /runs, {name}", "limit": LIMITS["list"]} | _time(
                lambda query=query: client.get(f"/runs{query}").raise_for_status(), repeat))
        found.append({"question": "GET /runs/…/metrics, a usual run", "limit": LIMITS["curves"]} | _time(
            lambda: client.get(f"/runs/{usual[0]}/metrics").raise_for_status(), repeat))
    for name, path, limit in (
            ("Runs page, list", "/runs", "list"),
            ("Runs page, curves of a usual run", f"/runs?run={usual[0]}", "curves"),
            ("Runs page, curves of a long run", f"/runs?run={long[0]}", "curves"),
            ("Compare page, 10 usual runs", f"/compare?runs={','.join(usual)}", "compare"),
            ("Compare page, 10 long runs", f"/compare?runs={','.join(long)}", "compare")):
        page = Page(address, path)
        # Of what the page sends when it is opened, the handler that answers most is the one that shows it.
        loads = page.triggered("load")
        sizes = [len(str(page.send(handler))) for handler in loads]
        handler = loads[sizes.index(max(sizes))]
        found.append({"question": name, "limit": LIMITS[limit]} | _time(
            lambda page=page, handler=handler: page.send(handler), repeat))
        page.close()
    return found


def fill(runs: int) -> dict[str, Any]:
    """Make the rows unless they are there; returns how many, and how long it took."""
    from db import datasets, migrate, users
    from db.settings import settings

    migrate.upgrade()
    user = users.local()
    path = settings().data_dir / "studio.db"
    with sqlite3.connect(path) as connection:
        there = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    started = time.perf_counter()
    if not there:
        dataset_ids = [datasets.create(user, name=f"Dataset {number}").id for number in range(20)]
        _insert(path, runs, user.id, dataset_ids)
    with sqlite3.connect(path) as connection:
        points = connection.execute("SELECT count(*) FROM metrics").fetchone()[0]
        there = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    return {"runs": there, "points": points, "megabytes": round(path.stat().st_size / 1e6),
            "seconds_to_fill": round(time.perf_counter() - started, 1)}


def _insert(path: Path, runs: int, owner: str, datasets: list[str]) -> None:
    ids = [f"run_{number:010d}" for number in range(runs)]
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -262144")
    connection.execute("BEGIN IMMEDIATE")
    rows = [_run(number, id, owner, datasets) for number, id in enumerate(ids)]
    marks = ", ".join(f":{column}" for column in rows[0])
    connection.executemany(f"INSERT INTO runs ({', '.join(rows[0])}) VALUES ({marks})", rows)
    connection.executemany("INSERT INTO metrics (run_id, name, step, value, epoch, at) VALUES (?, ?, ?, ?, ?, ?)",
                           _points(ids))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _run(number: int, id: str, owner: str, datasets: list[str]) -> dict[str, Any]:
    chance = random.Random(number)
    method, model = METHODS[number % 3], f"starter/model-{number % 7}"
    name = f"{chance.choice(('Tickets', 'Reviews', 'Intents', 'Spam'))} {number}"
    spec = {"task": "text_classification", "model": {"id": model}, "data": {"train": datasets[number % 20]},
            "method": {"name": method, "r": 8, "alpha": 16, "targets": "all-linear"},
            "training": {"epochs": 3, "learning_rate": "auto", "batch_size": 16, "note": "x" * 600}}
    latest = {metric: chance.random() for metric in (*TRAIN, *EVAL)}
    return {
        "id": id, "owner_id": owner, "name": name, "state": STATES[number % len(STATES)], "task": spec["task"],
        "method": method, "model": model, "dataset_id": datasets[number % 20], "created_at": 1.7e9 + number * 60,
        "queued_at": 1.7e9 + number * 60, "rung_at": 1.7e9 + number * 60, "token": 1, "attempts": 1, "journal_seq": 9,
        "log_lines": 0, "stage": "", "step": 100, "total_steps": 100, "epoch": 3.0, "loss": chance.random(),
        "metric_name": "accuracy", "metric_greater": 1, "metric_value": chance.random(), "examples": 20,
        "search": f"{id}\n{method}\n{spec['task']}\n{name}\n{model}".lower(), "latest": json.dumps(latest),
        "spec": json.dumps(spec), "result": json.dumps({"metrics": latest, "environment": "y" * 1200})}


def _points(ids: list[str]) -> Iterator[tuple[str, str, int, float, float, float]]:
    """Yield the points in the order of their key, which fills the table fastest."""
    long = min(LONG_RUNS, len(ids))
    rest = POINTS_A_RUN * len(ids) - long * LONG_STEPS * len(TRAIN)
    # 5.2 points a step: evaluations come every ten. Fewer than 10,000 runs may leave no points over for the usual ones.
    steps = max(USUAL_STEPS, math.ceil(rest / max(1, len(ids) - long) / 52) * 10)
    for number, id in enumerate(ids):
        # The long runs lie in the middle of the table, where the newest ones would not warm the cache for them.
        count = LONG_STEPS if _is_long(number, len(ids)) else steps
        for name in sorted((*TRAIN, *EVAL)):
            every = 10 if name in EVAL else 1
            for step in range(every, count + 1, every):
                yield id, name, step, math.exp(-step / count) + (step * 7 % 13) / 50, step / count * 3, 1.7e9 + step


def _is_long(number: int, runs: int) -> bool:
    first = runs // 2 - LONG_RUNS // 2
    return first <= number < first + LONG_RUNS


def ask(repeat: int) -> list[dict[str, Any]]:
    """Time each question `repeat` times; milliseconds."""
    from db import runs, users

    user = users.local()
    total = runs.count(user)
    long = [f"run_{number:010d}" for number in range(total) if _is_long(number, total)]
    usual = f"run_{total // 4:010d}"
    shown = ["train/loss", "eval/loss", "eval/accuracy"]
    questions: list[tuple[str, str | None, Callable[[], Any]]] = [
        ("run list, first page", "list", lambda: (runs.find(user), runs.count(user), runs.counts(user))),
        ("run list, last page", "list", lambda: runs.find(user, offset=max(0, total - 50))),
        ("run list, search", "list", lambda: runs.find(user, search="tickets lora")),
        ("run list, search without a hit", "list",
         lambda: (runs.find(user, search="zebra"), runs.count(user, search="zebra"))),
        ("run list, filters", "list",
         lambda: runs.find(user, states=["failed"], methods=["lora"], models=["starter/model-3"])),
        ("a run's page", "curves", lambda: (runs.get(user, usual), runs.curves(user, [usual]))),
        ("a long run's page", "curves", lambda: (runs.get(user, long[0]), runs.curves(user, [long[0]]))),
        ("a long run, read by cursor", "curves", lambda: runs.metrics(user, long[0], after=LONG_STEPS - 20)),
        ("compare 10 usual runs, all metrics", "compare",
         lambda: runs.curves(user, [f"run_{n:010d}" for n in range(10)])),
        ("compare 10 long runs, 3 metrics", "compare", lambda: runs.curves(user, long, shown)),
        ("compare 10 long runs, all metrics", None, lambda: runs.curves(user, long)),
    ]
    return [{"question": name, "limit": LIMITS[limit] if limit else None} | _time(call, repeat)
            for name, limit, call in questions]


def _time(call: Callable[[], Any], repeat: int) -> dict[str, float]:
    taken: list[float] = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1000)
    taken.sort()
    return {"p50": round(taken[len(taken) // 2], 1), "p95": round(taken[math.ceil(len(taken) * 0.95) - 1], 1),
            "worst": round(taken[-1], 1)}


def report(facts: dict[str, Any], rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print what was measured."""
    if as_json:
        print(json.dumps({"database": facts, "milliseconds": rows}, indent=2))
        return
    print(", ".join(f"{name} {value:,}" for name, value in facts.items()))
    print(f"| {'question':34} | p50 ms | p95 ms | limit |\n|{'-' * 36}|-------:|-------:|------:|")
    for row in rows:
        print(f"| {row['question']:34} | {row['p50']:6.1f} | {row['p95']:6.1f} | {row['limit'] or '':>5} |")


if __name__ == "__main__":
    main()
