"""Where everything is and how much of it: one class, read from STUDIO_… variables."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
import secrets
import stat
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.errors import BadDataFolder, BadSetting

#: A unix socket's path is at most 107 bytes on Linux, 103 on macOS.
LONGEST_SOCKET = 100
_PASSWORD = re.compile(r"(?P<before>://[^/@\s:]*:)(?P<password>[^\s?]*)(?P<after>@)")
#: What the settings that are texts may be: how they begin, and how that is said to a person.
_FORMS = {
    "database_url": (r"(sqlite|postgres(ql)?)(\+\w+)?://", "sqlite:///file or postgresql://user:password@host/name"),
    "broker_url": (r"(rediss?|unix)://", "redis://:password@host:port/0, rediss://... or unix:///socket"),
}
_QUERY_SECRET = re.compile(r"([?&](?:password|secret|key|token)[^=]*=)[^&]+", re.IGNORECASE)


class Settings(BaseSettings):
    """The studio's settings; every field is also the variable STUDIO_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="STUDIO_", extra="ignore", env_ignore_empty=True)

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("peft-studio", appauthor=False),
                           description="Folder of everything the studio keeps.")
    database_url: str = Field(default="", description="SQLite file in the data folder, or postgresql://user:password@host/name.")
    broker_url: str = Field(default="", description="Valkey or Redis; empty starts the bundled one on a unix socket.")
    blob_url: str = Field(default="", description="Folder or s3://bucket/prefix for files; empty: the data folder.")
    secret_key: SecretStr | None = Field(default=None, description="Signs cookies; made on first start.")
    host: str = Field(default="127.0.0.1", description="Address the web server listens on.")
    port: int = Field(default=7860, ge=0, le=65_535, description="Port the web server listens on; 0 takes a free one.")
    auth: bool = Field(default=False, description="Whether people sign in; needed for any address but this machine's.")
    trusted_proxies: str = Field(default="", description="Reverse proxies to believe: addresses or networks.")
    slots: int = Field(default=1, ge=1, le=64, description="Runs at once on this machine.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of each run; none shares the cores out.")
    heartbeat_seconds: float = Field(default=10, gt=0, description="How often a worker renews its leases.")
    orphan_seconds: float = Field(default=40, gt=0, description="After how long without renewal a child stops itself.")
    lease_seconds: float = Field(default=60, gt=0, description="How long a lease holds without renewal.")
    reap_seconds: float = Field(default=60, gt=0, description="How long a run waits before workers are told again.")
    max_attempts: int = Field(default=3, ge=1, description="Attempts before a run that loses its workers has failed.")
    max_upload_bytes: int = Field(default=8 * 2**30, ge=1, description="Largest upload.")
    token_cache_bytes: int = Field(default=4 * 2**30, ge=0, description="Disk space for tokens that runs share.")
    min_free_bytes: int = Field(default=512 * 2**20, ge=0, description="Disk space that uploads and runs leave free.")

    @model_validator(mode="after")
    def _fill_defaults(self) -> Settings:
        self.data_dir = self.data_dir.expanduser().absolute()
        self.database_url = self.database_url or f"sqlite:///{self.data_dir / 'studio.db'}"
        self.blob_url = self.blob_url or str(self.data_dir)
        # Else two children could train the same run.
        self._keep_order("orphan_seconds", "lease_seconds")
        self._keep_order("heartbeat_seconds", "orphan_seconds")
        return self

    def _keep_order(self, shorter: str, longer: str) -> None:
        if not getattr(self, shorter) < getattr(self, longer):
            raise PydanticCustomError("order", "must be below {longer}, which is {limit}", {
                "name": shorter, "input": f"{getattr(self, shorter):g}", "longer": _variable(longer),
                "limit": f"{getattr(self, longer):g}"})

    @field_validator(*_FORMS)
    @classmethod
    def _check_form(cls, text: str, info: ValidationInfo) -> str:
        if text and not re.match(_FORMS[str(info.field_name)][0], text):
            raise ValueError("it has another form")
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, text: str) -> str:
        for part in _parts(text):
            ipaddress.ip_network(part, strict=False)
        return text

    @property
    def proxies(self) -> list[str]:
        """The addresses and networks of reverse proxies whose X-Forwarded headers are believed."""
        return _parts(self.trusted_proxies)

    @property
    def broker_bundled(self) -> bool:
        """Whether `up` starts its own broker."""
        return not self.broker_url

    @property
    def broker(self) -> str:
        """The broker's address for redis-py (unix:///… or redis://…)."""
        return self.broker_url or f"unix://{self.broker_socket}"

    @property
    def celery_broker(self) -> str:
        """The broker's address as Celery writes it (redis+socket:///… or redis://…)."""
        return re.sub(r"^unix://", "redis+socket://", self.broker)

    @property
    def broker_socket(self) -> Path:
        """The bundled broker's socket: in the data folder, or under /tmp in a private folder where that is too long."""
        socket = self.data_dir / "broker.sock"
        if len(os.fsencode(socket)) < LONGEST_SOCKET:
            return socket
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        return Path(tempfile.gettempdir() if len(tempfile.gettempdir()) < 40 else "/tmp") / (  # noqa: S108 - see prepare
            f"peft-studio-{os.getuid()}-{digest}") / "broker.sock"

    def prepare(self) -> Settings:
        """Make the data folder (0700), the socket's folder and the secret key (0600) where they are missing."""
        _private_folder(self.data_dir)
        if self.broker_socket.parent != self.data_dir:
            _private_folder(self.broker_socket.parent)
            _refuse_foreign(self.broker_socket.parent)
        if self.secret_key is None:
            self.secret_key = SecretStr(_read_or_make_key(self.data_dir / "secret.key"))
        return self

    def chosen(self) -> list[str]:
        """Return the names of the settings that are not at their defaults, whoever set them."""
        usual = {name: info.get_default(call_default_factory=True, validated_data={})
                 for name, info in type(self).model_fields.items()}
        usual |= {"database_url": f"sqlite:///{self.data_dir / 'studio.db'}", "blob_url": str(self.data_dir),
                  "secret_key": self.secret_key}
        # What starts web and worker tells them where its bundled broker is.
        given = self.broker_url if self.broker != f"unix://{self.broker_socket}" else ""
        return [name for name in usual if (given if name == "broker_url" else getattr(self, name)) != usual[name]]

    def masked(self) -> dict[str, Any]:
        """Return every setting as JSON values, secrets and passwords replaced."""
        values = self.model_dump(mode="json") | {"broker_url": self.broker}
        values["secret_key"] = "********" if self.secret_key else None
        return {key: mask(value) if isinstance(value, str) else value for key, value in values.items()}


@cache
def settings() -> Settings:
    """Return this process's settings, its folders made; `settings.cache_clear()` reads them anew.

    Raises BadSetting for a variable whose value cannot be used, and BadDataFolder.
    """
    try:
        chosen = Settings()
    except ValidationError as problem:
        raise _explained(problem) from None
    try:
        return chosen.prepare()
    except OSError as problem:
        folder = str(problem.filename or chosen.data_dir)
        said = problem.strerror or str(problem)
        raise BadDataFolder("STUDIO_DATA_DIR", value=str(chosen.data_dir), problem=f"{said} ({folder})") from None


def mask(url: str) -> str:
    """Return a URL with its password and secret parameters replaced."""
    return _QUERY_SECRET.sub(r"\1********", _PASSWORD.sub(r"\g<before>********\g<after>", url))


def _explained(problem: ValidationError) -> BadSetting:
    """Return what is wrong with the first variable pydantic complains of: its name, its value, what it may be."""
    first = problem.errors(include_url=False)[0]
    facts = first.get("ctx", {})
    field = str(first["loc"][0]) if first["loc"] else str(facts.get("name", ""))
    value = "********" if field == "secret_key" else mask(str(facts.get("input", first["input"])))
    if first["type"] == "order":
        allowed = f"it {first['msg']}"
    else:
        allowed = f"it must be {_allowed(field)}"
    meaning = (Settings.model_fields[field].description or "").rstrip(".")
    return BadSetting(_variable(field), name=_variable(field), value=value, allowed=allowed, meaning=meaning)


def _allowed(field: str) -> str:
    """Return in words what a setting may be: "a whole number from 0 to 65535"."""
    info = Settings.model_fields[field]
    if info.annotation is bool:
        return "on or off"
    bounds = {name: getattr(rule, name) for rule in info.metadata for name in ("ge", "gt", "le") if hasattr(rule, name)}
    words = {"ge": "from", "gt": "above", "le": "to"}
    limits = " ".join(f"{words[name]} {bounds[name]:g}" for name in words if name in bounds)
    if field in _FORMS:
        return _FORMS[field][1]
    if field == "trusted_proxies":
        return "IP addresses or networks such as 10.0.0.2, 172.16.0.0/12"
    kinds = {"int": "a whole number", "float": "a number"}
    kind = next((words for kind, words in kinds.items() if kind in str(info.annotation)), "a text")
    return f"{kind} {limits}".strip()


def _variable(field: str) -> str:
    return f"STUDIO_{field.upper()}"


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _private_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder in a shared place that somebody else made there first."""
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a private folder of this user; remove it or set STUDIO_BROKER_URL.")


def _read_or_make_key(path: Path) -> str:
    """Return the key in `path`, made on first use; two processes that start at once end up with the same one."""
    if not path.exists():
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(48))
            Path(name).chmod(0o600)
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
        finally:
            Path(name).unlink()
    return path.read_text().strip()
