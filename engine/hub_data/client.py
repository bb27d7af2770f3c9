"""The Hub's client, asked about datasets: the listing of one, its files, and what its refusals mean."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from engine import hub
from engine.hub_data import layout
from engine.hub_data.errors import (
    BadDatasetId,
    DatasetGated,
    DatasetMissing,
    DatasetUnreachable,
    LoadingScript,
    NoDataFiles,
)
from engine.hub_data.listing import Listing

#: <name>, or <organisation>/<name>, as the Hub allows it.
ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?")
#: The branch where the Hub keeps what it has converted to parquet.
CONVERTED = "refs/convert/parquet"
COMMIT = re.compile(r"[0-9a-f]{40}")
#: Bytes of a card that are looked at.
_CARD = 4 << 20


def look(id: str, revision: str | None = None, memory: Path | None = None) -> Listing:
    """Return what a dataset holds; listings are kept in the folder `memory`, for when the Hub cannot be asked.

    One at a commit that is in the cache or was listed before is not asked for again. Raises BadDatasetId,
    DatasetMissing, DatasetGated, DatasetUnreachable, LoadingScript, NoDataFiles.
    """
    id = good_id(id)
    known = _remembered(id, revision, memory)
    if known is not None and revision and COMMIT.fullmatch(revision):
        return known
    try:
        with calls(id, revision):
            found = _asked(id, revision)
    except DatasetUnreachable:
        found = known or _in_cache(id, revision)
        if found is None:
            raise
        return found.model_copy(update={"cached": True})
    _remember(found, id, revision, memory)
    return found


def good_id(id: str) -> str:
    """Return the id of a dataset without "hub:" before it; raises BadDatasetId."""
    id = id.strip().removeprefix("hub:").removeprefix("datasets/")
    if not ID.fullmatch(id) or ".." in id or "--" in id:
        raise BadDatasetId("hub", id=id[:80])
    return id


def settings() -> dict[str, Any]:
    """Return where the Hub is and who asks: HF_ENDPOINT and HF_TOKEN, and no token that is kept elsewhere."""
    return {"endpoint": os.environ.get("HF_ENDPOINT") or None, "token": os.environ.get("HF_TOKEN") or False}


@contextmanager
def calls(id: str, revision: str | None) -> Generator[None, None, None]:
    """Turn what the client raises into DatasetGated, DatasetMissing and DatasetUnreachable."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cache = str(hub.cache_folder())
    try:
        yield
    except GatedRepoError:
        raise DatasetGated(id=id) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise DatasetMissing(id=id, revision=revision or "main") from None
    except OfflineModeIsEnabled:
        raise DatasetUnreachable(id=id, cache=cache, why=" because HF_HUB_OFFLINE is set") from None
    except (hub.transport_error(HfHubHTTPError), LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        answer = getattr(getattr(error, "response", None), "status_code", None)
        why = f": it answered {answer}" if answer else f" ({type(error).__name__})"
        raise DatasetUnreachable(id=id, cache=cache, why=why) from error


def cached(id: str, file: str, revision: str) -> Path | None:
    """Return where a file of a dataset lies in the client's cache; None when it does not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(id, file, revision=revision, repo_type="dataset")
    return Path(found) if isinstance(found, str) else None


def _asked(id: str, revision: str | None) -> Listing:
    """Ask the Hub for the files of a dataset, and of its converted form where its own cannot be read."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    api = HfApi(**settings())
    info = api.dataset_info(id, revision=revision, files_metadata=True)
    # A dataset that has moved answers under its new name.
    id, files, commit = str(info.id or id), _sizes(info), str(info.sha)
    card = _card(id, files, commit)
    program = layout.script(id, files)
    configs = layout.of(id, card, files)
    if configs:
        return Listing(id=id, revision=commit, licence=_licence(card), configs=configs,
                       converted=layout.is_converted(files))
    try:
        other = api.dataset_info(id, revision=CONVERTED, files_metadata=True)
        configs = layout.converted(_sizes(other))
    except RevisionNotFoundError:
        other = None
    if other is None or not configs:
        if program:
            raise LoadingScript(id=id, script=program)
        raise NoDataFiles(id=id, found=_some(files))
    return Listing(id=id, revision=str(other.sha), licence=_licence(card), configs=configs, converted=True)


def _sizes(info: Any) -> dict[str, int]:
    return {str(file.rfilename): int(file.size or 0) for file in info.siblings or []}


def _card(id: str, files: Mapping[str, int], commit: str) -> dict[str, Any]:
    """Return the front matter of a dataset's card; nothing where there is none, or it is broken."""
    from huggingface_hub import hf_hub_download

    if not 0 < files.get("README.md", 0) <= _CARD:
        return {}
    return _front(Path(hf_hub_download(id, "README.md", revision=commit, repo_type="dataset", **settings())))


def _front(path: Path) -> dict[str, Any]:
    import yaml
    from huggingface_hub import metadata_load

    with suppress(ValueError, yaml.YAMLError, OSError, RecursionError):
        return cast(dict[str, Any], metadata_load(path) or {})
    return {}


def _licence(card: Mapping[str, Any]) -> str:
    told = card.get("license") or ""
    return ", ".join(map(str, cast(list[Any], told))) if isinstance(told, list) else str(told)


def _some(files: Mapping[str, int]) -> str:
    names = [name for name in sorted(files) if not name.startswith(".")]
    rest = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return f"it holds {', '.join(names[:3])}{rest}" if names else "it is empty"


def _in_cache(id: str, revision: str | None) -> Listing | None:
    """Return what the client's cache holds of a dataset that was fetched by other means; None for nothing."""
    folder = hub.cache_folder() / f"datasets--{id.replace('/', '--')}"
    wanted = [revision] if revision else ["main", CONVERTED]
    for name in wanted:
        commit, ref = name, folder / "refs" / name
        if not COMMIT.fullmatch(name):
            if not ref.is_file():
                continue
            commit = ref.read_text(encoding="utf-8").strip()
        place = folder / "snapshots" / commit
        files = {path.relative_to(place).as_posix(): path.stat().st_size for path in place.rglob("*") if path.is_file()}
        card = _front(place / "README.md") if "README.md" in files else {}
        made = layout.of(id, card, files)
        if made:
            return Listing(id=id, revision=commit, licence=_licence(card), configs=made,
                           converted=layout.is_converted(files))
    return None


def _place(id: str, revision: str | None, memory: Path | None) -> Path | None:
    if memory is None or not re.fullmatch(r"[\w./-]{1,100}", revision or "main"):
        return None
    return memory / f"{id.replace('/', '--')}@{(revision or 'main').replace('/', '%')}.json"


def _remembered(id: str, revision: str | None, memory: Path | None) -> Listing | None:
    place = _place(id, revision, memory)
    with suppress(OSError, ValueError):
        return Listing.model_validate_json(place.read_bytes()) if place is not None else None
    return None


def _remember(found: Listing, asked: str, revision: str | None, memory: Path | None) -> None:
    """Keep a listing under what was asked for and under its own name; where that fails it is asked for again."""
    for id, name in {(asked, revision), (asked, found.revision), (found.id, found.revision)}:
        place = _place(id, name, memory)
        if place is not None:
            with suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                part = place.with_name(f"{place.name}.{os.getpid()}")
                part.write_text(found.model_dump_json(), encoding="utf-8")
                part.replace(place)
