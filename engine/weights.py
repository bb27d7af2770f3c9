"""A model directory as files: is it complete, safe and readable? Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ModelError

#: Endings of files that hold pickled objects: loading them can run any code, so they are never opened.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
         "U8": 1, "BOOL": 1}
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


class NoModelFolder(ModelError):
    """There is no model directory at '{path}'."""

    kind = "model_not_found"
    try_this = "Check the path, or choose another base model."


class NoConfig(ModelError):
    """The model has no config.json."""

    kind = "config_missing"
    try_this = "Add the config.json that belongs to the weights."


class BadConfig(ModelError):
    """The model's {file} cannot be read: {problem}."""

    kind = "config_invalid"
    try_this = "Replace it with the file that belongs to the weights."


class NoWeights(ModelError):
    """The model directory holds no weights."""

    kind = "weights_missing"
    try_this = "Add its .safetensors file (or all of them, when they come in parts)."


class PickleWeights(ModelError):
    """The weights '{file}' are a pickle, which can run any program when it is opened."""

    kind = "pickle_refused"
    try_this = "Use a safetensors version of the model, or convert the file on a machine you trust."


class BrokenWeights(ModelError):
    """The weights '{file}' are damaged: {problem}."""

    kind = "weights_broken"
    try_this = "Copy or download the file again."


class MissingShard(ModelError):
    """The weights are incomplete: '{file}' is named in {index} but is not there."""

    kind = "weights_incomplete"
    try_this = "Add the missing file."


class NoTokenizer(ModelError):
    """The model has no tokenizer files."""

    kind = "tokenizer_missing"
    try_this = "Add tokenizer.json and tokenizer_config.json."


@dataclass(frozen=True)
class Tensor:
    """One stored tensor: its dtype as safetensors writes it, its shape and its size in bytes."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int


def header(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file from its header; raises BrokenWeights when it is cut short."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise BrokenWeights(str(path), file=path.name, problem="it is too short to be a safetensors file")
        length = struct.unpack("<Q", start)[0]
        if not 2 <= length <= min(size - 8, 200_000_000):
            raise BrokenWeights(str(path), file=path.name, problem="it is not a safetensors file, or it is cut short")
        try:
            entries: dict[str, Any] = json.loads(file.read(length))
            tensors = {name: _tensor(entry) for name, entry in entries.items() if name != "__metadata__"}
            ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise BrokenWeights(str(path), file=path.name, problem="its header is not readable") from None
    missing = 8 + length + max(ends, default=0) - size
    if missing > 0:
        raise BrokenWeights(str(path), file=path.name, problem=f"{missing:,} bytes are missing at its end")
    return tensors


def _tensor(entry: dict[str, Any]) -> Tensor:
    start, end = entry["data_offsets"]
    return Tensor(str(entry["dtype"]), tuple(int(n) for n in entry["shape"]), int(end) - int(start))


def shards(folder: Path) -> list[Path]:
    """Return the safetensors files of a model directory.

    Raises NoModelFolder, NoWeights, PickleWeights or MissingShard.
    """
    if not folder.is_dir():
        raise NoModelFolder(str(folder), path=str(folder))
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if index.is_file():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
        for name in names:
            if not (folder / name).is_file():
                raise MissingShard(str(folder / name), file=name, index=index.name)
        if names:
            return [folder / name for name in names]
    pickles = pickled(path.name for path in folder.iterdir())
    if pickles:
        raise PickleWeights(str(folder / pickles[0]), file=pickles[0])
    raise NoWeights(str(folder))


def pickled(names: Iterable[str]) -> list[str]:
    """Return those file names whose ending says that they hold pickled objects."""
    return sorted(name for name in names if name.lower().endswith(PICKLES) and not name.startswith("tokenizer"))


def tensors(folder: Path) -> dict[str, Tensor]:
    """Return every stored tensor of a model directory by name; reads headers only."""
    return {name: tensor for path in shards(folder) for name, tensor in header(path).items()}


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; raises NoConfig or BadConfig."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise NoConfig(str(path)) from None
    except (OSError, ValueError) as error:
        raise BadConfig(str(path), file=path.name, problem=str(error)) from None
    if not isinstance(content, dict):
        raise BadConfig(str(path), file=path.name, problem="it is not a JSON object")
    return content


def has_tokenizer(folder: Path) -> bool:
    """Return whether a directory holds the files of a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZERS)


def chat_template(folder: Path) -> bool:
    """Return whether the model's tokenizer comes with a chat template."""
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, taken from its name where the Hub's cache stores it by that hash."""
    blob = path.resolve()
    if path.is_symlink() and blob.parent.name == "blobs" and len(blob.name) == 64:
        return blob.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that decides what the model computes."""
    kept = (".safetensors", ".json", ".txt", ".model", ".jinja")
    return {path.name: sha256(path) for path in sorted(folder.iterdir())
            if path.is_file() and path.suffix in kept and path.name not in ("SOURCE.txt", "LICENSE.txt")}
