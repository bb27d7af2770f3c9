"""Base models on the Hugging Face Hub, through its own client: the cache first, then the network."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from engine import weights
from engine.errors import Cancelled, ModelError

Progress = Callable[[float], None]

#: What a model needs; never pickles, never program code.
ALLOWED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md"]
#: Other copies of the same weights, and files of other runtimes.
IGNORED = ["*/*", "consolidated*", "adapter_*", "training_args*", "*.onnx"]


class HubUnreachable(ModelError):
    """The model '{id}' is not in the cache {cache}, and the Hub cannot be reached{why}."""

    kind = "hub_unreachable"
    try_this = "Connect this machine, fetch the model into that cache elsewhere, or upload it as a local model."


class HubMissing(ModelError):
    """There is no model '{id}' at revision '{revision}' on the Hub, or it is private."""

    kind = "hub_model_missing"
    try_this = "Check the spelling; for a private model set HF_TOKEN."


class HubGated(ModelError):
    """The model '{id}' is given only to people who have accepted its terms."""

    kind = "hub_model_gated"
    try_this = "Accept them on the model's page, then set HF_TOKEN to your access token."


class BadHubId(ModelError):
    """'{id}' is not a model id."""

    kind = "model_id_invalid"
    try_this = "Use starter/<name>, local/<name>, or <organisation>/<name> as on the Hub."


def fetch(model_id: str, revision: str | None = None, progress: Progress | None = None,
          cancelled: Callable[[], bool] | None = None) -> tuple[Path, str, str]:
    """Return the folder, commit and licence of a Hub model, downloading what the cache lacks.

    Raises HubUnreachable, HubMissing, HubGated, PickleWeights, NoWeights, NoConfig, BadHubId or Cancelled.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", model_id):
        raise BadHubId("model.id", id=model_id)
    path = _cached(model_id, revision) or _download(model_id, revision, progress, cancelled or (lambda: False))
    weights.shards(path)
    weights.read_json(path / "config.json")
    return path, path.name, licence(path)


def licence(folder: Path) -> str:
    """Return the licence that a model card's front matter names; empty when it does not."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    front = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([\w.-]+)", front[1], re.MULTILINE) if front else None
    return found[1] if found else ""


def cache_folder() -> Path:
    """Return the folder in which the Hub's client keeps models."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _options(model_id: str, revision: str | None) -> dict[str, Any]:
    return {"repo_id": model_id, "revision": revision, "allow_patterns": ALLOWED, "ignore_patterns": IGNORED}


def _cached(model_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(**_options(model_id, revision), local_files_only=True))
        weights.shards(path)
        weights.read_json(path / "config.json")
    except (LocalEntryNotFoundError, ModelError):
        return None
    return path


def _download(model_id: str, revision: str | None, progress: Progress | None, cancelled: Callable[[], bool]) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        info = HfApi(endpoint=endpoint).model_info(model_id, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        _check(model_id, sizes)
        shown = bar(sum(size for name, size in sizes.items() if _wanted(name)), progress, cancelled)
        return Path(snapshot_download(**_options(model_id, revision), endpoint=endpoint, tqdm_class=shown))
    except GatedRepoError:
        raise HubGated("model.id", id=model_id) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise HubMissing("model.id", id=model_id, revision=revision or "main") from None
    except OfflineModeIsEnabled:
        raise HubUnreachable("model.id", id=model_id, cache=str(cache_folder()),
                             why=" because HF_HUB_OFFLINE is set") from None
    except (transport_error(HfHubHTTPError), LocalEntryNotFoundError, OSError) as error:
        raise HubUnreachable("model.id", id=model_id, cache=str(cache_folder()),
                             why=f" ({type(error).__name__})") from error


def transport_error(kind: type[Exception]) -> type[Exception]:
    """Return the root of the errors of the client's HTTP library (httpx or its successor), which its own extend."""
    base = kind.__bases__[0]
    return base if issubclass(base, Exception) else kind


def _wanted(name: str) -> bool:
    return any(fnmatch(name, p) for p in ALLOWED) and not any(fnmatch(name, p) for p in IGNORED)


def _check(model_id: str, names: Iterable[str]) -> None:
    """Refuse a model without usable weights before anything is downloaded."""
    root = [name for name in names if "/" not in name]
    if not any(name.endswith(".safetensors") and _wanted(name) for name in root):
        pickles = weights.pickled(root)
        if pickles:
            raise weights.PickleWeights(model_id, file=pickles[0])
        raise weights.NoWeights(model_id)
    if "config.json" not in root:
        raise weights.NoConfig(model_id)


def bar(total: int, progress: Progress | None, cancelled: Callable[[], bool], where: str = "model.id") -> type[Any]:
    """Return a tqdm class that prints nothing, tells `progress` the share of bytes fetched, and stops when asked."""
    from tqdm.std import tqdm

    lock = threading.Lock()
    best = 0.0

    class Bar(tqdm):  # pyright: ignore[reportMissingTypeArgument]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **(options | {"file": io.StringIO(), "disable": False}))

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal best
            if cancelled():
                raise Cancelled(where)
            shown = super().update(n)
            with lock:
                if progress and total and self.unit == "B" and self.n / total > best:
                    best = min(1.0, self.n / total)
                    progress(best)
            return shown

    return Bar
