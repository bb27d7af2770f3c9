"""The nursery: children ready in milliseconds, with their share of the cores, and none left over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Runs in a process of its own, because a fork server serves the process that started it.
PROGRAM = """
import json, multiprocessing.forkserver as server, sys, time
import psutil
from worker.nursery import Nursery

if __name__ == "__main__":
    nursery = Nursery(1)
    nursery.start()
    assert nursery.wait_warm(120)
    times = []
    for _ in range(5):
        began = time.monotonic()
        child = nursery.spawn({"kind": "ping"})
        answer = child.poll(30)
        times.append(time.monotonic() - began)
        assert answer["kind"] == "ready", answer
        assert child.join(10) and child.exit_code == 0
        child.close()
    forked = psutil.Process(server._forkserver._forkserver_pid)
    threads = [open(f"/proc/{forked.pid}/task/{one.id}/comm").read().strip() for one in forked.threads()]
    environment = forked.environ()
    nursery.close()
    print(json.dumps({
        "seconds": sorted(times)[2], "missing": answer["missing"], "torch": "torch" in sys.modules,
        "threads": [name for name in threads if "jemalloc" not in name],
        "omp": environment.get("OMP_NUM_THREADS"), "trim": environment.get("MALLOC_TRIM_THRESHOLD_"),
        "left": [one.pid for one in psutil.Process().children(recursive=True) if one.pid == forked.pid
                 and one.status() != "zombie"]}))
"""


def test_warm_children_start_at_once_and_the_fork_server_is_safe_to_fork(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=200, check=False,
                          cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["seconds"] < 0.5, "a warm child is forked, not imported"
    assert seen["missing"] == []
    assert len(seen["threads"]) == 1, f"threads do not survive a fork: {seen['threads']}"
    assert not seen["torch"], "the worker's own process imports no torch"
    assert seen["omp"] == "1" and seen["trim"]
    assert seen["left"] == []
