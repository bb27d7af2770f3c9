"""`up`: one process tree that starts together, keeps itself running, and ends without leaving anything behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rig import TIMES, until

ROOT = Path(__file__).resolve().parents[2]

WEB = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

http.server.ThreadingHTTPServer((os.environ["STUDIO_HOST"], int(os.environ["STUDIO_PORT"])), Handler).serve_forever()
"""

UP = """
import json, sys
from db.settings import Settings
from engine.errors import StudioError
from studio.up import up

try:
    sys.exit(up(Settings(), web=[sys.executable, sys.argv[1]], say=lambda text: print(text, flush=True)))
except StudioError as error:
    print(json.dumps(error.as_dict()), flush=True)
    sys.exit(error.exit_code)
"""

EARLY = """
import os, signal, sys, time, weakref
from db import migrate
from db.settings import settings
from worker import process

class Lock:
    pass

def listen(*_):
    lock = Lock()
    gone = weakref.ref(lock, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    del lock
    time.sleep(45)
    return 1

settings().prepare()
migrate.upgrade(settings().database_url)
process._listen = listen
sys.exit(process.main())
"""


class Studio:
    """An `up` with a stand-in for the pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        (folder / "web.py").write_text(WEB)
        (folder / "up.py").write_text(UP)
        self.command = [sys.executable, str(folder / "up.py"), str(folder / "web.py")]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = dict(os.environ) | {f"STUDIO_{name}": value for name, value in TIMES.items()} | {
            "STUDIO_DATA_DIR": str(self.folder), "STUDIO_PORT": str(self.port), "PYTHONPATH": str(ROOT)}
        self.output = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log, cwd=ROOT,
                                            start_new_session=True)
        until(lambda: "is ready" in self.output.read_text(), 60, self.output.read_text())
        return self.process

    def refused(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command, env=self.environment, capture_output=True, text=True, timeout=60, cwd=ROOT,
                              check=False)

    def tree(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def one(self, word: str) -> psutil.Process:
        def look() -> psutil.Process | None:
            for process in self.tree():
                try:
                    if any(word in part for part in process.cmdline()):
                        return process
                except psutil.Error:
                    continue
            return None

        return until(look, 30, f"no {word} in the tree")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        for process in made.tree():
            process.kill()
        made.process.kill()
        made.process.wait(10)


def living(processes: list[psutil.Process]) -> list[str]:
    """Return what is still there of the processes, ended ones that nobody collected aside."""
    left = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline())[:80])
        except psutil.Error:
            continue
    return left


def test_one_ctrl_c_ends_the_whole_tree(studio: Studio) -> None:
    process = studio.start()
    studio.one("forkserver")
    everything = studio.tree()
    assert len(everything) >= 4, everything
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    assert living(everything) == []
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{studio.port}/", timeout=2)


def test_tree_dies_with_an_up_that_is_killed(studio: Studio) -> None:
    process = studio.start()
    studio.one("forkserver")
    everything = studio.tree()
    process.kill()
    process.wait(10)
    until(lambda: living(everything) == [], 40, lambda: str(living(everything)))


def test_worker_hears_a_signal_that_comes_where_nothing_can_be_raised(tmp_path: Path) -> None:
    """As while it imports: locks of modules are given up in callbacks, and what those raise is lost."""
    (tmp_path / "early.py").write_text(EARLY)
    environment = dict(os.environ) | {"STUDIO_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(tmp_path / "early.py")], env=environment, capture_output=True, text=True,
                          timeout=60, cwd=ROOT, check=False)
    assert done.returncode == 0 and "has ended" in done.stderr and "ignored" not in done.stderr, done.stderr


def test_second_up_on_the_same_folder_is_refused_and_says_where_the_first_is(studio: Studio) -> None:
    process = studio.start()
    second = studio.refused()
    refusal = json.loads(second.stdout.splitlines()[-1])
    assert second.returncode == 2 and refusal["kind"] == "already_running"
    assert str(process.pid) in refusal["what"] and f"http://127.0.0.1:{studio.port}" in refusal["what"]
    assert process.poll() is None


def test_taken_port_is_refused_before_anything_starts(studio: Studio) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", studio.port))
        taken.listen()
        done = studio.refused()
    assert done.returncode == 2 and json.loads(done.stdout.splitlines()[-1])["kind"] == "address_taken"


def test_crashed_worker_web_and_broker_are_started_again(studio: Studio) -> None:
    studio.start()
    for word in ("worker", "web.py", "valkey-server"):
        before = studio.one(word)
        before.kill()
        until(lambda before=before: not before.is_running() or before.status() == psutil.STATUS_ZOMBIE, 10)
        assert until(lambda word=word: studio.one(word), 30).pid != before.pid
    until(lambda: studio.output.read_text().count("tarting it again") == 3, 10)


def test_broker_listens_on_a_private_socket_only(studio: Studio) -> None:
    studio.start()
    socket_file = studio.folder / "broker.sock"
    if not socket_file.exists():
        socket_file = Path(studio.one("valkey-server").cmdline()[0].partition("unixsocket:")[2] or socket_file)
    mode = socket_file.stat()
    assert stat.S_ISSOCK(mode.st_mode) and stat.S_IMODE(mode.st_mode) == 0o600
    assert studio.one("valkey-server").net_connections("inet") == []
    assert (studio.folder / "broker" / "appendonlydir").is_dir()
