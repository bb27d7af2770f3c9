"""Model files that a person hands over, checked and put together as a local model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from engine import gguf, weights
from engine.errors import Cancelled, ModelError

#: Endings of files that belong to a model directory.
KEPT = (".safetensors", ".json", ".txt", ".model", ".jinja", ".md")


class ModelExists(ModelError):
    """There is already a local model called '{name}'."""

    kind = "model_exists"
    try_this = "Choose another name, or delete the old one first."


class StrangeFile(ModelError):
    """'{file}' is not a file of a model."""

    kind = "model_file_unknown"
    try_this = "Give .safetensors weights with config.json and tokenizer files, or one .gguf file."


class TwiceNamed(ModelError):
    """There are two files called '{file}'."""

    kind = "model_file_twice"
    try_this = "Leave one of them out."


def place(files: Sequence[Path], name: str, target: Path, *, progress: Callable[[float], None] | None = None,
          cancelled: Callable[[], bool] | None = None) -> Path:
    """Return `target`, filled with copies of `files`; it appears whole or not at all.

    Raises ModelExists, StrangeFile, PickleWeights, NoConfig, NoWeights, NoTokenizer, MissingShard, BrokenWeights,
    NotGguf, GgufUnsupported, UnknownArchitecture, RemoteCode or Cancelled.
    """
    if target.exists():
        raise ModelExists("name", name=name)
    if len(files) == 1 and (files[0].suffix.lower() == ".gguf" or gguf.is_gguf(files[0])):
        return gguf.converted(files[0], target, progress=progress, cancelled=cancelled)
    _refuse(files)
    total = sum(file.stat().st_size for file in files) or 1
    done = 0
    with gguf.building(target) as folder:
        for file in files:
            if cancelled and cancelled():
                raise Cancelled(file.name)
            shutil.copyfile(file, folder / file.name)
            done += file.stat().st_size
            if progress:
                progress(done / total)
        check(folder)
    return target


def _refuse(files: Sequence[Path]) -> None:
    names = [file.name for file in files]
    if pickles := weights.pickled(names):
        raise weights.PickleWeights(pickles[0], file=pickles[0])
    for name in names:
        if not name.endswith(KEPT) or name.startswith("."):
            raise StrangeFile(name, file=name)
        if names.count(name) > 1:
            raise TwiceNamed(name, file=name)
    if "config.json" not in names:
        raise weights.NoConfig("config.json")


def check(folder: Path) -> None:
    """Refuse a directory that is not a complete model: config, whole weights, and a tokenizer if it reads text."""
    from engine import skeleton

    weights.tensors(folder)
    configuration = skeleton.config(folder)
    if getattr(configuration.get_text_config(), "vocab_size", None) and not weights.has_tokenizer(folder):
        raise weights.NoTokenizer(str(folder))
