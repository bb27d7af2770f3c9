"""Which files of a repository are which split: by its card, else by their names and folders.

The rules are those of https://huggingface.co/docs/hub/datasets-file-names-and-splits and its neighbours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, cast

from engine.hub_data.listing import Config, Split

#: Endings of files that hold rows, the more telling first where two are as frequent.
ENDINGS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".xlsx", ".zip")
#: Endings of files that are one example each, of which a table beside them tells only what is on them.
MEDIA = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".wav", ".mp3", ".flac", ".ogg",
                   ".mp4", ".tar"})
#: So many times more of those than of tables, and the tables are not the data.
_MANY = 10
_BESIDE = frozenset({"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json",
                     "dummy_data.zip", "license.txt", "requirements.txt", "croissant.json"})
_WORDS = {"train": ("train", "training"), "validation": ("validation", "valid", "dev", "val"),
          "test": ("test", "testing", "eval", "evaluation")}
_SHARD = re.compile(r"(?:^|.*/)(\w+(?:\.\w+)*?)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?\.\w+(?:\.gz)?$")
_MADE = re.compile(r"[^/]+/[^/]+/\d{4,}\.parquet")
_PARTIAL = re.compile(r"^(?:partial-)?(.+?)(?:-part\d+)?$")


def of(id: str, card: Mapping[str, Any], files: Mapping[str, int]) -> list[Config]:
    """Return the configurations of a repository; none where only its program would know how to read its files.

    A card that names files is enough, whatever program lies beside them.
    """
    if is_converted(files):
        return converted(files)
    return [] if script(id, files) and not card.get("configs") else by_card(card, files)


def is_converted(files: Iterable[str]) -> bool:
    """Tell whether these are the files of the branch where the Hub keeps what it converted."""
    names = [name for name in files if not _hidden(name)]
    return bool(names) and all(_MADE.fullmatch(name) for name in names)


def by_card(card: Mapping[str, Any], files: Mapping[str, int]) -> list[Config]:
    """Return the configurations that a card's `configs` name; without it one, by the names of the files."""
    rows = _counts(card)
    stated = card.get("configs")
    made = [_stated(one, files, rows) for one in cast(list[Any], stated) if isinstance(one, dict)] \
        if isinstance(stated, list) else []
    if found := [one for one in made if one.splits]:
        return found
    splits = by_name(files)
    return [Config(name="default", splits=_numbered("default", splits, rows), default=True)] if splits else []


def converted(files: Mapping[str, int]) -> list[Config]:
    """Return what stands in the branch where the Hub keeps what it converted: <config>/<split>/0000.parquet."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for name in sorted(files):
        parts = PurePosixPath(name).parts
        if len(parts) == 3 and name.endswith(".parquet"):
            split = _PARTIAL.sub(r"\1", parts[1])
            found.setdefault(parts[0], {}).setdefault(split, {})[name] = files[name]
    return [Config(name=config, splits=[Split(name=name, files=held) for name, held in splits.items()],
                   default=config == "default") for config, splits in found.items()]


def by_name(files: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the files of each split by the names of files and folders; all are "train" where no name tells."""
    data = _data(files)
    sharded = {name: match[1] for name in data if (match := _SHARD.match(name))}
    if sharded and len(sharded) == len(data):
        return _grouped(data, sharded)
    told = {name: split for name in data if (split := _word(name))}
    # Where some names tell, a file that says nothing belongs to no split: as often as not it holds them all.
    return _grouped({name: data[name] for name in told}, told) if told else _grouped(data, dict.fromkeys(data, "train"))


def script(name: str, files: Iterable[str]) -> str:
    """Return the program that makes a dataset, "" where there is none: a file called like the repository."""
    wanted = PurePosixPath(name).name + ".py"
    return wanted if wanted in set(files) else ""


def _data(files: Mapping[str, int]) -> dict[str, int]:
    """Return the files that hold rows: those of the kind there is most of."""
    media = [name for name in files if PurePosixPath(name.lower()).suffix in MEDIA]
    folders = {str(folder) for name in media for folder in PurePosixPath(name).parents}
    held = {name: size for name, size in sorted(files.items()) if size and _ending(name) and not _hidden(name)
            and not (PurePosixPath(name).stem == "metadata" and str(PurePosixPath(name).parent) in folders)}
    tables = [name for name in held if _ending(name) in ENDINGS[:2]]
    if not held or (not tables and len(media) > _MANY * len(held)):
        return {}
    often = Counter(map(_ending, held))
    best = max(often, key=lambda ending: (often[ending], -ENDINGS.index(ending)))
    return {name: size for name, size in held.items() if _ending(name) == best}


def _ending(name: str) -> str:
    suffix = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    return suffix if suffix in ENDINGS else ""


def _hidden(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.lower() in _BESIDE or any(part.startswith((".", "__")) for part in path.parts)


def _word(name: str) -> str:
    """Return the split that a file's name tells, else the nearest of its folders."""
    for part in reversed(PurePosixPath(name).parts):
        words = re.split(r"[^a-z]+", part.lower())
        for split, known in _WORDS.items():
            if any(word in known for word in words):
                return split
    return ""


def _grouped(data: Mapping[str, int], split_of: Mapping[str, str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, size in data.items():
        found.setdefault(split_of[name], {})[name] = size
    order = {split: place for place, split in enumerate(_WORDS)}
    return dict(sorted(found.items(), key=lambda one: order.get(one[0], len(order))))


def _stated(one: Mapping[str, Any], files: Mapping[str, int], rows: Mapping[tuple[str, str], int]) -> Config:
    """Return a configuration as a card states it: patterns for each split, or a folder."""
    name = str(one.get("config_name") or "default")
    folder = str(one.get("data_dir") or "").strip("./")
    inside = {file: size for file, size in files.items() if not folder or file.startswith(f"{folder}/")}
    wanted = _patterns(one.get("data_files"))
    if wanted:
        base = f"{folder}/" if folder else ""
        splits = {split: _matching([base + pattern for pattern in patterns], inside)
                  for split, patterns in wanted.items()}
    else:
        splits = by_name(inside)
    return Config(name=name, splits=_numbered(name, splits, rows), default=one.get("default") is True)


def _patterns(stated: Any) -> dict[str, list[str]]:
    """Return the patterns of each split in one of the forms a card may have: a text, a list, or a mapping."""
    if isinstance(stated, dict):
        return {str(split): _texts(value) for split, value in cast(dict[Any, Any], stated).items()}
    items = cast(list[Any], stated if isinstance(stated, list) else [stated] if stated else [])
    found: dict[str, list[str]] = {}
    for item in items:
        if isinstance(item, dict):
            told = cast(dict[str, Any], item)
            found.setdefault(str(told.get("split") or "train"), []).extend(_texts(told.get("path")))
        else:
            found.setdefault("train", []).append(str(item))
    return found


def _texts(value: Any) -> list[str]:
    return [str(item) for item in (cast(list[Any], value) if isinstance(value, list) else [value] if value else [])]


def _matching(patterns: Iterable[str], files: Mapping[str, int]) -> dict[str, int]:
    """Return the files that patterns match, in their order; `*` stays inside a folder, `**` does not."""
    found: dict[str, int] = {}
    for pattern in patterns:
        fits = re.compile(_regex(pattern.removeprefix("./")))
        found |= {name: size for name, size in sorted(files.items()) if fits.fullmatch(name) and not _hidden(name)}
    return found


def _regex(pattern: str) -> str:
    made = re.escape(pattern.removesuffix("/") + ("/**" if pattern.endswith("/") else ""))
    for glob, regex in ((r"\*\*/", "(?:.*/)?"), (r"\*\*", ".*"), (r"\*", "[^/]*"), (r"\?", "[^/]")):
        made = made.replace(glob, regex)
    return re.sub(r"\\\[(.*?)\\\]", lambda found: "[" + found[1].replace("\\", "") + "]", made)


def _numbered(config: str, splits: Mapping[str, dict[str, int]], rows: Mapping[tuple[str, str], int]) -> list[Split]:
    return [Split(name=name, files=held, rows=rows.get((config, name))) for name, held in splits.items() if held]


def _counts(card: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Return the rows of each (configuration, split) that a card tells."""
    told = card.get("dataset_info")
    found: dict[tuple[str, str], int] = {}
    for info in cast(list[Any], told if isinstance(told, list) else [told]):
        if not isinstance(info, dict):
            continue
        config = str(cast(dict[str, Any], info).get("config_name") or "default")
        splits: Any = cast(dict[str, Any], info).get("splits")
        for split in cast(list[Any], splits if isinstance(splits, list) else []):
            if isinstance(split, dict) and isinstance(cast(dict[str, Any], split).get("num_examples"), int):
                found[config, str(split["name"])] = int(split["num_examples"])
    return found
